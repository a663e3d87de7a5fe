//! The provider's keys: when they are fetched, and which one counts.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_oidc::{KEY_SET_BYTES_MAX, Keys};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::site::{FORM, KEY, OTHER_KEY};
use crate::site::{TestSite, claims, header, public, signed_by};

/// What the provider serves; `None` while it is down. And how often it was asked.
type Served = Arc<Mutex<(Option<Value>, usize)>>;

fn site(served: &Served) -> TestSite {
    let served = served.clone();
    let keys = Keys::fetched(move || {
        let mut served = served.lock().unwrap();
        served.1 += 1;
        let text = served.0.as_ref().map(Value::to_string);
        std::future::ready(text.ok_or("the provider is down"))
    });
    TestSite::with(keys, |builder| builder)
}

/// Sends a token that this key has signed under this name; answers the status.
async fn send(site: &TestSite, jti: &str, signing: &str, kid: Option<&str>) -> (u16, String) {
    let mut claims = claims(site, jti);
    claims["sid"] = json!("s1");
    let header = header("kid", json!(kid));
    let answer = site.send(&signed_by(signing, &header, &claims)).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn keys_are_fetched_when_they_are_needed_and_once_a_minute_at_most() {
    let served: Served = Arc::default();
    let site = site(&served);
    let asked = || served.lock().unwrap().1;
    let (status, body) = send(&site, "1", KEY, Some("1")).await;
    assert_eq!((status, asked()), (400, 1), "the provider is down");
    assert!(body.contains("temporarily_unavailable"), "{body}");
    served.lock().unwrap().0 = Some(json!({ "keys": [public(KEY, "1")] }));
    assert_eq!(send(&site, "1", KEY, Some("1")).await.0, 400, "too soon");
    site.clock.advance(Duration::from_secs(61));
    assert_eq!(send(&site, "1", KEY, Some("1")).await.0, 200);
    assert_eq!(send(&site, "2", KEY, Some("1")).await.0, 200);
    assert_eq!(asked(), 2, "known");

    // Anybody may send what names a key that there is not.
    for number in 0..50 {
        let jti = format!("unknown-{number}");
        assert_eq!(send(&site, &jti, OTHER_KEY, Some("2")).await.0, 400);
    }
    assert_eq!(asked(), 2, "within the minute");
    // The provider takes a new key into use.
    let both = [public(KEY, "1"), public(OTHER_KEY, "2")];
    served.lock().unwrap().0 = Some(json!({ "keys": both }));
    site.clock.advance(Duration::from_secs(61));
    assert_eq!(send(&site, "3", OTHER_KEY, Some("2")).await.0, 200);
    assert_eq!(asked(), 3);

    // It is down for a day: a known key stays as good as it was.
    served.lock().unwrap().0 = None;
    site.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(send(&site, "4", KEY, Some("1")).await.0, 200);
    assert_eq!(send(&site, "5", KEY, Some("1")).await.0, 200);
    assert_eq!(asked(), 4);
    // It is up, and has withdrawn one.
    served.lock().unwrap().0 = Some(json!({ "keys": [public(OTHER_KEY, "2")] }));
    site.clock.advance(Duration::from_secs(61));
    assert_eq!(send(&site, "6", KEY, Some("1")).await.0, 400);
    assert_eq!(send(&site, "7", OTHER_KEY, Some("2")).await.0, 200);
}

/// Anybody may send what begins a fetch, and hang up.
#[tokio::test]
async fn who_hangs_up_over_a_fetch_keeps_nobody_from_the_keys() {
    let (asked, answer) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
    let keys = {
        let (asked, answer) = (asked.clone(), answer.clone());
        Keys::fetched(move || {
            *asked.lock().unwrap() += 1;
            let answer = answer.clone();
            async move {
                answer.notified().await;
                Ok::<_, &str>(json!({ "keys": [public(KEY, "1")] }).to_string())
            }
        })
    };
    let site = TestSite::with(keys, |builder| builder);
    let mut unsigned = claims(&site, "1");
    unsigned["sid"] = json!("s1");
    let unsigned = signed_by(OTHER_KEY, &header("kid", json!("unknown")), &unsigned);
    let form = format!("logout_token={unsigned}");
    for _ in 0..3 {
        let hung_up = pin!(site.logout.receive(Some(FORM), form.as_bytes()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(hung_up.poll(&mut context).is_pending());
    }
    let waits = send(&site, "2", KEY, Some("1"));
    let answers = async {
        tokio::task::yield_now().await;
        answer.notify_one();
    };
    let (first, ()) = tokio::join!(waits, answers);
    assert_eq!(
        first.0, 200,
        "it waits for the fetch that was begun: {}",
        first.1
    );
    assert_eq!(send(&site, "3", KEY, Some("1")).await.0, 200);
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn one_key_counts_and_no_other() {
    let with = |name: &str, value: Value| {
        let mut key = public(KEY, "1");
        key[name] = value;
        key
    };
    for (set, kid, status) in [
        (json!([public(KEY, "1")]), Some("1"), 200),
        (json!([public(KEY, "1")]), None, 200),
        (json!([public(KEY, "1"), public(OTHER_KEY, "2")]), None, 400),
        (
            json!([public(KEY, "1"), public(OTHER_KEY, "1")]),
            Some("1"),
            400,
        ),
        (json!([with("use", json!("enc"))]), Some("1"), 400),
        (json!([with("use", json!("sig"))]), Some("1"), 200),
        (json!([with("alg", json!("ES384"))]), Some("1"), 400),
        // A key of a kind that is not known takes no other with it.
        (
            json!([{ "kty": "AKP", "alg": "ML-DSA-44", "kid": "0", "pub": "AA" }, 7, public(KEY, "1")]),
            Some("1"),
            200,
        ),
        (
            json!([{ "kty": "oct", "kid": "1", "k": "AA" }]),
            Some("1"),
            400,
        ),
        (json!([]), Some("1"), 400),
    ] {
        let text = json!({ "keys": set }).to_string();
        let site = TestSite::with(Keys::given(&text).unwrap(), |builder| builder);
        assert_eq!(send(&site, "1", KEY, kid).await.0, status, "{text}");
    }
}

#[test]
fn what_is_no_key_set_is_refused_when_it_is_given() {
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(KEY_SET_BYTES_MAX));
    for text in ["", "[]", "{}", r#"{"keys":1}"#, &long] {
        let error = Keys::given(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
}
