//! Adopting the sessions of another library over each kind of store: plain, sealed, behind a
//! cache, and refused where the session is in the cookie.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{
    AnyStore, Exchange, FormerId, FormerSession, FormerSessions, OsEntropy, TokenStore as _,
};
use cloakroom::session::Value;
use cloakroom::store::{BoxFuture, EndReason, SessionStore as _};
use cloakroom::stores::{Cached, MemoryStore, Sealed};
use cloakroom::{
    Clock as _, CookiePolicy, Engine, Error, ErrorKind, Prefix, SessionExpiry, Timestamp,
};
use cloakroom_testkit::{ManualClock, MapStore};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// One session, which a source that cannot forget gives back each time.
struct Former(CookiePolicy);

impl Former {
    fn new() -> Self {
        let cookie = CookiePolicy::builder().prefix(Prefix::None).name("sid");
        Self(cookie.build().unwrap())
    }
}

impl FormerSessions for Former {
    fn name(&self) -> &str {
        "former"
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.0
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        Some(FormerId::new(value))
    }

    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(async move {
            let hour = Duration::from_secs(3600);
            let mut session = FormerSession::new(now.saturating_add(hour));
            if id.expose() == "long" {
                session.expiry = SessionExpiry::Idle(DAY * 25);
            }
            session.entries = vec![("n".into(), Value::UInt(1))];
            Ok(Some(session))
        })
    }

    fn delete<'a>(&'a self, _: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

async fn visit(engine: &Engine, cookie: &str, flush: bool) -> (Option<u64>, Vec<String>) {
    let exchange: Exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    let number = session.get("n").unwrap();
    if flush {
        session.flush().unwrap();
    }
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let headers = closing.token_headers().iter();
    (
        number,
        headers.map(|header| header.value().to_owned()).collect(),
    )
}

/// What is told who comes with the cookie of the other library.
async fn told(engine: &Engine, cookie: &str) -> Option<EndReason> {
    let exchange = engine.exchange();
    let session = exchange.open([cookie.as_bytes()].into_iter()).await;
    Some(session.unwrap().ended_because()?.because)
}

#[tokio::test]
async fn over_each_kind_of_store() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let sealed = Sealed::new(MapStore::default());
    let sealed_by_server = Sealed::new(MapStore::default()).with_key_ring(&ring);
    let clock = Arc::new(ManualClock::default());
    let cached = Cached::with_staleness_max(MapStore::default(), Duration::from_secs(5));
    let stores = [
        ("memory", AnyStore::new(MemoryStore::default())),
        ("sealed", AnyStore::new(sealed)),
        ("sealed by the server too", AnyStore::new(sealed_by_server)),
        ("cached", AnyStore::new(cached)),
    ];
    for (name, store) in stores {
        let clock: Arc<ManualClock> = match name {
            // It forgets by the system's clock.
            "memory" => Arc::new(ManualClock::at(cloakroom::Clock::now(
                &cloakroom::SystemClock,
            ))),
            _ => clock.clone(),
        };
        let builder = Engine::builder(store).clock(clock.clone());
        let engine = builder.adopt(Former::new()).build().unwrap();
        let (number, headers) = visit(&engine, "sid=a", false).await;
        assert_eq!(number, Some(1), "{name}");
        let ours = headers[0].split(';').next().unwrap();
        assert_eq!(
            visit(&engine, "sid=a", false).await.1[0],
            headers[0],
            "{name}"
        );
        clock.advance(Duration::from_secs(60));
        for _ in 0..2 {
            assert_eq!(
                visit(&engine, ours, false).await,
                (Some(1), vec![]),
                "{name}"
            );
            assert_eq!(visit(&engine, "sid=a", false).await.0, None, "{name}");
        }
        assert_eq!(
            told(&engine, "sid=a").await,
            Some(EndReason::Adopted),
            "{name}"
        );
        // A browser that keeps the former cookie is told how ours has ended.
        let both = format!("sid=a; {ours}");
        assert_eq!(visit(&engine, &both, true).await.0, Some(1), "{name}");
        let logged_out = Some(EndReason::LoggedOut);
        assert_eq!(told(&engine, &both).await, logged_out, "{name}");
        assert_eq!(visit(&engine, "sid=b", true).await.0, Some(1), "{name}");
        assert_eq!(visit(&engine, "sid=b", false).await.0, None, "{name}");
        assert_eq!(
            told(&engine, "sid=b").await,
            Some(EndReason::LoggedOut),
            "{name}"
        );
        visit(&engine, "sid=c", false).await;
        // The touch of that visit has given it two weeks.
        clock.advance(Duration::from_secs(15 * 24 * 3600));
        let idle = Some(EndReason::Idle);
        assert_eq!(told(&engine, "sid=c").await, idle, "{name}");
    }
}

/// Who has only asked by scripts has no other cookie yet.
#[tokio::test]
async fn the_former_cookie_opens_its_session_for_as_long_as_that_has_chosen_to_live() {
    let store = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let builder = Engine::builder(store.clone()).clock(clock.clone());
    let engine = builder.adopt(Former::new()).build().unwrap();
    let exchange = engine.exchange();
    exchange.note_fetch_dest(Some(b"empty"));
    let session = exchange.open(["sid=long".as_bytes()].into_iter()).await;
    session.unwrap().insert("n", 2_u64).unwrap();
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    assert!(closing.token_headers().is_empty());
    clock.advance(DAY * 20);
    let sweep = store.capabilities().sweep.unwrap();
    sweep.sweep(clock.now(), 100).await.unwrap();
    assert_eq!(visit(&engine, "sid=long", false).await.0, Some(2));
}

#[test]
fn a_cookie_store_is_refused() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = CookieStore::builder("__Host-session", &ring)
        .build()
        .unwrap();
    assert!(store.token_capabilities().subjects.is_none());
    let error = Engine::builder(store)
        .adopt(Former::new())
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(
        error.to_string().contains("a store on the server"),
        "{error}"
    );
}
