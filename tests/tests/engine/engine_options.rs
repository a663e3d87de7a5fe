//! What the engine promises beside Django's table: the bearer transport, the
//! deadline of replay, reissued tokens, choices that cannot work.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use cloakroom::axum::{Session as AxumSession, SessionError, SessionLayer};
use cloakroom::engine::{LoadedToken, SessionKey, Token, TokenStore, Written};
use cloakroom::store::{
    BoxFuture, Capabilities, Ending, FRAME_BYTES_CEILING, KeyDigest, Record, SessionStore, Stored,
};
use cloakroom::stores::MemoryStore;
use cloakroom::{
    BearerPolicy, Engine, EngineBuilder, Error, ErrorKind, Limits, Subject, Timestamp,
};
use cloakroom_testkit::{Call, InterceptedStore, MapStore};
use cloakroom_tests::in_process::COOKIE;
use tower::ServiceExt as _;

#[tokio::test]
async fn a_bearer_token_travels_in_headers_and_no_cookie_is_looked_at_or_set() {
    let engine = Engine::builder(MemoryStore::default())
        .bearer(BearerPolicy::default())
        .build()
        .unwrap();
    type Page = Result<String, SessionError>;
    let app = Router::new()
        .route(
            "/login",
            get(async |session: AxumSession| -> Page {
                session.set_subject(Subject::new("ada")?)?;
                Ok(String::new())
            }),
        )
        .route(
            "/whose",
            get(async |session: AxumSession| -> Page {
                Ok(session
                    .subject()
                    .map_or("nobody".into(), |s| s.as_str().to_owned()))
            }),
        )
        .route(
            "/logout",
            get(async |session: AxumSession| -> Page {
                session.flush()?;
                Ok(String::new())
            }),
        )
        .layer(SessionLayer::new(engine));
    let send = async |path: &str, header: (&str, String)| {
        let request = Request::get(path).header(header.0, header.1);
        let request = request.body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    };
    let whose = async |header: (&str, String)| {
        let body = send("/whose", header).await.into_body();
        String::from_utf8(axum::body::to_bytes(body, 100).await.unwrap().to_vec()).unwrap()
    };
    let login = send("/login", ("accept", "*/*".into())).await;
    let header = |name: &str| {
        login
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    };
    let token = header("x-session-token").unwrap().to_owned();
    assert_eq!(header("set-cookie"), None);
    assert_eq!(header("vary"), Some("Authorization"));
    assert_eq!(header("cache-control"), Some("no-store"));
    assert!(login.headers()["x-session-token"].is_sensitive());

    let bearer = || ("authorization", format!("Bearer {token}"));
    assert_eq!(whose(bearer()).await, "ada");
    assert_eq!(
        whose(("cookie", format!("{COOKIE}={token}"))).await,
        "nobody"
    );
    assert_eq!(
        whose(("authorization", format!("Basic {token}"))).await,
        "nobody"
    );
    let logout = send("/logout", bearer()).await;
    assert_eq!(logout.headers()["x-session-token"], "");
    assert_eq!(whose(bearer()).await, "nobody");
}

/// A store where another writer is always first.
fn contended() -> impl SessionStore {
    let others = Arc::new(MapStore::default());
    InterceptedStore::from_fn(others.clone(), move |operation, work| {
        let others = others.clone();
        Box::pin(async move {
            if let (Call::Update, Some(digest)) = (operation.call, operation.digest) {
                let stored = others.load(&digest).await?.and_then(Stored::into_record);
                others
                    .update(&digest, &stored.ok_or(ErrorKind::Gone)?)
                    .await?;
            }
            work.await
        })
    })
}

#[tokio::test(start_paused = true)]
async fn where_others_are_always_first_a_save_gives_up_at_its_deadline() {
    for (deadline, at_least, at_most) in [(None, 2_000, 2_200), (Some(300), 300, 500)] {
        let store = Arc::new(contended());
        let mut builder = Engine::builder(store.clone());
        if let Some(millis) = deadline {
            builder = builder.conflict_deadline(Duration::from_millis(millis));
        }
        let engine = builder.build().unwrap();
        let exchange = engine.exchange();
        let session = exchange.open([].into_iter()).await.unwrap();
        session.insert("n", 1).unwrap();
        let header = exchange.close(200).await.token_headers()[0].clone();
        let cookie = header.value().split(';').next().unwrap().to_owned();

        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        let began = tokio::time::Instant::now();
        let closing = exchange.close(200).await;
        let took = began.elapsed().as_millis();
        assert!((at_least..=at_most).contains(&took), "{took} ms");
        assert!(closing.token_headers().is_empty());
        assert_eq!(closing.failure.unwrap().kind(), ErrorKind::Conflict);

        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        assert_eq!(
            session.get::<u64>("n").unwrap(),
            Some(1),
            "nothing was written"
        );
    }
}

/// A store that wants every token replaced, as one that has a new sealing key.
#[derive(Debug, Default)]
struct Reissuing(MapStore);

const PREFIX: &str = "new-";

fn inner(token: &Token) -> Token {
    Token::new(token.expose().trim_start_matches(PREFIX)).of_site(token.site())
}

impl TokenStore for Reissuing {
    fn is_well_formed(&self, token: &str) -> bool {
        self.0.is_well_formed(token.trim_start_matches(PREFIX))
    }

    fn digest_of(&self, token: &Token) -> Option<KeyDigest> {
        self.0.digest_of(&inner(token))
    }

    fn load_token<'a>(
        &'a self,
        token: &'a Token,
    ) -> BoxFuture<'a, Result<Option<LoadedToken>, Error>> {
        Box::pin(async move {
            let mut loaded = self.0.load_token(&inner(token)).await?;
            if let Some(loaded) = &mut loaded
                && !token.expose().starts_with(PREFIX)
            {
                loaded.reissue = Some(Token::new(format!("{PREFIX}{}", token.expose())));
            }
            Ok(loaded)
        })
    }

    fn create_token<'a>(
        &'a self,
        key: &'a SessionKey,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        self.0.create_token(key, record)
    }

    fn update_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move { self.0.update_token(&inner(token), record).await })
    }

    fn touch_token<'a>(
        &'a self,
        token: &'a Token,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move { self.0.touch_token(&inner(token), record).await })
    }

    fn rotate_token<'a>(
        &'a self,
        token: &'a Token,
        new: &'a SessionKey,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let old = inner(token);
            self.0.rotate_token(&old, new, record, mark_until).await
        })
    }

    fn end_token<'a>(
        &'a self,
        token: &'a Token,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.0.end_token(&inner(token), ending).await })
    }

    fn token_capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
    }
}

#[tokio::test]
async fn a_reissued_token_is_handed_out_whatever_the_request_does() {
    let engine = Engine::new(Reissuing::default());
    let request = async |cookie: &str, write: bool| {
        let exchange = engine.exchange();
        let session = exchange
            .open([cookie.as_bytes()].into_iter())
            .await
            .unwrap();
        let n = session.get::<u64>("n").unwrap();
        if write {
            session.insert("n", 1).unwrap();
        }
        let headers = exchange.close(200).await.token_headers().to_vec();
        let set = headers.first().map(|header| header.value().to_owned());
        (n, set)
    };
    let (_, first) = request("", true).await;
    let old = first.unwrap().split(';').next().unwrap().to_owned();
    for write in [false, true] {
        let (n, set) = request(&old, write).await;
        let set = set.unwrap();
        assert_eq!(n, Some(1));
        assert!(
            set.starts_with(&format!("{COOKIE}={PREFIX}")),
            "write: {write}"
        );
        // Once it holds the new one, there is nothing to hand out.
        let new = set.split(';').next().unwrap();
        assert_eq!(request(new, write).await, (Some(1), None));
    }
}

#[test]
fn choices_that_cannot_work_are_refused_when_the_engine_is_built() {
    type Choice = fn(EngineBuilder) -> EngineBuilder;
    let choices: [(Choice, &str); 5] = [
        (|b| b.touch_share_percent(101), "touch_share_percent"),
        (|b| b.rotation_mark(Duration::ZERO), "rotation_mark"),
        (
            |b| b.limits(Limits::default().with_entries_max(0)),
            "one entry",
        ),
        (
            |b| b.limits(Limits::default().with_record_bytes_max(0)),
            "one byte",
        ),
        (
            |b| b.limits(Limits::default().with_record_bytes_max(FRAME_BYTES_CEILING)),
            "record_bytes_max",
        ),
    ];
    for (choose, part) in choices {
        let error = choose(Engine::builder(MapStore::default()))
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(part), "{error}");
    }
    // The widest choices work.
    let widest = Engine::builder(MapStore::default())
        .touch_share_percent(100)
        .conflict_deadline(Duration::MAX)
        .rotation_mark(Duration::MAX);
    assert!(widest.build().is_ok());
}

#[tokio::test]
async fn a_save_may_be_tried_for_ever_without_a_panic() {
    let engine = Engine::builder(MapStore::default())
        .conflict_deadline(Duration::MAX)
        .rotation_mark(Duration::MAX)
        .build()
        .unwrap();
    let exchange = engine.exchange();
    let session = exchange.open([].into_iter()).await.unwrap();
    session.insert("n", 1).unwrap();
    session.save().await.unwrap();
    session.cycle_key().unwrap();
    session.save().await.unwrap();
    assert!(exchange.close(200).await.failure.is_none());
}
