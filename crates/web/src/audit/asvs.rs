//! OWASP ASVS 5.0.0: chapter 7, the cookies of 3.3, and what else of it concerns sessions.

use super::facts::Facts;
use super::{Judge, Requirement, Verdict, application, fails, holds};

/// Those of a level and the ones below it.
pub(super) fn requirements(level: u8) -> Vec<Requirement> {
    let all = REQUIREMENTS.iter();
    all.filter(|(from, _)| *from <= level)
        .map(|(_, requirement)| *requirement)
        .collect()
}

const fn l1(id: &'static str, text: &'static str, judge: Judge) -> (u8, Requirement) {
    (1, Requirement::must(id, text, judge))
}

const fn l2(id: &'static str, text: &'static str, judge: Judge) -> (u8, Requirement) {
    (2, Requirement::must(id, text, judge))
}

const fn l3(id: &'static str, text: &'static str, judge: Judge) -> (u8, Requirement) {
    (3, Requirement::must(id, text, judge))
}

/// By the level from which each counts.
const REQUIREMENTS: &[(u8, Requirement)] = &[
    l1(
        "3.3.1",
        "Cookies are Secure, and their names begin with __Host- or __Secure-.",
        name_and_secure,
    ),
    l2(
        "3.3.2",
        "SameSite is set as the cookie's purpose asks.",
        |facts| facts.same_site(),
    ),
    l2(
        "3.3.3",
        "Names begin with __Host-, unless the cookie is meant for other hosts too.",
        |facts| facts.has_host_prefix(),
    ),
    l2(
        "3.3.4",
        "Scripts cannot read the session token, and only Set-Cookie hands it out.",
        |facts| facts.is_http_only(),
    ),
    l3(
        "3.3.5",
        "Name and value of a cookie are 4,096 bytes at most.",
        cookie_bytes,
    ),
    l2(
        "7.1.1",
        "Both timeouts are documented, with the reasons for going beyond NIST SP 800-63B.",
        |facts| application(format!("Document them: {}.", facts.lifetimes())),
    ),
    l2(
        "7.1.2",
        "It is documented how many sessions one account may have, and what happens beyond.",
        sessions_at_once,
    ),
    l2(
        "7.1.3",
        "Systems that share logins are documented, with how sessions end together.",
        |_| application("Document the identity provider, where there is one."),
    ),
    l1(
        "7.2.1",
        "Tokens are verified by a trusted service of the backend.",
        verified,
    ),
    l1(
        "7.2.2",
        "Tokens are made for the session, and are no static secrets.",
        generated,
    ),
    l1(
        "7.2.3",
        "Reference tokens are unique, from a secure generator, and have 128 bits at least.",
        entropy,
    ),
    l1(
        "7.2.4",
        "A login, also a repeated one, gives a new token and ends the one before.",
        |facts| facts.login_renews(),
    ),
    l2(
        "7.3.1",
        "A session ends after a time without use.",
        |facts| {
            holds(format!(
                "The lifetimes are {}, unless a session chooses its own.",
                facts.lifetimes()
            ))
        },
    ),
    l2(
        "7.3.2",
        "A session ends at the latest after a fixed time.",
        absolute,
    ),
    l1(
        "7.4.1",
        "What was ended or has expired can be used no more.",
        |facts| facts.ends_for_good(),
    ),
    l1(
        "7.4.2",
        "All sessions of an account end when it is disabled or deleted.",
        |facts| {
            facts.ends_by_subject(
                "Call engine.end_sessions_of(&subject) where an account is disabled or deleted.",
            )
        },
    ),
    l2(
        "7.4.3",
        "Whoever changes a password or another factor may end all other sessions.",
        |facts| facts.lists("Offer it there: SubjectSessions::end_others()."),
    ),
    l2(
        "7.4.4",
        "Each page for logged-in users shows how to log out.",
        |_| application("Put a form for it on each page; its handler calls session.flush()."),
    ),
    l2(
        "7.4.5",
        "Administrators can end the sessions of one user and of all.",
        |facts| {
            facts.ends_everybody("Give them a page or a command of engine.end_sessions_of(&subject) and engine.end_everybody().")
        },
    ),
    l2(
        "7.5.1",
        "Changing what authentication depends on needs a full login first.",
        |_| {
            application(
                "Give such a page the extractor Fresh<Minutes<10>>, and the layer a step_up_page, which asks for the factors again and calls reauthenticated: it renews the token.",
            )
        },
    ),
    l2(
        "7.5.2",
        "Users can see their sessions and, after a login with one factor, end them.",
        |facts| {
            facts.lists(
                "Give them a page of SubjectSessions, and ask for a factor before it ends any.",
            )
        },
    ),
    l3(
        "7.5.3",
        "Highly sensitive operations need a further factor or confirmation.",
        |_| {
            application(
                "Give such a page the extractor AtLeast<Aal2>, or Fresh<..> for a confirmation.",
            )
        },
    ),
    l2(
        "7.6.1",
        "Sessions here and at the identity provider live and end together as documented.",
        |_| {
            application(
                "Set the expiry by what the provider says, and end sessions by engine.end_sessions_of when it tells of a logout.",
            )
        },
    ),
    l2(
        "7.6.2",
        "No session begins without the user's consent or action.",
        |_| application("Call set_subject only in answer to what the user did."),
    ),
    l1(
        "14.3.1",
        "What the client keeps of a login is cleared when the session ends.",
        cleared,
    ),
    l2(
        "14.3.2",
        "Headers keep browsers from storing sensitive answers.",
        stored_by_browsers,
    ),
    l2(
        "14.3.3",
        "Browser storage, cookies included, holds nothing sensitive but session tokens.",
        |facts| facts.is_opaque(),
    ),
    l2(
        "16.2.5",
        "Session tokens are logged hashed or masked, if at all.",
        |_| {
            holds(
                "Events and errors name a session by 8 characters of its digest, and hold no token; the proxy and the application must keep theirs to that too.",
            )
        },
    ),
];

fn name_and_secure(facts: &Facts<'_>) -> Verdict {
    let secure = facts.is_secure();
    if secure.is_failure() {
        return secure;
    }
    facts.cookie(|cookie| {
        let name = cookie.name();
        match ["__Host-", "__Secure-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            true => holds(format!("The cookie `{name}` is Secure.")),
            false => fails(
                format!("The cookie `{name}` is Secure, and its name has no prefix."),
                ".cookie(CookiePolicy::default()), whose prefix is __Host-",
            ),
        }
    })
}

fn cookie_bytes(facts: &Facts<'_>) -> Verdict {
    facts.cookie(|cookie| {
        holds(format!(
            "A Set-Cookie of more than {} bytes, attributes included, is an error before anything \
             is sent.",
            cookie.bytes_max()
        ))
    })
}

fn sessions_at_once(facts: &Facts<'_>) -> Verdict {
    application(match facts.sessions_per_subject_max() {
        Some(max) => format!(
            "Document it: {max} at once, and a login beyond that ends those that went unused \
             longest."
        ),
        None => {
            "Document that there may be any number, or set sessions_per_subject_max.".to_owned()
        }
    })
}

fn verified(facts: &Facts<'_>) -> Verdict {
    holds(match facts.capabilities.client_side {
        None => "The server looks the digest of each token up in its store.",
        Some(_) => "The server authenticates each token under its key ring.",
    })
}

fn generated(facts: &Facts<'_>) -> Verdict {
    match facts.has_system_entropy() {
        true => holds("Each session and each login draws a new key from the operating system."),
        false => application("Keys come from the application's own source: see that it is random."),
    }
}

fn entropy(facts: &Facts<'_>) -> Verdict {
    match facts.has_system_entropy() {
        true => holds("A key is 256 bits of the operating system's generator."),
        false => application(
            "A key is 256 bits of the application's own source: see that it is a \
             cryptographically secure generator.",
        ),
    }
}

fn absolute(facts: &Facts<'_>) -> Verdict {
    facts.absolute_within(
        std::time::Duration::MAX,
        ".expiry(Expiry::new(idle, Some(absolute))?)",
    )
}

fn cleared(facts: &Facts<'_>) -> Verdict {
    match facts.clears_site_data() {
        true => holds(
            "The answer that ends a session says Clear-Site-Data. Scripts that hold more should \
             forget it where the server does not answer.",
        ),
        false => fails(
            "Only the cookie is removed: caches and what scripts have stored stay.",
            "CookiePolicyBuilder::clear_site_data()",
        ),
    }
}

fn stored_by_browsers(facts: &Facts<'_>) -> Verdict {
    match facts.no_store() {
        true => holds(
            "An answer that depends on the session says Cache-Control: no-store, unless its \
             handler says otherwise.",
        ),
        false => fails(
            "An answer that depends on the session says Cache-Control: private, so that the \
             browser may keep it.",
            ".no_store(true)",
        ),
    }
}
