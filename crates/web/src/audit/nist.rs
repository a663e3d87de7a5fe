//! NIST SP 800-63B-4: section 5 on sessions, and the times that it takes from section 2.

use std::time::Duration;

use super::facts::Facts;
use super::{Requirement, Verdict, application, fails, holds};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Those of an authentication assurance level.
pub(super) fn requirements(level: u8) -> Vec<Requirement> {
    let times: &[Requirement] = match level {
        1 => &AAL1,
        2 => &AAL2,
        _ => &AAL3,
    };
    let mut all = [times, SESSIONS].concat();
    // Only the highest level requires a time, where the others recommend one.
    for requirement in all.iter_mut().filter(|one| level == 3 && one.id == TIMED) {
        requirement.judge = |facts| times_out(facts, 12 * HOUR);
    }
    all
}

/// Where the times of section 2 are asked for again.
const TIMED: &str = "5.1 (5)";

const AAL1: [Requirement; 2] = [
    Requirement::must("2.1.3", "A definite overall timeout is set.", |facts| {
        facts.absolute_within(Duration::MAX, ".expiry(Expiry::aal1())")
    }),
    Requirement::should("2.1.3", "It is 30 days at most.", |facts| {
        facts.absolute_within(30 * DAY, ".expiry(Expiry::aal1())")
    }),
];

const AAL2: [Requirement; 3] = [
    Requirement::must("2.2.3", "A definite overall timeout is set.", |facts| {
        facts.absolute_within(Duration::MAX, ".expiry(Expiry::aal2())")
    }),
    Requirement::should("2.2.3", "It is 24 hours at most.", |facts| {
        facts.absolute_within(24 * HOUR, ".expiry(Expiry::aal2())")
    }),
    Requirement::should(
        "2.2.3",
        "The inactivity timeout is one hour at most.",
        |facts| facts.idle_within(HOUR, ".expiry(Expiry::aal2())"),
    ),
];

const AAL3: [Requirement; 2] = [
    Requirement::must(
        "2.3.3",
        "The overall timeout is 12 hours at most.",
        |facts| facts.absolute_within(12 * HOUR, ".expiry(Expiry::aal3())"),
    ),
    Requirement::should(
        "2.3.3",
        "The inactivity timeout is 15 minutes at most.",
        |facts| facts.idle_within(15 * MINUTE, ".expiry(Expiry::aal3())"),
    ),
];

/// Where the section has a numbered list, the number is given.
const SESSIONS: &[Requirement] = &[
    Requirement::should(
        "5.1",
        "Session secrets that are bearer tokens do not outlive the browser or a restart.",
        |facts| facts.ends_with_browser(),
    ),
    Requirement::must(
        "5.1",
        "A remembered browser does not take the place of authentication.",
        |_| {
            application(
                "Let no cookie log anybody in, and give no login a longer life by set_expiry than the level allows.",
            )
        },
    ),
    Requirement::must(
        "5.1 (1)",
        "Secrets are established during authentication or right after it.",
        |_| holds("set_subject moves the session to a new key, in the answer to the login."),
    ),
    Requirement::must(
        "5.1 (2)",
        "Secrets come from an approved random bit generator and have 64 bits at least.",
        generator,
    ),
    Requirement::must(
        "5.1 (3)",
        "Secrets are erased or invalidated at logout.",
        |facts| facts.ends_for_good(),
    ),
    Requirement::must(
        "5.1 (4)",
        "Secrets travel over an authenticated protected channel.",
        protected,
    ),
    Requirement::must(
        TIMED,
        "Secrets are not accepted past the timeouts of the level.",
        |facts| times_out(facts, Duration::MAX),
    ),
    Requirement::must(
        "5.1 (6)",
        "Intermediaries between server and browser do not learn the secrets.",
        |_| application("End TLS on machines of the site's own, and let no proxy log cookies."),
    ),
    Requirement::should(
        "5.1",
        "Secrets do not lie in insecure places, such as HTML5 local storage.",
        |facts| facts.is_http_only(),
    ),
    Requirement::must(
        "5.1",
        "A session does not go on over an insecure transport.",
        protected,
    ),
    Requirement::must(
        "5.1",
        "POST and PUT requests carry an identifier of the session, which is verified against forgery.",
        |_| {
            application(
                "Put a token of the session into each form and verify it; SameSite alone is not enough here.",
            )
        },
    ),
    Requirement::should("5.1", "Users can log out easily.", |_| {
        application("Put a form for it on each page; its handler calls session.flush().")
    }),
    Requirement::must("5.1.1 (1)", "Cookies are for https alone.", |facts| {
        facts.is_secure()
    }),
    Requirement::must(
        "5.1.1 (2)",
        "Cookies reach the fewest hosts and paths that will do.",
        fewest_hosts,
    ),
    Requirement::should("5.1.1 (3)", "Scripts cannot read them.", |facts| {
        facts.is_http_only()
    }),
    Requirement::should(
        "5.1.1 (4)",
        "They expire when the session does, or soon after.",
        expires_with_session,
    ),
    Requirement::should(
        "5.1.1 (5)",
        "Their names begin with __Host-, and their path is /.",
        |facts| facts.has_host_prefix(),
    ),
    Requirement::should("5.1.1 (6)", "They are SameSite=Lax or Strict.", |facts| {
        facts.same_site()
    }),
    Requirement::must(
        "5.1.1 (7)",
        "They hold no personal information in clear text, and should be opaque.",
        |facts| facts.cookie(|_| facts.is_opaque()),
    ),
    Requirement::must(
        "5.2",
        "A session ends when either timeout does; use resets the one, and a login both.",
        |facts| facts.activity(),
    ),
    Requirement::must("5.2", "The timeouts are documented.", |facts| {
        application(format!("Document them: {}.", facts.lifetimes()))
    }),
];

fn generator(facts: &Facts<'_>) -> Verdict {
    application(match facts.has_system_entropy() {
        true => {
            "A key is 256 bits of the operating system's generator: run on a system whose \
                 generator is approved."
        }
        false => "A key is 256 bits of the application's own source: see that it is approved.",
    })
}

fn protected(facts: &Facts<'_>) -> Verdict {
    match facts.is_secure() {
        Verdict::Holds { .. } => application(
            "The engine gives no cookie to plain http. Serve by TLS alone, with \
             Strict-Transport-Security.",
        ),
        other => other,
    }
}

fn times_out(facts: &Facts<'_>, max: Duration) -> Verdict {
    match facts.absolute_within(max, ".expiry(..), with one of Expiry::aal1() to aal3()") {
        Verdict::Holds { .. } => holds(format!(
            "The engine judges each session as it is loaded: {}, unless it chooses its own expiry.",
            facts.lifetimes()
        )),
        other => other,
    }
}

fn expires_with_session(facts: &Facts<'_>) -> Verdict {
    facts.cookie(|_| match facts.expiry() {
        expiry if expiry.ends_with_browser() => holds(
            "The cookie ends with the browser, and the server alone decides whether it opens.",
        ),
        expiry if expiry.absolute().is_some() => holds(
            "The cookie ends at the session's absolute end, and the server alone decides whether \
             it opens.",
        ),
        _ => fails(
            "Without an absolute end, the cookie stays for the 400 days that browsers allow.",
            ".expiry(Expiry::new(idle, Some(absolute))?)",
        ),
    })
}

fn fewest_hosts(facts: &Facts<'_>) -> Verdict {
    facts.cookie(|cookie| match cookie.domain() {
        None => holds(format!(
            "It has no Domain, and its path is {}.",
            cookie.path()
        )),
        Some(domain) => application(format!(
            "Its Domain is {domain}: see that each host there needs it."
        )),
    })
}
