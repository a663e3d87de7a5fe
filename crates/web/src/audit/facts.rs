//! What an audit looks at, and the questions that several standards share.

use std::borrow::Cow;
use std::time::Duration;

use cloakroom_core::Expiry;
use cloakroom_core::engine::TokenStore as _;
use cloakroom_core::store::Capabilities;

use super::{Verdict, application, fails, holds};
use crate::shared::Shared;
use crate::{CookiePolicy, SameSite, Transport};

/// What must stand in the place of a cookie store for one session to end alone.
pub(super) const ON_THE_SERVER: &str =
    "keep the sessions in a store on the server, such as cloakroom::open(\"redb:sessions.redb\")";

/// What makes the end of a session in a cookie count.
pub(super) const REVOCATION: &str = "CookieStoreBuilder::revocation(..) and logout_ends_all(), or \
                                     cookie:?…&revocation=URL, or a store on the server";

/// What an engine is built with.
pub(super) struct Facts<'e> {
    engine: &'e Shared,
    pub(super) capabilities: Capabilities<'e>,
}

impl<'e> Facts<'e> {
    pub(super) fn of(engine: &'e Shared) -> Self {
        Self {
            engine,
            capabilities: engine.store.token_capabilities(),
        }
    }

    pub(super) fn expiry(&self) -> &Expiry {
        &self.engine.expiry
    }

    /// Judges the cookie; there is none where the token travels in headers.
    pub(super) fn cookie(&self, judge: impl FnOnce(&CookiePolicy) -> Verdict) -> Verdict {
        match &self.engine.transport {
            Transport::Cookie(cookie) => judge(cookie),
            Transport::Bearer(_) => holds("There is no cookie: the token travels in headers."),
        }
    }

    /// Whether the cookie keeps to https, under a name that says so.
    pub(super) fn is_secure(&self) -> Verdict {
        self.cookie(|cookie| match cookie.is_secure() {
            true => holds(format!("The cookie `{}` is Secure.", cookie.name())),
            false => fails(
                format!(
                    "The cookie `{}` also travels over plain http.",
                    cookie.name()
                ),
                ".cookie(CookiePolicy::default()), behind https",
            ),
        })
    }

    pub(super) fn has_host_prefix(&self) -> Verdict {
        self.cookie(|cookie| {
            let name = cookie.name();
            match cookie.domain() {
                _ if name.starts_with("__Host-") => holds(format!("Its name is `{name}`.")),
                Some(domain) => application(format!(
                    "The cookie `{name}` is shared with the hosts of {domain}. Say in the site's \
                     documentation that it is meant to be, or leave `domain` out of the policy."
                )),
                None => fails(
                    format!("Its name is `{name}`."),
                    ".cookie(CookiePolicy::default()), whose prefix is __Host-",
                ),
            }
        })
    }

    pub(super) fn is_http_only(&self) -> Verdict {
        if let Transport::Bearer(_) = self.engine.transport {
            return application(
                "The token is in a response header, and lies where the client's code puts it: \
                 serve programs by it, and browsers by a cookie.",
            );
        }
        self.cookie(|cookie| match cookie.is_http_only() {
            true => holds("The cookie is HttpOnly, and Set-Cookie alone carries the token."),
            false => fails(
                "Scripts of the page can read the cookie.",
                "leave readable_by_scripts() out of the cookie policy",
            ),
        })
    }

    pub(super) fn same_site(&self) -> Verdict {
        self.cookie(|cookie| match cookie.same_site() {
            SameSite::Strict => holds("It is SameSite=Strict."),
            SameSite::Lax => holds("It is SameSite=Lax."),
            SameSite::None => fails(
                "It is SameSite=None: any site's pages send it along.",
                "CookiePolicyBuilder::same_site(SameSite::Lax), unless other sites embed this one",
            ),
        })
    }

    pub(super) fn ends_with_browser(&self) -> Verdict {
        if let Transport::Bearer(_) = self.engine.transport {
            return application("The client's code keeps the token: keep it in memory alone.");
        }
        match self.expiry().ends_with_browser() {
            true => holds("The cookie has no Max-Age, unless a session chooses its own expiry."),
            false => fails(
                "The cookie has a Max-Age and outlives the browser.",
                ".expiry(..), with ending_with_browser() or one of Expiry::aal1() to aal3()",
            ),
        }
    }

    /// Whether an absolute lifetime of at most this is set.
    pub(super) fn absolute_within(&self, max: Duration, mend: &'static str) -> Verdict {
        match self.expiry().absolute() {
            Some(absolute) if absolute <= max => holds(format!(
                "A session ends {} after its login.",
                shown(absolute)
            )),
            Some(absolute) => fails(
                format!("A session ends {} after its login.", shown(absolute)),
                mend,
            ),
            None => fails("A session in use never ends.", mend),
        }
    }

    /// Whether an idle time of at most this is set.
    pub(super) fn idle_within(&self, max: Duration, mend: &'static str) -> Verdict {
        let idle = self.expiry().idle();
        let ends = format!("A session ends when it was not used for {}.", shown(idle));
        match idle <= max {
            true => holds(ends),
            false => fails(ends, mend),
        }
    }

    /// The lifetimes, for whoever must write them down.
    pub(super) fn lifetimes(&self) -> String {
        let idle = shown(self.expiry().idle());
        match self.expiry().absolute() {
            Some(absolute) => format!("{idle} unused, {} at most", shown(absolute)),
            None => format!("{idle} unused, without an end while it is used"),
        }
    }

    /// The share of the idle time within which uses are not counted apart.
    pub(super) fn activity(&self) -> Verdict {
        holds(match self.engine.touch_share_percent {
            0 => "Each use moves the end on, and a login counts both lifetimes anew.".to_owned(),
            share => format!(
                "A use moves the end on once {share} % of the idle time has passed since the last \
                 one that did: a session may end that much early, and never late. \
                 touch_share_percent(0) counts each use. A login counts both lifetimes anew."
            ),
        })
    }

    /// Whether a token opens nothing any more once its session was ended.
    pub(super) fn ends_for_good(&self) -> Verdict {
        match self.capabilities.client_side {
            None => holds(format!(
                "The store on the server ends it{}.",
                self.elsewhere()
            )),
            Some(side) if side.ends_at_logout => holds(
                "A logout begins the next epoch of its subject: no cookie of before opens, on any \
                 device.",
            ),
            Some(_) => fails(
                "A copy of the cookie opens until its deadline, after a logout too.",
                REVOCATION,
            ),
        }
    }

    /// When other nodes know.
    pub(super) fn elsewhere(&self) -> Cow<'static, str> {
        match self.capabilities.staleness_max {
            Duration::ZERO => ", on every node at once".into(),
            staleness => format!(
                ", on this node at once, and on others within {}, by their near caches",
                shown(staleness)
            )
            .into(),
        }
    }

    /// Whether a login gives a new token and ends the one before.
    pub(super) fn login_renews(&self) -> Verdict {
        match self.capabilities.client_side {
            None => holds(format!(
                "set_subject moves the session to a new key, for the same subject again too; the \
                 key before opens nothing{}.",
                self.elsewhere()
            )),
            Some(side) if side.ends_at_logout => holds(
                "set_subject gives a new token. A login of the same subject again ends all others \
                 of that subject; a token from before the first login opens what a stranger may \
                 see.",
            ),
            Some(_) => fails(
                "set_subject gives a new token, and the one before opens until its deadline.",
                REVOCATION,
            ),
        }
    }

    pub(super) fn ends_by_subject(&self, must: &'static str) -> Verdict {
        match self.capabilities.ends_by_subject() {
            true => application(must),
            false => fails("Nothing ends the sessions of a subject.", REVOCATION),
        }
    }

    pub(super) fn lists(&self, must: &'static str) -> Verdict {
        match self.capabilities.subjects {
            Some(_) => application(must),
            None => fails("Nobody can list the sessions of a subject.", ON_THE_SERVER),
        }
    }

    pub(super) fn ends_everybody(&self, must: &'static str) -> Verdict {
        let all = self.capabilities.scan.is_some();
        match (all, self.capabilities.ends_by_subject()) {
            (true, true) => application(must),
            _ => fails(
                "The store does not know its sessions, so that nobody can end them all at once.",
                ON_THE_SERVER,
            ),
        }
    }

    /// Whether tokens are drawn by the operating system.
    pub(super) fn has_system_entropy(&self) -> bool {
        !self.engine.has_own_entropy
    }

    pub(super) fn is_readable(&self) -> bool {
        let side = self.capabilities.client_side;
        side.is_some_and(|side| side.is_readable)
    }

    pub(super) fn clears_site_data(&self) -> bool {
        self.engine.transport.clears_site_data()
    }

    pub(super) fn no_store(&self) -> bool {
        self.engine.no_store
    }

    pub(super) fn sessions_per_subject_max(&self) -> Option<usize> {
        self.engine.sessions_per_subject_max
    }

    /// Data in a token must not be readable, nor a cookie hold more than it may.
    pub(super) fn is_opaque(&self) -> Verdict {
        match self.is_readable() {
            true => fails(
                "The cookie is signed: whoever holds it reads the session.",
                "leave signed() out of the cookie store, so that it encrypts",
            ),
            false if self.capabilities.client_side.is_some() => {
                holds("The token is the encrypted session.")
            }
            false => holds("The token is a random key, and says nothing."),
        }
    }
}

/// A duration as people say it.
pub(super) fn shown(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (count, unit) = match secs {
        0 => (duration.as_millis(), "ms"),
        secs if secs % 86_400 == 0 => (u128::from(secs / 86_400), "days"),
        secs if secs % 3_600 == 0 => (u128::from(secs / 3_600), "hours"),
        secs if secs % 60 == 0 => (u128::from(secs / 60), "minutes"),
        secs => (u128::from(secs), "seconds"),
    };
    match count {
        1 => format!(
            "1 {}",
            unit.strip_suffix('s')
                .filter(|_| unit != "ms")
                .unwrap_or(unit)
        ),
        count => format!("{count} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        for (secs, text) in [
            (1, "1 second"),
            (90, "90 seconds"),
            (900, "15 minutes"),
            (3_600, "1 hour"),
            (86_400, "1 day"),
            (2_592_000, "30 days"),
        ] {
            assert_eq!(shown(Duration::from_secs(secs)), text);
        }
        assert_eq!(shown(Duration::from_millis(1)), "1 ms");
    }
}
