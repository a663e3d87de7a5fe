//! What a visitor is told of the end of their session, over any store: one walk, and what
//! became known in each of its scenes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::engine::SubjectSessions;
use cloakroom::engine::TokenStore as _;
use cloakroom::session::{Ended, Session};
use cloakroom::store::{EndReason, TOMBSTONE_AGE_MAX};
use cloakroom::{AnyStore, Clock as _, CookiePolicy, Engine, Expiry, Label, Subject, SystemClock};
use cloakroom_testkit::ManualClock;

use crate::in_process::header;

/// How long a session of the walk may be unused.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long it lives at most.
const ABSOLUTE: Duration = Duration::from_secs(2 * 60 * 60);

/// A scene, and the reason that the visitor was told in it.
pub type Told = BTreeMap<&'static str, Option<EndReason>>;

/// What a store knows that sweeps, and keeps tombstones.
#[must_use]
pub fn all_known() -> Told {
    use EndReason::*;
    BTreeMap::from([
        ("logged out", Some(LoggedOut)),
        ("logged out on another device", Some(LoggedOutElsewhere)),
        ("ended by an administrator", Some(EndedByAdministrator)),
        ("all ended after a password reset", Some(AllEnded)),
        ("over the limit of sessions", Some(SessionLimit)),
        ("rotated by a login", Some(Rotated)),
        ("rotated by a login, and swept", Some(Rotated)),
        ("idle", Some(Idle)),
        ("idle, and swept", Some(Idle)),
        ("absolute", Some(Absolute)),
        ("absolute, and swept", Some(Absolute)),
        ("a day later", Some(Unknown)),
        ("a day later, and swept", Some(Unknown)),
    ])
}

/// A site over the store of the walk, whose clock is moved by hand. It begins at the system's
/// time, since some stores have a clock of their own.
struct Site {
    engine: Engine,
    store: AnyStore,
    clock: Arc<ManualClock>,
}

fn subject(name: &str) -> Subject {
    Subject::new(name).expect("short")
}

fn label(text: &str) -> Label {
    Label::new(text).expect("short")
}

impl Site {
    fn over(store: &AnyStore) -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let engine = Engine::builder(store.clone())
            .cookie(CookiePolicy::default())
            .clock(clock.clone())
            .expiry(Expiry::new(IDLE, Some(ABSOLUTE)).expect("lifetimes that go together"))
            .build();
        Self {
            engine: engine.expect("choices that go together"),
            store: store.clone(),
            clock,
        }
    }

    /// One request; answers the cookie that the visitor has after it.
    async fn visit(
        &self,
        cookie: Option<&str>,
        handle: impl AsyncFnOnce(Session, SubjectSessions),
    ) -> Option<String> {
        let exchange = self.engine.exchange();
        let headers = cookie.into_iter().map(str::as_bytes);
        let session = exchange.open(headers).await.expect("the store answers");
        let sessions = SubjectSessions::new(exchange.clone(), session.clone());
        handle(session, sessions).await;
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none(), "{closing:?}");
        match header(&closing, "set-cookie") {
            Some(set) if set.contains("Max-Age=0") => None,
            Some(set) => set.split(';').next().map(str::to_owned),
            None => cookie.map(str::to_owned),
        }
    }

    async fn login(&self, user: &str, device: &str) -> String {
        let cookie = self.visit(None, async |session, _| {
            session.set_subject(subject(user)).expect("a change");
            session.set_label(label(device)).expect("a change");
        });
        cookie.await.expect("a login sets a cookie")
    }

    /// What the visitor is told who comes with this cookie.
    async fn told(&self, cookie: &str) -> Option<Ended> {
        let mut told = None;
        let after = self.visit(Some(cookie), async |session, _| {
            assert!(session.subject().is_none(), "it has ended");
            told = session.ended_because();
        });
        after.await;
        told
    }

    async fn sweep(&self) {
        if let Some(sweep) = self.store.token_capabilities().sweep {
            let now = self.clock.now();
            while sweep.sweep(now, 100).await.expect("the store answers").more {}
        }
    }
}

/// Walks over a store that keeps the lists of a user's sessions.
///
/// # Panics
/// Where somebody is told a note or an instant that is not theirs.
pub async fn told_by(store: &AnyStore) -> Told {
    let mut told = Told::new();
    let site = Site::over(store);
    let mut note = |scene, ended: Option<Ended>| {
        told.insert(scene, ended.map(|ended| ended.because));
    };

    let cookie = site.login("ada", "laptop").await;
    let left = site.visit(Some(&cookie), async |session, _| {
        session.flush().expect("a change")
    });
    assert_eq!(left.await, None);
    let ended = site.told(&cookie).await;
    if let Some(at) = ended.as_ref().and_then(|ended| ended.at) {
        assert_eq!(at, site.clock.now());
    }
    note("logged out", ended);

    let laptop = site.login("bob", "laptop").await;
    let phone = site.login("bob", "phone").await;
    let ending = site.visit(Some(&phone), async |_, sessions| {
        sessions.end_others().await.expect("the store answers");
    });
    ending.await;
    let ended = site.told(&laptop).await;
    if let Some(told) = ended.as_ref().filter(|ended| ended.at.is_some()) {
        assert_eq!(told.note, Some(label("phone")), "the device that ended it");
    }
    note("logged out on another device", ended);

    let cookie = site.login("cyd", "laptop").await;
    let cyd = subject("cyd");
    let listed = site.engine.sessions_of(&cyd).await;
    let id = listed.expect("the store answers")[0].id;
    let noted = site
        .engine
        .end_session_with_note(&cyd, &id, label("stolen laptop"));
    assert!(noted.await.expect("the store answers"));
    let ended = site.told(&cookie).await;
    if let Some(told) = ended.as_ref().filter(|ended| ended.at.is_some()) {
        assert_eq!(told.note, Some(label("stolen laptop")));
    }
    note("ended by an administrator", ended);

    let cookie = site.login("dan", "laptop").await;
    let all = site.engine.end_sessions_of(&subject("dan")).await;
    assert_eq!(all.expect("the store answers"), 1);
    note("all ended after a password reset", site.told(&cookie).await);

    let limited = Engine::builder(store.clone())
        .cookie(CookiePolicy::default())
        .clock(site.clock.clone())
        .sessions_per_subject_max(1)
        .build();
    let limited = Site {
        engine: limited.expect("choices that go together"),
        store: store.clone(),
        clock: site.clock.clone(),
    };
    let first = limited.login("eve", "laptop").await;
    site.clock.advance(Duration::from_secs(1));
    limited.login("eve", "phone").await;
    note("over the limit of sessions", limited.told(&first).await);

    let before = site.visit(None, async |session, _| {
        session.insert("cart", 1).expect("a change");
    });
    let before = before.await.expect("a change sets a cookie");
    let login = site.visit(Some(&before), async |session, _| {
        session.set_subject(subject("fay")).expect("a change");
    });
    login.await;
    note("rotated by a login", site.told(&before).await);

    let swept = site.login("gil", "laptop").await;
    let idle = site.login("gil", "phone").await;
    site.clock.advance(IDLE);
    note("idle", site.told(&idle).await);
    site.sweep().await;
    note("idle, and swept", site.told(&swept).await);
    note("rotated by a login, and swept", site.told(&before).await);

    let mut used = site.login("hal", "laptop").await;
    for _ in 0..4 {
        site.clock.advance(IDLE * 4 / 5);
        let use_it = site.visit(Some(&used), async |session, _| {
            session.insert("n", 1).expect("a change");
        });
        used = use_it.await.expect("it lives");
    }
    site.clock.advance(IDLE * 4 / 5);
    note("absolute", site.told(&used).await);
    site.sweep().await;
    note("absolute, and swept", site.told(&used).await);

    site.clock.advance(TOMBSTONE_AGE_MAX);
    note("a day later", site.told(&used).await);
    site.sweep().await;
    note("a day later, and swept", site.told(&used).await);
    told
}
