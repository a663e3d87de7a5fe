//! The endpoint speaks of the session that the browser names, and says that one is over only
//! where the store says so: a browser drops its key for it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use std::time::Duration;

use browser::{Browser, COOKIE, Site, Store};
use cloakroom_cached::Cached;
use cloakroom_core::session::Session;
use cloakroom_core::store::{
    Capabilities, Ending, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, Timestamp};
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::Call;
use cloakroom_web::{DeviceProof, DeviceRequest, Engine, Exchange};

const STALE: Duration = Duration::from_secs(3_600);

fn is_over(body: &str) -> bool {
    body.contains("\"continue\":false")
}

async fn read(browser: &mut Browser<'_>) -> DeviceProof {
    let page = browser.page(async |session: &Session| drop(session.subject()));
    page.await.proof
}

/// A server whose cache is from before the registration at another one.
#[tokio::test]
async fn a_stale_cache_ends_no_binding() {
    let site = Site::new(Dbsc::prefer());
    let row = Cached::builder(site.faults.clone(), STALE).clock(site.clock.clone());
    let row = Cached::builder(row.build(), STALE).clock(site.clock.clone());
    let engine = Engine::builder(row.build()).clock(site.clock.clone());
    let cached = site.server(engine.device_bound(Dbsc::prefer()).build().unwrap());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    browser.site = &cached;
    read(&mut browser).await;
    assert!(browser.who().await.is_some());
    browser.site = &site;
    assert_eq!(browser.register(&offer).await.status, 200);

    browser.site = &cached;
    let refused = browser.send_refresh(None).await;
    assert_eq!((refused.status, refused.calls), (403, vec![Call::Load]));
    let challenge = browser.challenge().await;
    let refreshed = browser.refresh(&challenge).await;
    assert_eq!(
        (refreshed.status, refreshed.calls.len()),
        (200, 0),
        "cached again"
    );
    assert_eq!(read(&mut browser).await, DeviceProof::Proven);

    // An offer that this server has not seen is taken all the same.
    let mut browser = site.logged_in_before("bob").await;
    browser.site = &cached;
    let session = cached.engine.exchange();
    let cookies = browser.cookies();
    let session = session
        .open([cookies.as_bytes()].into_iter())
        .await
        .unwrap();
    assert!(session.subject().is_some());
    browser.site = &site;
    let offered = browser.page(async |session| drop(session.subject())).await;
    browser.site = &cached;
    assert_eq!(
        browser.register(&offered.challenge().unwrap()).await.status,
        200
    );
}

/// A store that may answer with what was true before, and says no more of it.
struct Lagging(Store);

impl SessionStore for Lagging {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.0.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.0.update(digest, record).await
    }

    async fn touch(&self, digest: &KeyDigest, at: Revision, touch: Touch) -> Result<(), Error> {
        self.0.touch(digest, at, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        self.0.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        self.0.end(digest, ending).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("lagging")
            .with_staleness_max(STALE)
    }
}

#[tokio::test]
async fn what_may_be_stale_and_cannot_be_asked_again_is_tried_again() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let engine = Engine::builder(Lagging(site.store.clone())).clock(site.clock.clone());
    let lagging = site.server(engine.device_bound(Dbsc::prefer()).build().unwrap());
    browser.site = &lagging;
    assert_eq!(browser.send_refresh(None).await.status, 403);
    browser.jar.clear();
    assert_eq!(browser.send_refresh(None).await.status, 503);
}

fn of_id(id: &str) -> DeviceRequest<'_> {
    DeviceRequest {
        session_id: Some(id.as_bytes()),
        ..DeviceRequest::default()
    }
}

/// Ada's browser, with the cookies of two bound sessions: hers first.
async fn of_two_sessions(site: &Site) -> (Browser<'_>, Browser<'_>) {
    let mut ada = Browser::new(site);
    ada.bind("ada").await;
    let mut bob = Browser::new(site);
    bob.bind("bob").await;
    bob.before = ada.cookies().split("; ").map(str::to_owned).collect();
    (ada, bob)
}

#[tokio::test]
async fn of_several_sessions_the_one_that_the_browser_names_is_refreshed() {
    let site = Site::new(Dbsc::prefer());
    let (ada, mut bob) = of_two_sessions(&site).await;
    assert_eq!(bob.who().await.as_deref(), Some("ada"));
    for own in [bob.id.clone(), ada.id.clone()] {
        let refused = bob.ask(of_id(&own)).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(
            refused
                .header("secure-session-challenge")
                .unwrap()
                .contains(&own)
        );
    }
    let challenge = bob.challenge().await;
    assert_eq!(bob.refresh(&challenge).await.status, 200);
    let strange = bob.ask(of_id("AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert!(is_over(&strange.body), "all of them were looked at");
    assert!(strange.calls.iter().all(|call| *call == Call::Load));

    // Another key ends the one that it was used for.
    let mut thief = bob.copied();
    thief.before = bob.before.clone();
    let challenge = thief.challenge().await;
    assert_eq!(thief.refresh(&challenge).await.status, 400);
    assert!(!thief.jar.contains_key(COOKIE));
    bob.before.clear();
    assert_eq!(bob.who().await, None);
    let mut ada = ada;
    assert_eq!(ada.who().await.as_deref(), Some("ada"));
}

#[tokio::test]
async fn of_several_sessions_the_one_that_was_offered_is_registered() {
    let site = Site::new(Dbsc::prefer());
    let mut ada = Browser::new(&site);
    ada.bind("ada").await;
    let mut bob = Browser::new(&site);
    let offer = bob.log_in("bob").await.challenge().unwrap();
    bob.before = vec![format!("{COOKIE}={}", ada.jar[COOKIE])];
    assert_eq!(bob.register(&offer).await.status, 200);
    bob.before.clear();
    assert_eq!(read(&mut bob).await, DeviceProof::Proven);
    assert_eq!(read(&mut ada).await, DeviceProof::Proven);
}

/// It opens what it finds: a session that is refused, and then another one.
#[tokio::test]
async fn a_middleware_that_has_opened_a_session_first_changes_nothing() {
    let site = Site::new(Dbsc::prefer());
    let (mut ada, mut bob) = of_two_sessions(&site).await;
    bob.before.truncate(1);
    assert!(bob.before[0].starts_with("__Host-session="));
    assert_eq!(
        bob.who().await.as_deref(),
        Some("bob"),
        "hers is not proven"
    );
    let cookies = bob.cookies();
    let opens = async |exchange: &Exchange| {
        let session = exchange.open([cookies.as_bytes()].into_iter());
        assert!(session.await.unwrap().subject().is_some());
    };
    for own in [bob.id.clone(), ada.id.clone()] {
        let refused = bob.ask_after(of_id(&own), opens).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(
            refused
                .header("secure-session-challenge")
                .unwrap()
                .contains(&own)
        );
    }

    // And one that is alone, and refused.
    ada.drop_bound_cookie();
    let (id, cookies) = (ada.id.clone(), ada.cookies());
    let opens = async |exchange: &Exchange| {
        let session = exchange.open([cookies.as_bytes()].into_iter());
        assert!(session.await.unwrap().subject().is_none());
    };
    assert_eq!(ada.ask_after(of_id(&id), opens).await.status, 403);

    // A registration behind it, of a session that was not opened.
    let mut eve = Browser::new(&site);
    let offer = eve.log_in("eve").await.challenge().unwrap();
    eve.before = vec![bob.cookies()];
    let cookies = eve.cookies();
    let opens = async |exchange: &Exchange| {
        let session = exchange.open([cookies.as_bytes()].into_iter());
        let session = session.await.unwrap();
        assert_eq!(session.subject().unwrap().as_str(), "bob");
        session.insert("n", 1).unwrap();
    };
    let proof = eve.device.registers(&offer);
    let request = DeviceRequest {
        response: Some(proof.as_bytes()),
        ..DeviceRequest::default()
    };
    let registered = eve.ask_after(request, opens).await;
    assert_eq!(registered.status, 200, "{}", registered.body);
    eve.before.clear();
    assert_eq!(read(&mut eve).await, DeviceProof::Proven);
    let mut n = None;
    bob.page(async |session| n = session.get::<u32>("n").unwrap())
        .await;
    assert_eq!(n, Some(1));
}
