//! Sessions that are tied to one of an identity provider: one walk, over any store.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)] // A walk that cannot go on panics.

use std::time::Duration;

use cloakroom::engine::TokenStore;
use cloakroom::session::Session;
use cloakroom::{Aal, Engine, Expiry, ProviderSession, SessionExpiry, Subject};

/// The session of the provider that is called so.
#[must_use]
pub fn provider_session(sid: &str) -> ProviderSession {
    ProviderSession::new("https://id.example", sid).unwrap()
}

/// A request with this cookie; answers the cookie that the browser has then.
async fn ask(engine: &Engine, cookie: &str, handler: impl FnOnce(&Session)) -> String {
    let exchange = engine.exchange();
    let cookies = Some(cookie.as_bytes()).filter(|cookie| !cookie.is_empty());
    let session = exchange.open(cookies.into_iter()).await.unwrap();
    handler(&session);
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let mut edits = closing.header_edits([]);
    let set = edits.find(|edit| edit.name() == "set-cookie");
    let set = set.map(|edit| edit.value().split(';').next().unwrap().to_owned());
    set.unwrap_or_else(|| cookie.to_owned())
}

/// Logs in with a new browser; answers its cookie.
pub async fn log_in(engine: &Engine, subject: &str, sid: &str) -> String {
    let log_in = |session: &Session| {
        session.set_subject(Subject::new(subject).unwrap()).unwrap();
        let of = provider_session(sid);
        session.set_provider_session(of).unwrap();
    };
    ask(engine, "", log_in).await
}

/// Who is logged in with this cookie, or why nobody is.
pub async fn told(engine: &Engine, cookie: &str) -> String {
    let mut told = String::new();
    ask(engine, cookie, |session| {
        told = match (session.subject(), session.ended_because()) {
            (Some(subject), _) => subject.as_str().to_owned(),
            (None, ended) => ended.unwrap().because.to_string(),
        };
    })
    .await;
    told
}

/// Ends the sessions of one provider session, and no others, whatever became of them since; and
/// a login that comes too late.
pub async fn ends_by_provider(store: impl TokenStore) {
    let engine = Engine::new(store);
    let mut first = log_in(&engine, "ada", "s1").await;
    let second = log_in(&engine, "ada", "s1").await;
    let of_bob = log_in(&engine, "bob", "s1").await;
    let other = log_in(&engine, "ada", "s2").await;
    first = ask(&engine, &first, |session| {
        session.reauthenticated(Aal::Two).unwrap();
    })
    .await;
    first = ask(&engine, &first, |session| {
        // It slides for ever, and lives for years unused.
        let years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        let own = Expiry::new(years, None).unwrap();
        session.set_expiry(SessionExpiry::Own(own)).unwrap();
    })
    .await;
    let of = provider_session("s1");
    assert_eq!(engine.end_provider_session(&of).await.unwrap(), 3);
    for ended in [&first, &second, &of_bob] {
        assert_eq!(told(&engine, ended).await, "logged_out_elsewhere");
    }
    assert_eq!(told(&engine, &other).await, "ada");
    let late = log_in(&engine, "ada", "s1").await;
    assert_eq!(told(&engine, &late).await, "logged_out_elsewhere");
}
