//! Ending every session of a site.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::store::{
    BoxFuture, Capabilities, Scan, ScanCursor, ScanPage, SessionStore as _, Stored,
};
use cloakroom::stores::{Cached, Sealed};
use cloakroom::{AnyStore, Clock as _, Engine, Error, ErrorKind, Site, Subject};
use cloakroom_testkit::{
    Call, Fault, Intercept, InterceptedStore, ManualClock, MapStore, Operation, Work, key, sample,
};
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::in_process::{COOKIE, TestApp};

async fn log_in(app: &TestApp, name: &str) {
    app.set_token(None);
    app.visit(async |s| s.set_subject(Subject::new(name).unwrap()).unwrap())
        .await;
}

/// Whether the token of the app opens anything.
async fn opens(app: &TestApp, token: &str) -> bool {
    app.set_token(Some(token));
    let mut exists = false;
    app.visit(async |s| exists = s.exists()).await;
    exists
}

/// On a store of any kind: all sessions of the site end, with a subject or without, and
/// none of another site.
async fn ends_all_of_the_site(store: AnyStore, kind: &str) {
    let app = TestApp::with(|_| Engine::builder(store.clone()));
    let admin = Site::new("admin").unwrap();
    let other = TestApp::with(|_| Engine::builder(store).site(admin));
    log_in(&other, "ada").await;
    let stays = other.token().unwrap();
    let mut tokens = Vec::new();
    for number in 0..5 {
        log_in(&app, &number.to_string()).await;
        tokens.extend(app.token());
    }
    app.set_token(None);
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    tokens.extend(app.token());

    assert_eq!(app.engine().end_everybody().await.unwrap(), 6, "{kind}");
    for token in tokens {
        assert!(!opens(&app, &token).await, "{kind}");
    }
    assert!(opens(&other, &stays).await, "{kind}");
    assert_eq!(app.engine().end_everybody().await.unwrap(), 0, "{kind}");
}

#[tokio::test]
async fn everybodys_session_ends_at_this_site_and_nobodys_at_another() {
    ends_all_of_the_site(cloakroom::open("memory:").await.unwrap(), "memory").await;
    let map = || MapStore::default();
    ends_all_of_the_site(AnyStore::new(Sealed::new(map())), "sealed").await;
    let cached = Cached::with_staleness_max(map(), Duration::from_secs(60));
    ends_all_of_the_site(AnyStore::new(cached), "cached").await;
    for kind in Embedded::ALL {
        let folder = tempfile::tempdir().unwrap();
        ends_all_of_the_site(kind.open(folder.path()).await, &kind.to_string()).await;
    }
}

/// The scan goes by digests: a session that moves from one that is still to be read to one
/// that was read already is in no page.
#[tokio::test]
async fn a_session_that_moves_meanwhile_ends_too_and_a_new_login_stays() {
    let map = Arc::new(MapStore::default());
    let clock = Arc::new(ManualClock::default());
    let site = Site::new(COOKIE).unwrap();
    let record = |subject: &str| {
        let mut record = sample("x");
        record.site = site.clone();
        record.subject = Some(Subject::new(subject).unwrap());
        record
    };
    let mut keys: [_; 3] = std::array::from_fn(|_| key().of_site(&site).digest());
    keys.sort();
    keys.reverse();
    map.create(&keys[0], &record("first")).await.unwrap();
    let begun = record("first").created_at;
    clock.set(begun);
    // While the first is being ended, another one appears where the scan has been, as one
    // that has moved does, and somebody logs in.
    let store = {
        let (map, clock) = (map.clone(), clock.clone());
        let (moved, mut login) = (record("moved"), record("login"));
        login.created_at = begun.saturating_add(Duration::from_millis(1));
        InterceptedStore::from_fn(map.clone(), move |operation, work| {
            let (map, clock) = (map.clone(), clock.clone());
            let (moved, login) = (moved.clone(), login.clone());
            Box::pin(async move {
                if operation.call == Call::Delete && clock.now() == begun {
                    clock.advance(Duration::from_millis(1));
                    map.create(&keys[1], &moved).await?;
                    map.create(&keys[2], &login).await?;
                }
                work.await
            })
        })
    };
    let engine = Engine::builder(store).clock(clock).build().unwrap();
    assert_eq!(engine.end_everybody().await.unwrap(), 2);
    let left = map.standing();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&keys[2]]);
}

#[tokio::test]
async fn where_it_cannot_be_done_the_error_says_what_to_do() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = CookieStore::builder(COOKIE, &ring).build().unwrap();
    let error = Engine::new(store).end_everybody().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(
        error.message().contains("new secret into the key file"),
        "{error}"
    );

    let app = TestApp::default();
    log_in(&app, "ada").await;
    app.store.fail_always(Some(Fault::Refuse));
    let error = app.engine().end_everybody().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    app.store.reset();
    assert_eq!(app.engine().end_everybody().await.unwrap(), 1, "it goes on");
}

/// A scan that finds what a newer version has written: all without a subject.
struct Newer(Arc<MapStore>);

impl Intercept for Newer {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        work
    }

    fn capabilities<'a>(&'a self, offered: Capabilities<'a>) -> Capabilities<'a> {
        offered.with_scan(self)
    }
}

impl Scan for Newer {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let mut page = self.0.scan(from, max).await?;
            for item in &mut page.items {
                if matches!(&item.stored, Ok(Stored::Record(record)) if record.subject.is_none()) {
                    item.stored = Err(ErrorKind::Unsupported.into());
                }
            }
            Ok(page)
        })
    }
}

/// A newer node may open it.
#[tokio::test]
async fn what_a_newer_version_has_written_is_told_after_all_others_have_ended() {
    let map = Arc::new(MapStore::default());
    let store = InterceptedStore::with(map.clone(), Newer(map.clone()));
    let app = TestApp::with(|_| Engine::builder(store));
    app.visit(async |s| s.insert("n", 1).unwrap()).await;
    for name in ["ada", "bob"] {
        log_in(&app, name).await;
    }
    let error = app.engine().end_everybody().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(map.standing().len(), 1);
}
