//! What becomes of a page that offers its session to a device, where the store fails.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{Browser, Response, Site};
use cloakroom_core::session::Session;
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::Fault;

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
        assert!(browser.jar.contains_key(browser::COOKIE));
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
