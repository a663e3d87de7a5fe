//! The protocol as browsers speak it, its traps, and proofs that are none.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{BOUND, Browser, COOKIE, Device, Site};
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::Call;
use cloakroom_web::{DeviceProof, DeviceRequest};

#[tokio::test]
async fn a_login_is_offered_registered_and_refreshed() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offered = browser.log_in("ada").await;
    assert_eq!(offered.calls, [Call::Create], "in the write of the login");
    let registration = offered.header("secure-session-registration").unwrap();
    let challenge = offered.challenge().unwrap();
    assert_eq!(
        registration,
        format!(r#"(ES256);path="/device-session";challenge="{challenge}""#)
    );
    assert_eq!(offered.header("cache-control"), Some("no-store"));

    let registered = browser.register(&challenge).await;
    assert_eq!(registered.status, 200);
    assert_eq!(registered.calls, [Call::Load, Call::Update]);
    assert_eq!(
        registered.header("secure-session-challenge"),
        None,
        "the browser takes a challenge here for an error"
    );
    let told: serde_json::Value = serde_json::from_str(&registered.body).unwrap();
    assert_eq!(told["refresh_url"], "/device-session");
    assert_eq!(told["scope"]["include_site"], false);
    let credential = &told["credentials"][0];
    assert_eq!(credential["name"], BOUND);
    let set = registered
        .headers
        .iter()
        .find(|(_, text)| text.starts_with(BOUND));
    let attributes = credential["attributes"].as_str().unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax");
    assert!(set.unwrap().1.ends_with(attributes), "{set:?}");

    let challenge = browser.challenge().await;
    let refreshed = browser.refresh(&challenge).await;
    assert_eq!(refreshed.status, 200);
    assert_eq!(refreshed.calls, [Call::Load], "one load, no write");
    let next = refreshed.challenge().unwrap();
    let again = browser.refresh(&next).await;
    assert_eq!((again.status, again.calls), (200, vec![Call::Load]));
}

#[tokio::test]
async fn a_request_costs_the_store_what_it_costs_without() {
    let site = Site::new(Dbsc::require());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let read = browser.page(async |session| drop(session.subject())).await;
    assert_eq!(
        (read.calls, read.proof),
        (vec![Call::Load], DeviceProof::Proven)
    );
    let written = browser
        .page(async |session| session.insert("n", 1).unwrap())
        .await;
    assert_eq!(written.calls, [Call::Load, Call::Update]);
    // Late enough that a use would move the deadline.
    site.wait(14 * 24 * 3_600 / 5);
    let challenge = browser.challenge().await;
    assert_eq!(browser.refresh(&challenge).await.calls, [Call::Load]);
}

#[tokio::test]
async fn who_was_logged_in_before_is_offered_once_at_one_write() {
    let site = Site::new(Dbsc::observe());
    let mut browser = site.logged_in_before("ada").await;
    let polled = browser
        .page(async |session| drop(session.peek().subject()))
        .await;
    assert_eq!((polled.challenge(), polled.calls), (None, vec![Call::Load]));
    let offered = browser.page(async |session| drop(session.subject())).await;
    assert_eq!(offered.calls, [Call::Load, Call::Update]);
    assert!(offered.challenge().is_some() && browser.jar.contains_key(BOUND));
    let again = browser.page(async |session| drop(session.subject())).await;
    assert_eq!(again.calls, [Call::Load]);
    let challenge = again.challenge().unwrap();
    assert!(
        !again
            .headers
            .iter()
            .any(|(_, text)| text.starts_with(BOUND))
    );
    assert_eq!(browser.register(&challenge).await.status, 200);
    let bound = browser.page(async |session| drop(session.subject())).await;
    assert_eq!((bound.challenge(), bound.calls), (None, vec![Call::Load]));
}

/// Trap 1: a bare token and a quoted string.
#[tokio::test]
async fn what_the_browser_sends_is_read_bare_and_quoted() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offered = browser.log_in("ada").await.challenge().unwrap();
    let proof = format!("\"{}\"", browser.device.registers(&offered));
    assert_eq!(browser.send_registration(&proof).await.status, 200);
    assert_eq!(
        browser.register(&offered).await.status,
        200,
        "and again, bare"
    );
    let challenge = browser.challenge().await;
    let proof = format!("\"{}\"", browser.device.refreshes(&challenge));
    let quoted = format!("\"{}\"", browser.id);
    let refreshed = browser.ask(DeviceRequest {
        session_id: Some(quoted.as_bytes()),
        response: Some(proof.as_bytes()),
        fetch_site: None,
    });
    assert_eq!(refreshed.await.status, 200);
}

/// Trap 10: what no browser sends is refused before anything is loaded.
#[tokio::test]
async fn the_endpoint_tells_another_site_nothing() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let id = browser.id.clone();
    for (session_id, fetch_site, status) in [
        (None, None, 400),
        (Some(&b""[..]), None, 400),
        (Some(b"not%an%id"), None, 400),
        (Some(&b"x".repeat(65)[..]), None, 400),
        (Some(id.as_bytes()), Some(&b"cross-site"[..]), 403),
        (Some(id.as_bytes()), Some(b"same-site"), 403),
        (Some(id.as_bytes()), Some(b"none"), 403),
    ] {
        let asked = browser.ask(DeviceRequest {
            session_id,
            fetch_site,
            response: None,
        });
        let answer = asked.await;
        assert_eq!((answer.status, answer.calls.len()), (status, 0));
        assert_eq!(answer.challenge(), None);
    }
    let answer = browser.send_refresh(None).await;
    for (name, value) in [
        ("content-security-policy", "frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let cors = |(name, _): &(String, String)| name.starts_with("access-control");
    assert!(!answer.headers.iter().any(cors));
}

/// Traps 5 and 6: each cookie is another one, and the challenge before is accepted too.
#[tokio::test]
async fn two_refreshes_may_race() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let first = browser.challenge().await;
    let cookie = browser.jar[BOUND].clone();
    site.clock.advance(std::time::Duration::from_millis(1));
    let second = browser.refresh(&first).await.challenge().unwrap();
    assert_ne!(browser.jar[BOUND], cookie);
    assert_eq!(browser.refresh(&first).await.status, 200);
    assert_eq!(browser.refresh(&second).await.status, 200);
    // A challenge outlives the bound cookie.
    site.wait(301);
    assert_eq!(browser.refresh(&second).await.status, 200);
}

#[tokio::test]
async fn a_challenge_that_is_too_old_is_replaced() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let old = browser.challenge().await;
    site.wait(4 * 300);
    let refused = browser.refresh(&old).await;
    assert_eq!(refused.status, 403);
    let next = refused.challenge().unwrap();
    assert_eq!(browser.refresh(&next).await.status, 200);
}

/// Trap 9: what is not certainly the fault of the key is a 403 with a challenge.
#[tokio::test]
async fn proofs_of_a_refresh_that_are_none() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let mut other = Browser::new(&site);
    other.bind("bob").await;
    let of_other = other.challenge().await;
    let offer = Browser::new(&site).log_in("eve").await.challenge().unwrap();
    let challenge = browser.challenge().await;
    let claims = format!(r#"{{"jti":"{challenge}"}}"#);
    let device = &browser.device;
    let whole = device.refreshes(&challenge);
    let unsigned = device.sign(r#"{"alg":"none","typ":"dbsc+jwt"}"#, &claims);
    let unsigned_bare = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    let long = format!(r#"{{"jti":"{challenge}","x":"{}"}}"#, "x".repeat(4_096));
    let proofs = [
        ("truncated", whole[..whole.len() - 4].to_owned()),
        (
            "without a signature",
            whole.rsplit_once('.').unwrap().0.to_owned(),
        ),
        ("one part", "x".to_owned()),
        ("no JSON", device.sign("x", &claims)),
        ("of another session", device.refreshes(&of_other)),
        ("of an offer", device.refreshes(&offer)),
        ("of no challenge", device.refreshes("x")),
        ("none", unsigned),
        ("none, and no signature", unsigned_bare),
        (
            "RS256 by an EC key",
            device.sign(r#"{"alg":"RS256","typ":"dbsc+jwt"}"#, &claims),
        ),
        (
            "HS256",
            device.sign(r#"{"alg":"HS256","typ":"dbsc+jwt"}"#, &claims),
        ),
        (
            "of another type",
            device.sign(r#"{"alg":"ES256","typ":"JWT"}"#, &claims),
        ),
        (
            "critical",
            device.sign(r#"{"alg":"ES256","typ":"dbsc+jwt","crit":["x"]}"#, &claims),
        ),
        (
            "two algorithms",
            device.sign(r#"{"alg":"none","alg":"ES256","typ":"dbsc+jwt"}"#, &claims),
        ),
        (
            "oversized",
            device.sign(r#"{"alg":"ES256","typ":"dbsc+jwt"}"#, &long),
        ),
        (
            "without claims",
            device.sign(r#"{"alg":"ES256","typ":"dbsc+jwt"}"#, "{}"),
        ),
    ];
    for (what, proof) in proofs {
        let cookie = browser.jar[BOUND].clone();
        let refused = browser.send_refresh(Some(&proof)).await;
        assert_eq!(refused.status, 403, "{what}");
        assert_eq!(refused.calls, [Call::Load], "{what}");
        assert!(refused.challenge().is_some(), "{what}");
        assert_eq!(browser.jar[BOUND], cookie, "{what}");
    }
    assert_eq!(browser.send_refresh(Some(&whole)).await.status, 200);
}

/// Somebody has the cookie and the challenge, and not the device.
#[tokio::test]
async fn another_key_ends_the_session_where_that_is_enforced() {
    for (dbsc, ends) in [
        (Dbsc::observe(), false),
        (Dbsc::prefer(), true),
        (Dbsc::require(), true),
    ] {
        let site = Site::new(dbsc);
        let mut browser = Browser::new(&site);
        browser.bind("ada").await;
        let mut thief = browser.copied();
        let challenge = thief.challenge().await;
        // A key that is sent along is not believed.
        let with_key = thief.device.registers(&challenge);
        let refused = thief.send_refresh(Some(&with_key)).await;
        assert_eq!(refused.status, 400);
        let expected = if ends {
            vec![Call::Load, Call::Delete]
        } else {
            vec![Call::Load]
        };
        assert_eq!(refused.calls, expected);
        assert_eq!(thief.jar.contains_key(COOKIE), !ends);
        assert_eq!(browser.who().await.is_none(), ends);
        if ends {
            let mut why = None;
            let mut browser = browser.copied();
            browser.jar = thief.copied().jar;
            assert!(browser.who().await.is_none());
            let mut told = thief.copied();
            told.page(async |session| why = session.ended_because())
                .await;
            assert!(why.is_none(), "the thief has no cookie any more");
        }
    }
}

#[tokio::test]
async fn a_session_is_bound_to_the_first_device_alone() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    let mut thief = browser.copied();
    assert_eq!(browser.register(&offer).await.status, 200);
    assert_eq!(thief.register(&offer).await.status, 400);
    let challenge = browser.challenge().await;
    assert_eq!(browser.refresh(&challenge).await.status, 200);
}

#[tokio::test]
async fn proofs_of_a_registration_that_are_none() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    let offer = browser.log_in("ada").await.challenge().unwrap();
    let of_other = Browser::new(&site).log_in("bob").await.challenge().unwrap();
    let claims = format!(r#"{{"jti":"{offer}"}}"#);
    let device = &browser.device;
    let whole = device.registers(&offer);
    let by_another_key = {
        let signed = Device::new().registers(&offer);
        let (_, signature) = signed.rsplit_once('.').unwrap();
        format!("{}.{signature}", whole.rsplit_once('.').unwrap().0)
    };
    let jwk = |jwk: &str| {
        let header = format!(r#"{{"alg":"ES256","typ":"dbsc+jwt","jwk":{jwk}}}"#);
        device.sign(&header, &claims)
    };
    let zeros = "A".repeat(43);
    let off_the_curve = format!(r#"{{"kty":"EC","crv":"P-256","x":"{zeros}","y":"{zeros}"}}"#);
    for (what, proof) in [
        ("no key", device.refreshes(&offer)),
        ("signed by another key", by_another_key),
        ("of another login", device.registers(&of_other)),
        ("truncated", whole[..whole.len() - 4].to_owned()),
        ("off the curve", jwk(&off_the_curve)),
        ("an RSA key", jwk(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#)),
        (
            "another curve",
            jwk(&off_the_curve.replace("P-256", "secp256k1")),
        ),
    ] {
        let refused = browser.send_registration(&proof).await;
        assert_eq!(refused.status, 400, "{what}");
        assert!(
            refused.calls.iter().all(|call| *call == Call::Load),
            "{what}"
        );
    }
    assert_eq!(browser.register(&offer).await.status, 200);
}

#[tokio::test]
async fn a_session_that_is_over_is_over_for_the_browser() {
    let site = Site::new(Dbsc::prefer());
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let challenge = browser.challenge().await;
    // Revoked elsewhere, in the moment before a refresh.
    let subject = cloakroom_core::Subject::new("ada").unwrap();
    site.engine.end_sessions_of(&subject).await.unwrap();
    let told = browser.refresh(&challenge).await;
    let over = format!(
        r#"{{"session_identifier":"{}","continue":false}}"#,
        browser.id
    );
    assert_eq!((told.status, told.body), (200, over));

    // Logged out: the bound cookie goes with that of the session.
    let mut browser = Browser::new(&site);
    browser.bind("ada").await;
    let former = browser.id.clone();
    browser.page(async |session| session.flush().unwrap()).await;
    assert!(browser.jar.is_empty(), "{:?}", browser.jar);
    assert!(
        browser
            .send_refresh(None)
            .await
            .body
            .contains("\"continue\":false")
    );

    // The device of a login before this one.
    browser.bind("ada").await;
    let own = std::mem::replace(&mut browser.id, former);
    assert!(
        browser
            .send_refresh(None)
            .await
            .body
            .contains("\"continue\":false")
    );
    browser.id = own;
    assert_eq!(browser.send_refresh(None).await.status, 403);
}
