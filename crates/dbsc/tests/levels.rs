//! What becomes of requests at each level, through logins, rotations and races.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use std::pin::pin;
use std::task::Poll;

use browser::{Browser, COOKIE, Site};
use cloakroom_core::ErrorKind;
use cloakroom_core::engine::Token;
use cloakroom_core::store::EndReason;
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::{Call, MapStore};
use cloakroom_web::{BearerPolicy, CookiePolicy, DeviceHints, DeviceProof, Engine};

const SKIPPED: &[u8] = b"server_error;session_identifier=\"x\"";

#[tokio::test]
async fn what_was_copied_is_refused_once_the_bound_cookie_has_aged() {
    for (dbsc, is_refused) in [
        (Dbsc::observe(), false),
        (Dbsc::prefer(), true),
        (Dbsc::require(), true),
    ] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        browser.bind("ada").await;
        let mut thief = browser.copied();
        assert_eq!(
            thief.who().await.as_deref(),
            Some("ada"),
            "for some minutes"
        );
        let challenge = browser.challenge().await;
        site.wait(331);
        assert_eq!(browser.refresh(&challenge).await.status, 200);
        assert_eq!(thief.who().await.is_none(), is_refused);
        let jar = thief.jar.clone();
        thief.drop_bound_cookie();
        assert_eq!(thief.who().await.is_none(), is_refused);
        let mut why = None;
        let answer = thief
            .page(async |session| why = session.ended_because())
            .await;
        assert_eq!(answer.proof, DeviceProof::Unproven);
        let why = why.map(|ended| ended.because);
        assert_eq!(why, is_refused.then_some(EndReason::BindingFailed));
        assert_eq!(thief.jar[COOKIE], jar[COOKIE], "no cookie is taken away");
        // Nor can it be moved out of the device's reach.
        let mut failed = false;
        let written = thief
            .page(async |session| failed = session.insert("n", 1).is_err())
            .await;
        assert_eq!(written.status, if is_refused { 409 } else { 200 });
        assert!(!failed);
        assert_eq!(browser.who().await.as_deref(), Some("ada"));
    }
}

#[tokio::test]
async fn an_outage_logs_nobody_out_where_the_browser_is_believed() {
    for (dbsc, goes_on) in [
        (Dbsc::observe(), true),
        (Dbsc::prefer(), true),
        (Dbsc::require(), false),
    ] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        browser.bind("ada").await;
        site.wait(600);
        browser.drop_bound_cookie();
        let mut who = None;
        let hints = DeviceHints {
            skipped: Some(SKIPPED),
            ..DeviceHints::default()
        };
        let answer = browser.page_hinting(hints, async |session| who = session.subject());
        let proof = answer.await.proof;
        assert_eq!(who.is_some(), goes_on);
        assert_eq!(proof, DeviceProof::Unproven, "no sensitive page goes by it");
        let challenge = browser.challenge().await;
        assert_eq!(browser.refresh(&challenge).await.status, 200);
        assert_eq!(browser.who().await.as_deref(), Some("ada"));
    }
}

#[tokio::test]
async fn a_login_that_no_device_answers_for_ends_where_one_is_required() {
    for (dbsc, ends) in [
        (Dbsc::observe(), false),
        (Dbsc::prefer(), false),
        (Dbsc::require(), true),
    ] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        browser.log_in("ada").await;
        assert_eq!(browser.who().await.as_deref(), Some("ada"));
        site.wait(331);
        browser.drop_bound_cookie();
        let mut why = None;
        let answer = browser
            .page(async |session| why = session.ended_because())
            .await;
        assert_eq!(why.is_some(), ends);
        assert_eq!(answer.calls.contains(&Call::Delete), ends);
        assert_eq!(browser.jar.contains_key(COOKIE), !ends);
        assert_eq!(
            answer.proof,
            if ends {
                DeviceProof::Unproven
            } else {
                DeviceProof::Unbound
            }
        );
    }
}

/// A job that opens a session by its token shows no device, and none is asked for.
#[tokio::test]
async fn a_token_without_headers_needs_no_device() {
    let site = Site::new(Dbsc::require());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    site.wait(3_600);
    let token = browser.jar[COOKIE].clone();
    let session = site
        .engine
        .exchange()
        .open_token(Token::new(token))
        .await
        .unwrap();
    assert!(session.subject().is_some());
}

#[tokio::test]
async fn a_rotation_keeps_the_device_and_another_subject_drops_it() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let before = browser.jar[COOKIE].clone();
    browser
        .page(async |session| session.cycle_key().unwrap())
        .await;
    assert_ne!(browser.jar[COOKIE], before);
    let challenge = browser.challenge().await;
    assert_eq!(browser.refresh(&challenge).await.status, 200);
    assert_eq!(
        browser.log_in("ada").await.challenge(),
        None,
        "bound already"
    );
    assert_eq!(browser.refresh(&challenge).await.status, 200);
    assert_eq!(browser.who().await.as_deref(), Some("ada"));

    let offered = browser.log_in("bob").await;
    let offer = offered.challenge().unwrap();
    assert!(
        browser
            .send_refresh(None)
            .await
            .body
            .contains("\"continue\":false")
    );
    assert_eq!(browser.register(&offer).await.status, 200);
    assert_eq!(browser.who().await.as_deref(), Some("bob"));
}

/// A refresh that arrives under the key that a login has just left.
#[tokio::test]
async fn a_refresh_that_a_rotation_overtakes_is_no_end() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let before = browser.jar.clone();
    browser
        .page(async |session| session.cycle_key().unwrap())
        .await;
    let after = std::mem::replace(&mut browser.jar, before);
    assert_eq!(browser.send_refresh(None).await.status, 503);
    browser.jar = after;
    assert_eq!(browser.send_refresh(None).await.status, 403);
}

#[tokio::test]
async fn a_refused_visitor_who_logs_in_has_a_session_of_their_own() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    // The browser has lost its key.
    browser.drop_bound_cookie();
    assert_eq!(browser.who().await, None);
    let offered = browser.log_in("ada").await;
    assert_eq!(offered.calls, [Call::Load, Call::Create]);
    browser.device = browser::Device::new();
    assert_eq!(
        browser.register(&offered.challenge().unwrap()).await.status,
        200
    );
    assert_eq!(browser.who().await.as_deref(), Some("ada"));
    // And a logout of who is refused ends the session all the same.
    let mut thief = browser.copied();
    thief.drop_bound_cookie();
    thief.page(async |session| session.flush().unwrap()).await;
    assert_eq!(browser.who().await, None);
}

/// Shows that neither the value nor the binding is lost, whichever request writes first: each
/// of the two futures goes one step at a time, in an order of chance.
#[tokio::test(start_paused = true)]
async fn the_page_after_login_and_the_registration_lose_nothing_of_each_other() {
    let mut conflicts = 0;
    for seed in 0..1_000_u64 {
        let site = Site::new(Dbsc::prefer());
        let mut browser = Browser::new(&site);
        let offer = browser.log_in("ada").await.challenge().unwrap();
        let cookies = browser.cookies();
        let proof = browser.device.registers(&offer);
        site.store.take();
        // Each step of the page is one that another request may come between.
        let page = async {
            let exchange = site.engine.exchange();
            let session = exchange
                .open([cookies.as_bytes()].into_iter())
                .await
                .unwrap();
            tokio::task::yield_now().await;
            session.insert("theme", "dark").unwrap();
            tokio::task::yield_now().await;
            exchange.close(200).await
        };
        let registration = async {
            let exchange = site.engine.exchange();
            let request = cloakroom_web::DeviceRequest {
                response: Some(proof.as_bytes()),
                ..Default::default()
            };
            let cookies = [cookies.as_bytes()].into_iter();
            let session = exchange.open(cookies.clone()).await.unwrap();
            assert!(session.exists());
            tokio::task::yield_now().await;
            let answer = exchange.answer_device(cookies, request).await.unwrap();
            tokio::task::yield_now().await;
            exchange.close(answer.status).await;
            answer.status
        };
        let (mut page, mut registration) = (pin!(page), pin!(registration));
        let (mut closing, mut status) = (None, None);
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::future::poll_fn(|cx| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let is_page = (chance & 1 == 0 || status.is_some()) && closing.is_none();
            if is_page {
                if let Poll::Ready(done) = page.as_mut().poll(cx) {
                    closing = Some(done);
                }
            } else if status.is_none()
                && let Poll::Ready(done) = registration.as_mut().poll(cx)
            {
                status = Some(done);
            }
            cx.waker().wake_by_ref();
            match (&closing, status) {
                (Some(_), Some(_)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        assert!(closing.unwrap().failure.is_none());
        assert_eq!(status, Some(200), "{seed}");
        let updates = site
            .store
            .take()
            .into_iter()
            .filter(|call| *call == Call::Update)
            .count();
        conflicts += usize::from(updates > 2);
        let mut stored = None;
        let key = browser.device.public_key();
        browser
            .page(async |session| {
                let login = session.login().unwrap();
                let bound = login
                    .binding
                    .as_ref()
                    .and_then(|binding| binding.key().copied());
                stored = Some((session.get::<String>("theme").unwrap(), bound == Some(key)));
            })
            .await;
        assert_eq!(stored, Some((Some("dark".to_owned()), true)), "{seed}");
    }
    assert!(conflicts > 50, "{conflicts} of 1,000 have met");
}

#[test]
fn what_browsers_could_not_do_is_refused_when_the_engine_is_built() {
    let builder = || Engine::builder(MapStore::default());
    let subdomains = CookiePolicy::builder().prefix(cloakroom_web::Prefix::Secure);
    let shop = CookiePolicy::builder().prefix(cloakroom_web::Prefix::Secure);
    for (what, builder) in [
        (
            "bearer",
            builder()
                .bearer(BearerPolicy::default())
                .device_bound(Dbsc::observe()),
        ),
        (
            "http",
            builder()
                .cookie(CookiePolicy::loopback_http())
                .device_bound(Dbsc::observe()),
        ),
        (
            "subdomains",
            builder()
                .cookie(subdomains.domain("example.com").build().unwrap())
                .device_bound(Dbsc::observe()),
        ),
        (
            "outside the path",
            builder()
                .cookie(shop.path("/shop").build().unwrap())
                .device_bound(Dbsc::observe()),
        ),
        (
            "a path",
            builder().device_bound(Dbsc::observe().path("/\"x")),
        ),
        ("no path", builder().device_bound(Dbsc::observe().path("x"))),
        (
            "no time",
            builder().device_bound(Dbsc::observe().cookie_life(std::time::Duration::ZERO)),
        ),
    ] {
        let error = builder.build().expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{what}");
    }
}
