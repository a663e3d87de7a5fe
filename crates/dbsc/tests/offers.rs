//! What becomes of an offer to a device: how long it is open, what begins another one, and what
//! becomes of it where the store fails or other requests are faster.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{Browser, COOKIE, Device, Response, Site};
use cloakroom_core::Aal;
use cloakroom_core::session::Session;
use cloakroom_core::store::EndReason;
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

/// A page that changes nothing.
async fn read(browser: &mut Browser<'_>) -> Response {
    browser.page(async |session| drop(session.subject())).await
}

/// Who steals the cookie of a browser that cannot be bound binds nothing a week later.
#[tokio::test]
async fn an_offer_is_open_no_longer_than_a_bound_cookie_lives() {
    for dbsc in [Dbsc::observe(), Dbsc::prefer()] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        let first = browser.log_in("ada").await.challenge().unwrap();
        site.wait(329);
        let again = read(&mut browser).await.challenge().unwrap();
        site.wait(1);
        let mut thief = browser.copied();
        for offer in [first, again] {
            assert_eq!(thief.register(&offer).await.status, 400);
        }
        for who in [&mut thief, &mut browser] {
            let page = read(who).await;
            assert_eq!((page.challenge(), page.proof), (None, DeviceProof::Unbound));
            assert_eq!(page.calls.len(), 1, "it is not written either");
        }
        assert_eq!(browser.who().await.as_deref(), Some("ada"), "unbound");

        // The next login begins another one, and so does a step-up.
        let offered = browser.log_in("ada").await;
        assert_eq!(
            browser.register(&offered.challenge().unwrap()).await.status,
            200
        );
        assert_eq!(read(&mut browser).await.proof, DeviceProof::Proven);
        let mut browser = Browser::new(&site);
        browser.log_in("ada").await;
        site.wait(331);
        let offered = browser
            .page(async |session| session.reauthenticated(Aal::Two).unwrap())
            .await;
        assert_eq!(
            browser.register(&offered.challenge().unwrap()).await.status,
            200
        );
    }
}

/// The time in which a device must answer begins with the offer, not with the login.
#[tokio::test]
async fn who_was_logged_in_before_has_the_time_of_an_offer_too() {
    let site = Site::new(Dbsc::require());
    let mut browser = site.logged_in_before("ada").await;
    let mut other = site.logged_in_before("bob").await;
    site.wait(24 * 3_600);
    let offer = read(&mut browser).await.challenge().unwrap();
    read(&mut other).await;
    site.wait(329);
    browser.drop_bound_cookie();
    other.drop_bound_cookie();
    assert_eq!(browser.who().await.as_deref(), Some("ada"));
    assert_eq!(browser.register(&offer).await.status, 200);
    site.wait(1);
    let mut why = None;
    other
        .page(async |session| why = session.ended_because())
        .await;
    assert_eq!(
        why.map(|ended| ended.because),
        Some(EndReason::BindingFailed)
    );
    assert_eq!(browser.who().await.as_deref(), Some("ada"));
}

/// A browser that has lost its key is not locked out of what needs a device, and a key that
/// somebody else has registered does not outlive a login.
#[tokio::test]
async fn a_login_that_does_not_prove_the_device_is_offered_to_another_one() {
    type Change = fn(&Session);
    let again: Change = |session| {
        let subject = session.subject().unwrap();
        session.set_subject(subject).unwrap();
    };
    let step_up: Change = |session| session.reauthenticated(Aal::Two).unwrap();
    for change in [again, step_up] {
        let site = Site::new(Dbsc::observe());
        let mut browser = Browser::new(&site);
        browser.bind("ada").await;
        let proven = browser.page(async |session| change(session)).await;
        assert_eq!(
            (proven.challenge(), proven.proof),
            (None, DeviceProof::Proven)
        );
        let challenge = browser.challenge().await;
        assert_eq!(browser.refresh(&challenge).await.status, 200, "it stays");

        let (former, former_id) = (browser.device, browser.id.clone());
        browser.device = Device::new();
        browser.jar.remove(browser::BOUND);
        assert_eq!(read(&mut browser).await.challenge(), None);
        let offered = browser.page(async |session| change(session)).await;
        assert_eq!(
            browser.register(&offered.challenge().unwrap()).await.status,
            200
        );
        assert_eq!(read(&mut browser).await.proof, DeviceProof::Proven);

        // The device of before is told that it is over, and proves nothing.
        let mut before = browser.copied();
        (before.device, before.id) = (former, former_id);
        let told = before.send_refresh(None).await;
        assert!(told.body.contains("\"continue\":false"));
    }
}

/// What is offered with a step-up makes no other change of it.
#[tokio::test]
async fn a_step_up_that_is_sent_twice_fails_nowhere() {
    let site = Site::new(Dbsc::observe());
    let mut browser = site.logged_in_before("ada").await;
    let cookies = browser.cookies();
    let mut exchanges = Vec::new();
    for _ in 0..2 {
        let exchange = site.engine.exchange();
        let session = exchange
            .open([cookies.as_bytes()].into_iter())
            .await
            .unwrap();
        session.reauthenticated(Aal::Two).unwrap();
        exchanges.push(exchange);
        site.wait(1);
    }
    for exchange in exchanges {
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none(), "{:?}", closing.failure);
        browser.keep(&browser::texts(closing.token_headers()));
    }
    assert_eq!(browser.who().await.as_deref(), Some("ada"));
}

/// The key is written, and the browser does not know of it: it takes the next login.
#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_made_up_for_by_the_next_login() {
    let site = Site::new(Dbsc::observe());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    let mut lost = browser.copied();
    std::mem::swap(&mut lost.device, &mut browser.device);
    assert_eq!(lost.register(&offer).await.status, 200);
    site.wait(331);
    browser.drop_bound_cookie();
    assert_eq!(read(&mut browser).await.proof, DeviceProof::Unproven);
    let offered = browser.log_in("ada").await.challenge().unwrap();
    assert_eq!(browser.register(&offered).await.status, 200);
    assert_eq!(read(&mut browser).await.proof, DeviceProof::Proven);
}
