//! A session is found by the provider session that it is tied to, for as long as it lives.

use std::time::Duration;

use cloakroom_core::session::Session;
use cloakroom_core::store::{SessionStore as _, Stored};
use cloakroom_core::{Aal, Expiry, SessionExpiry, Subject};
use cloakroom_testkit::MapStore;

use crate::site::TestSite;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn with_expiry(idle: Duration, absolute: Option<Duration>) -> TestSite {
    let expiry = Expiry::new(idle, absolute).unwrap();
    TestSite::over(std::sync::Arc::new(MapStore::default()), |builder| {
        builder.expiry(expiry)
    })
}

/// A provider session may outlive those here, and a day knows many short ones.
#[tokio::test]
async fn a_provider_session_leads_to_one_login_after_the_other() {
    let site = with_expiry(MINUTE, Some(MINUTE));
    for _ in 0..6 {
        site.log_in("ada", Some("s1"), "short").await;
        site.clock.advance(MINUTE);
        site.sweep().await;
    }
    site.log_in("ada", Some("s1"), "last").await;
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
    assert!(site.browsers("ada").await.is_empty());
}

#[tokio::test]
async fn what_is_left_of_a_former_login_hides_no_later_one() {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "first").await;
    site.clock.advance(30 * DAY);
    site.sweep().await;
    site.log_in("ada", Some("s1"), "second").await;
    site.clock.advance(2 * DAY);
    site.sweep().await;
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
    assert!(site.browsers("ada").await.is_empty());
}

/// A session is tied for as long as it lives, whatever lengthens it.
#[tokio::test]
async fn a_session_that_is_lengthened_stays_tied() {
    fn step_up(session: &Session) {
        session.reauthenticated(Aal::Two).unwrap();
    }
    fn log_in_again(session: &Session) {
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
    }
    fn remember(session: &Session) {
        let own = Expiry::new(90 * DAY, Some(90 * DAY)).unwrap();
        session.set_expiry(SessionExpiry::Own(own)).unwrap();
    }
    for lengthen in [step_up, log_in_again, remember] {
        let site = with_expiry(30 * DAY, Some(30 * DAY));
        let first = site.log_in("ada", Some("s1"), "phone").await;
        site.clock.advance(20 * DAY);
        let cookie = site.ask(&first, async |session: &Session| lengthen(session));
        let cookie = cookie.await.unwrap_or(first);
        site.clock.advance(20 * DAY);
        site.sweep().await;
        assert_eq!(site.told(&cookie).await, "ada");
        assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
        assert_eq!(site.told(&cookie).await, "logged_out_elsewhere");
    }
}

#[tokio::test]
async fn a_session_that_is_used_for_years_stays_tied() {
    let site = with_expiry(14 * DAY, None);
    let cookie = site.log_in("ada", Some("s1"), "phone").await;
    for _ in 0..150 {
        site.clock.advance(7 * DAY);
        site.sweep().await;
        assert_eq!(site.told(&cookie).await, "ada");
    }
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
    assert_eq!(site.told(&cookie).await, "logged_out_elsewhere");
}

/// Two applications over one engine, with users of their own.
#[tokio::test]
async fn a_provider_session_ends_the_sessions_of_each_subject_that_came_from_it() {
    let site = TestSite::default();
    site.log_in("shop/ada", Some("s1"), "phone").await;
    site.log_in("forum/ada", Some("s1"), "phone").await;
    site.log_in("forum/ada", Some("s2"), "laptop").await;
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 2);
    assert!(site.browsers("shop/ada").await.is_empty());
    assert_eq!(site.browsers("forum/ada").await, ["laptop"]);
}

#[tokio::test]
async fn a_logout_that_comes_before_its_login_is_over_ends_it() {
    let site = TestSite::default();
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 0);
    let cookie = site.log_in("ada", Some("s1"), "phone").await;
    assert!(site.browsers("ada").await.is_empty());
    assert_eq!(site.told(&cookie).await, "logged_out_elsewhere");

    let cookie = site.ask("", async |session: &Session| {
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
        site.logout.tie(session, "s2").unwrap();
        assert_eq!(site.log_out("2", &[("sid", "s2")]).await, 0);
    });
    let cookie = cookie.await.unwrap();
    assert!(site.browsers("ada").await.is_empty());
    assert_eq!(site.told(&cookie).await, "logged_out_elsewhere");

    let other = site.log_in("ada", Some("s3"), "phone").await;
    assert_eq!(site.told(&other).await, "ada");
}

/// What names a user must be found where the user is to be erased.
#[tokio::test]
async fn beside_the_session_nothing_names_its_subject() {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    let scan = site.store.capabilities().scan.unwrap();
    let others = scan.scan(None, 100).await.unwrap().items.into_iter();
    let others = others.filter_map(|item| match item.stored.unwrap() {
        Stored::Record(record) if !site.engine.is_live(&record) => Some(record),
        _ => None,
    });
    let others: Vec<_> = others.collect();
    assert_eq!(others.len(), 1);
    for other in others {
        let texts = [
            other.subject.as_ref().map(Subject::as_str),
            other.label.as_ref().map(|label| label.as_str()),
        ];
        let data = other.data.as_bytes().windows(3).any(|part| part == b"ada");
        assert!(
            !data
                && texts
                    .into_iter()
                    .flatten()
                    .all(|text| !text.contains("ada"))
        );
    }
}
