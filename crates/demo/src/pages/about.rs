//! How it works. This page asks for no session, and so costs the store nothing.

use axum::response::Response;
use maud::html;

use crate::layout::Page;

pub(crate) async fn page() -> Response {
    let content = html! {
        p.lead {
            "Cloakroom is a session storage engine for Rust web services. This site is its demo."
        }
        h2 { "The ticket" }
        p {
            "Your browser holds a random key of 256 bits, in a cookie that scripts cannot read. \
             The store holds the session under a digest of that key: whoever copies the store \
             copies no ticket."
        }
        h2 { "Lazily" }
        p {
            "This page does not ask who you are, so the bill below is zero. Other pages ask, which loads your session, if you have one, once. Only a change \
             writes, once, before the response leaves. Whoever changes nothing gets no cookie."
        }
        h2 { "Together" }
        p {
            "A change is kept as an operation, not as a copy of the whole session. Where two tabs \
             change the same session at once, the later one's operations are replayed on what the \
             earlier one has left. A session that was logged out meanwhile stays so: no late \
             write brings it back."
        }
        h2 { "Moving on" }
        p {
            "Logging in, and each change of privilege, moves the session to a new key. What was \
             in it stays; the old cookie opens nothing."
        }
        h2 { "This site" }
        p {
            "It runs on plain http for this machine alone, so its cookie is not marked Secure; on \
             https Cloakroom's default is as strict as browsers allow. Passwords are kept as \
             argon2id hashes in the demo's folder. Forms from other sites are refused. There is \
             no JavaScript on these pages."
        }
    };
    Page {
        at: "/about",
        title: "About",
        visitor: None,
        content,
    }
    .render()
}
