//! Which sessions end.

use std::sync::Arc;

use cloakroom_core::store::{EndReason, SessionStore};
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_oidc::{BackChannelLogout, Keys};
use cloakroom_testkit::{Fault, FaultyStore, MapStore};
use cloakroom_web::Engine;
use serde_json::{Value, json};

use crate::site::{ISSUER, REVOKED, TestSite, claims, good_header, header, signed};

#[tokio::test]
async fn one_sid_of_three_ends_and_whoever_comes_back_is_told_why() {
    let site = TestSite::default();
    let phone = site.log_in("ada", Some("s1"), "phone").await;
    site.log_in("ada", Some("s2"), "laptop").await;
    site.log_in("bob", Some("s3"), "bobs").await;
    site.log_in("ada", None, "by password").await;
    assert_eq!(site.log_out("1", &[("sub", "ada"), ("sid", "s1")]).await, 1);
    assert_eq!(site.browsers("ada").await, ["by password", "laptop"]);
    assert_eq!(site.browsers("bob").await, ["bobs"]);

    let exchange = site.engine.exchange();
    let session = exchange.open([phone.as_bytes()].into_iter()).await.unwrap();
    assert_eq!(session.subject(), None);
    let ended = session.ended_because().unwrap();
    assert_eq!(ended.because, EndReason::LoggedOutElsewhere);
    assert_eq!(ended.note.unwrap().as_str(), ISSUER);
}

/// One session of the provider may have led to several here: in two tabs, after a logout here.
#[tokio::test]
async fn a_sid_alone_ends_all_that_came_from_it() {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    site.log_in("ada", Some("s1"), "two").await;
    site.log_in("ada", Some("s2"), "three").await;
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 2);
    assert_eq!(site.browsers("ada").await, ["three"]);
    assert_eq!(site.log_out("2", &[("sid", "s1")]).await, 0, "no more");
    assert_eq!(site.log_out("3", &[("sid", "unknown")]).await, 0);
    assert_eq!(
        site.log_out("4", &[("sid", "x".repeat(300).as_str())])
            .await,
        0
    );
}

#[tokio::test]
async fn a_sub_alone_ends_all_of_that_subject() {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    site.log_in("ada", None, "by password").await;
    site.log_in("bob", Some("s2"), "bobs").await;
    assert_eq!(site.log_out("1", &[("sub", "ada")]).await, 2);
    assert!(site.browsers("ada").await.is_empty());
    assert_eq!(site.browsers("bob").await, ["bobs"]);
}

#[tokio::test]
async fn a_session_ends_under_the_key_that_it_has_moved_to() {
    let site = TestSite::default();
    let cookie = site.log_in("ada", Some("s1"), "phone").await;
    let exchange = site.engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    session.reauthenticated(cloakroom_core::Aal::Two).unwrap();
    exchange.close(200).await;
    assert_eq!(site.log_out("1", &[("sid", "s1")]).await, 1);
    assert!(site.browsers("ada").await.is_empty());
}

#[tokio::test]
async fn a_site_that_names_its_users_otherwise_says_who_they_are() {
    let engine = Engine::new(MapStore::default());
    let keys = Keys::given(r#"{"keys":[]}"#).unwrap();
    let refused = BackChannelLogout::new(engine, &"x".repeat(257), "shop", keys).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);

    let site = TestSite::default();
    let set = json!({ "keys": [crate::site::public(crate::site::KEY, "1")] });
    let keys = Keys::given(&set.to_string()).unwrap();
    let users = async |sub: String| match sub.as_str() {
        "a-1815" => Ok(Some(Subject::new("ada").unwrap())),
        "down" => Err("the table of users does not answer"),
        _ => Ok(None),
    };
    let logout = BackChannelLogout::with_subjects(site.engine.clone(), ISSUER, "shop", keys, users);
    let site = TestSite {
        logout: logout.unwrap(),
        ..site
    };
    site.log_in("ada", None, "one").await;
    let mut failing = claims(&site, "1");
    failing["sub"] = json!("down");
    let failing = signed(&good_header(), &failing);
    for _ in 0..2 {
        // It may be sent again: it was not carried out.
        let answer = site.send(&failing).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.body.contains("temporarily_unavailable"),
            "{}",
            answer.body
        );
    }
    assert_eq!(site.log_out("2", &[("sub", "ada")]).await, 0, "of nobody");
    assert_eq!(site.log_out("3", &[("sub", "a-1815")]).await, 1);
}

/// Sends an event of CAEP; answers the status, how many sessions have ended, and the body.
async fn send_event<S: SessionStore>(
    site: &TestSite<S>,
    jti: &str,
    subject: Value,
) -> (u16, usize, String) {
    let mut event = claims(site, jti);
    event["sub_id"] = subject;
    event["events"] = json!({ REVOKED: { "event_timestamp": 1 } });
    event.as_object_mut().unwrap().remove("exp");
    let typ = header("typ", json!("secevent+jwt"));
    let token = signed(&typ, &event);
    let sent = site
        .logout
        .receive(Some("application/secevent+jwt"), token.as_bytes());
    let answer = sent.await;
    (answer.status, answer.ended, answer.body)
}

async fn revoke<S: SessionStore>(site: &TestSite<S>, jti: &str, subject: Value) -> (u16, usize) {
    let (status, ended, _) = send_event(site, jti, subject).await;
    (status, ended)
}

/// A transmitter sends again what was not answered, and gives up what it was told is wrong.
#[tokio::test]
async fn an_event_that_could_not_be_carried_out_may_be_sent_again() {
    let keys = Keys::fetched(async || Err::<String, _>("the provider is down"));
    let without_keys = TestSite::with(keys, |builder| builder);
    let opaque = || json!({ "format": "opaque", "id": "s1" });
    let (status, _, body) = send_event(&without_keys, "1", opaque()).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("keys could not be fetched"), "{body}");

    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let site = TestSite::over(store.clone(), |builder| builder);
    site.log_in("ada", Some("s1"), "one").await;
    store.fail_always(Some(Fault::Refuse));
    let (status, _, body) = send_event(&site, "1", opaque()).await;
    assert_eq!(status, 503, "{body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert!(told.get("err").is_none(), "{body}");
    store.fail_always(None);
    assert_eq!(revoke(&site, "1", opaque()).await, (202, 1));
}

#[tokio::test]
async fn a_session_that_an_event_of_caep_names_ends() {
    let site = TestSite::default();
    for (sid, browser) in [
        ("s1", "one"),
        ("s2", "two"),
        ("s3", "three"),
        ("s4", "four"),
    ] {
        site.log_in("ada", Some(sid), browser).await;
    }
    let opaque = json!({ "format": "opaque", "id": "s1" });
    assert_eq!(revoke(&site, "1", opaque).await, (202, 1));
    assert_eq!(site.browsers("ada").await, ["four", "three", "two"]);
    let user = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "ada" });
    let session = json!({ "format": "opaque", "id": "s2" });
    let both = json!({ "format": "complex", "user": user, "session": session });
    assert_eq!(revoke(&site, "2", both).await, (202, 1));
    assert_eq!(site.browsers("ada").await, ["four", "three"]);

    let elsewhere = json!({ "format": "iss_sub", "iss": "https://e.example", "sub": "ada" });
    assert_eq!(revoke(&site, "3", elsewhere).await, (400, 0));
    let nested = json!({ "format": "complex", "session": both_again() });
    assert_eq!(revoke(&site, "4", nested).await, (400, 0));
    assert_eq!(revoke(&site, "5", json!("s3")).await, (400, 0));
    assert_eq!(site.browsers("ada").await, ["four", "three"]);

    let user = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "ada" });
    assert_eq!(revoke(&site, "6", user).await, (202, 2));
}

fn both_again() -> Value {
    json!({ "format": "complex", "session": { "format": "opaque", "id": "s3" } })
}

/// What is noted of a provider's session is no session: nobody sees it, and nothing opens it.
#[tokio::test]
async fn a_note_of_whose_a_session_is_is_listed_nowhere() {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    assert_eq!(site.browsers("ada").await, ["one"]);
    let scan = site.store.capabilities().scan.unwrap();
    let page = scan.scan(None, 100).await.unwrap();
    assert_eq!(page.items.len(), 2, "the session and the note");
    let live = page.items.iter().filter(|item| match &item.stored {
        Ok(cloakroom_core::store::Stored::Record(record)) => site.engine.is_live(record),
        _ => false,
    });
    assert_eq!(live.count(), 1);
}
