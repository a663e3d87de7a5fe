//! What a page asks of a login, beyond that there is one.

use std::time::Duration;

use cloakroom_core::{Aal, Login, Timestamp};

use crate::LoginPage;

/// What a sensitive page asks of a login.
///
/// A login meets it until time passes, or never: the visitor then proves again who they
/// are, and the site says so by
/// [`reauthenticated`](cloakroom_core::session::Session::reauthenticated).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepUp {
    /// The visitor has proved who they are within this time. Where nobody knows when that
    /// was, as in a session that was adopted, it is not met.
    Fresh(Duration),
    /// They have proved it at this level or a higher one.
    AtLeast(Aal),
}

impl StepUp {
    /// Whether a session whose record says this of its login meets it.
    #[must_use]
    pub fn is_met_by(&self, login: Option<&Login>, now: Timestamp) -> bool {
        let Some(login) = login else {
            return false;
        };
        match *self {
            Self::Fresh(max_age) => {
                let at = login.authenticated_at;
                at.is_some_and(|at| now.saturating_since(at) <= max_age)
            }
            Self::AtLeast(level) => login.level >= level,
        }
    }

    /// Where to send a visitor whose login does not meet it: the address of this page for
    /// them, as [`LoginPage::url_for`] makes it, with `level=2` or `level=3` where a level
    /// is missing.
    #[must_use]
    pub fn url_for(
        &self,
        page: &LoginPage,
        method: &str,
        asked_for: &str,
        fetch_dest: Option<&[u8]>,
    ) -> Option<String> {
        let url = page.url_for(method, asked_for, fetch_dest)?;
        Some(match self {
            Self::Fresh(_) => url,
            Self::AtLeast(level) => format!("{url}&level={}", *level as u8),
        })
    }
}

/// A time as a type, for a handler's signature: `Fresh<Minutes<10>>`.
pub trait MaxAge {
    /// How long ago the visitor may have proved who they are.
    const MAX_AGE: Duration;
}

/// So many minutes.
#[derive(Clone, Copy, Debug)]
pub enum Minutes<const N: u64> {}

impl<const N: u64> MaxAge for Minutes<N> {
    const MAX_AGE: Duration = Duration::from_secs(N * 60);
}

/// A level as a type, for a handler's signature: `AtLeast<Aal2>`.
pub trait Level {
    /// The lowest level that will do.
    const LEVEL: Aal;
}

/// Two factors: [`Aal::Two`].
#[derive(Clone, Copy, Debug)]
pub enum Aal2 {}

impl Level for Aal2 {
    const LEVEL: Aal = Aal::Two;
}

/// Two factors, one of them a key in hardware: [`Aal::Three`].
#[derive(Clone, Copy, Debug)]
pub enum Aal3 {}

impl Level for Aal3 {
    const LEVEL: Aal = Aal::Three;
}

#[cfg(test)]
mod tests {
    use cloakroom_core::Authentication;

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn a_login_is_fresh_until_its_time_is_over_and_one_of_unknown_age_never() {
        let ten = StepUp::Fresh(<Minutes<10> as MaxAge>::MAX_AGE);
        let login = Login::new(&Authentication::default(), at(1_000));
        for (now, is_met) in [(1_000, true), (1_600, true), (1_601, false), (999, true)] {
            assert_eq!(ten.is_met_by(Some(&login), at(now)), is_met, "{now}");
        }
        assert!(!ten.is_met_by(Some(&Login::default()), at(0)), "adopted");
        assert!(!ten.is_met_by(None, at(0)));
    }

    #[test]
    fn a_level_is_met_by_itself_and_those_above() {
        for (has, two, three) in [
            (Aal::One, false, false),
            (Aal::Two, true, false),
            (Aal::Three, true, true),
        ] {
            let login = Login::new(&has.into(), at(1));
            let meets = |level| StepUp::AtLeast(level).is_met_by(Some(&login), at(9_999));
            assert_eq!((meets(Aal2::LEVEL), meets(Aal3::LEVEL)), (two, three));
        }
        assert!(!StepUp::AtLeast(Aal::One).is_met_by(None, at(1)));
    }

    #[test]
    fn the_page_is_told_where_to_go_back_to_and_which_level_is_missing() {
        let page = LoginPage::new("/confirm");
        let url = |needs: StepUp| needs.url_for(&page, "GET", "/keys?id=1", None);
        let fresh = StepUp::Fresh(Duration::from_secs(600));
        assert_eq!(url(fresh).as_deref(), Some("/confirm?next=/keys%3Fid%3D1"));
        assert_eq!(
            url(StepUp::AtLeast(Aal::Three)).as_deref(),
            Some("/confirm?next=/keys%3Fid%3D1&level=3")
        );
        assert_eq!(fresh.url_for(&page, "POST", "/keys", None), None);
    }
}
