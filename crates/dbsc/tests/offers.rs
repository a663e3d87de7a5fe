//! What becomes of an offer to a device, where the store fails, and where other requests are
//! faster.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{Browser, COOKIE, Response, Site};
use cloakroom_core::session::Session;
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::Fault;
use cloakroom_web::{DeviceProof, DeviceRequest};

/// A page that saves with nothing to save, which writes the offer, and then changes the session
/// while the store fails.
async fn saves_then(
    browser: &mut Browser<'_>,
    fault: Option<Fault>,
    change: impl FnOnce(&Session),
) -> Response {
    let faults = browser.site.faults.clone();
    let page = async |session: &Session| {
        session.save().await.unwrap();
        faults.fail_always(fault);
        change(session);
    };
    let answer = browser.page(page).await;
    browser.site.faults.fail_always(None);
    answer
}

#[tokio::test]
async fn a_write_that_fails_after_an_offer_was_saved_is_a_failure() {
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        let site = Site::new(Dbsc::observe());
        let mut browser = site.logged_in_before("ada").await;
        let written = saves_then(&mut browser, Some(fault), |session| {
            session.insert("n", 1).unwrap();
        });
        assert_eq!(written.await.status, 500, "{fault:?}");
        let mut browser = site.logged_in_before("ada").await;
        let logged_out = saves_then(&mut browser, Some(fault), |session| {
            session.flush().unwrap();
        });
        assert_eq!(logged_out.await.status, 500, "{fault:?}");
        assert!(browser.jar.contains_key(COOKIE));
    }
}

#[tokio::test]
async fn a_change_of_a_session_that_ends_after_its_offer_was_saved_is_a_409() {
    let site = Site::new(Dbsc::observe());
    let mut browser = site.logged_in_before("ada").await;
    let mut other = browser.copied();
    let answer = browser.page(async |session| {
        session.save().await.unwrap();
        other.page(async |session| session.flush().unwrap()).await;
        session.insert("n", 1).unwrap();
    });
    assert_eq!(answer.await.status, 409);
}

/// The write of an offer is nobody's business but the engine's.
#[tokio::test]
async fn where_the_offer_alone_cannot_be_written_nothing_fails() {
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        let site = Site::new(Dbsc::observe());
        let mut browser = site.logged_in_before("ada").await;
        let faults = site.faults.clone();
        let read = browser.page(async |session| {
            faults.fail_always(Some(fault));
            drop(session.subject());
        });
        let read = read.await;
        assert_eq!((read.status, read.challenge()), (200, None));

        site.faults.fail_always(None);
        let mut browser = site.logged_in_before("ada").await;
        let mut saved = Vec::new();
        let written = browser.page(async |session| {
            faults.fail_always(Some(fault));
            saved.push(session.save().await);
            // The session is none the worse for it.
            faults.fail_always(None);
            session.insert("n", 1).unwrap();
            saved.push(session.save().await);
        });
        assert_eq!(written.await.status, 200);
        assert!(saved.iter().all(Result::is_ok), "{fault:?}: {saved:?}");
        let mut n = None;
        let again = browser.page(async |session| n = session.get::<u32>("n").unwrap());
        assert!(again.await.challenge().is_some(), "a later page offers");
        assert_eq!(n, Some(1));
    }
}

/// The session moves to another key while a registration is on its way: its change follows, and
/// the browser must not be told that it came to nothing.
#[tokio::test]
async fn a_registration_that_a_rotation_overtakes_is_registered() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    let cookies = browser.cookies();
    let exchange = site.engine.exchange();
    let session = exchange.open([cookies.as_bytes()].into_iter());
    assert!(session.await.unwrap().exists());
    browser
        .page(async |session| session.cycle_key().unwrap())
        .await;
    let moved = browser.jar[COOKIE].clone();

    let proof = browser.device.registers(&offer);
    let request = DeviceRequest {
        response: Some(proof.as_bytes()),
        ..DeviceRequest::default()
    };
    let answer = exchange.answer_device([cookies.as_bytes()].into_iter(), request);
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, 200);
    let closing = exchange.close(answer.status).await;
    assert!(closing.failure.is_none() && closing.token_headers().is_empty());
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    browser.id = told["session_identifier"].as_str().unwrap().to_owned();
    assert_eq!(browser.jar[COOKIE], moved);
    let challenge = browser.challenge().await;
    assert_eq!(browser.refresh(&challenge).await.status, 200);
    let page = browser.page(async |session| drop(session.subject())).await;
    assert_eq!(page.proof, DeviceProof::Proven);
}

/// And where another device was first at the place that the session has moved to, it did.
#[tokio::test]
async fn a_registration_that_a_rotation_and_another_device_overtake_is_none() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    let late = browser.copied();
    let cookies = late.cookies();
    let exchange = site.engine.exchange();
    let session = exchange.open([cookies.as_bytes()].into_iter());
    assert!(session.await.unwrap().exists());
    browser
        .page(async |session| session.cycle_key().unwrap())
        .await;
    assert_eq!(browser.register(&offer).await.status, 200);
    let proof = late.device.registers(&offer);
    let request = DeviceRequest {
        response: Some(proof.as_bytes()),
        ..DeviceRequest::default()
    };
    let answer = exchange.answer_device([cookies.as_bytes()].into_iter(), request);
    assert_eq!(answer.await.unwrap().status, 400);
    let challenge = browser.challenge().await;
    assert_eq!(browser.refresh(&challenge).await.status, 200);
}
