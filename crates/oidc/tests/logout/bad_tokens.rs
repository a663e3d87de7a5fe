//! What is no logout token of this provider to this client ends nothing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use crate::site::{
    FORM, LOGOUT, REVOKED, TestSite, claims, good_header, header, message, public, signed,
    signed_by,
};
use crate::site::{KEY, OTHER_KEY};

async fn refused(site: &TestSite, what: &str, token: &str) {
    let answer = site.send(token).await;
    assert_eq!((answer.status, answer.ended), (400, 0), "{what}");
    assert_eq!(
        answer.headers,
        [
            ("cache-control", "no-store"),
            ("content-type", "application/json")
        ]
    );
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(told["error"], "invalid_request", "{what}");
    assert!(told["error_description"].is_string(), "{what}");
    for secret in ["ada", "s1", "secret-jti"] {
        assert!(!answer.body.contains(secret), "{what}: {}", answer.body);
    }
    assert_eq!(site.browsers("ada").await, ["one"], "{what}");
}

async fn site() -> (TestSite, Value) {
    let site = TestSite::default();
    site.log_in("ada", Some("s1"), "one").await;
    let mut good = claims(&site, "secret-jti");
    good["sub"] = json!("ada");
    good["sid"] = json!("s1");
    (site, good)
}

#[tokio::test]
async fn a_token_that_says_something_else_is_refused() {
    let (site, good) = site().await;
    let now = site.engine.now().as_millis() / 1_000;
    let other = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let nobody = {
        let mut claims = without("sub");
        claims.as_object_mut().unwrap().remove("sid");
        claims
    };
    for (what, claims) in [
        ("another issuer", other("iss", json!("https://e.example"))),
        (
            "several issuers",
            other("iss", json!([crate::site::ISSUER])),
        ),
        ("no issuer", without("iss")),
        ("another client", other("aud", json!("e"))),
        ("other clients", other("aud", json!(["e", 7]))),
        ("no client", without("aud")),
        ("issued eleven minutes ago", other("iat", json!(now - 661))),
        ("issued in the future", other("iat", json!(now + 61))),
        ("no time of issue", without("iat")),
        ("no number of seconds", other("iat", json!("now"))),
        ("a number without end", other("iat", json!(u64::MAX))),
        ("expired", other("exp", json!(now - 60))),
        ("no end", without("exp")),
        ("a nonce", other("nonce", json!("n"))),
        ("an empty nonce", other("nonce", Value::Null)),
        ("no events", without("events")),
        ("an ID token", other("events", json!({}))),
        ("another event", other("events", json!({ REVOKED: {} }))),
        (
            "an event of no kind",
            other("events", json!({ LOGOUT: true })),
        ),
        ("no name of its own", without("jti")),
        ("a long name", other("jti", json!("x".repeat(257)))),
        ("neither sid nor sub", nobody),
        ("a sid that is no text, alone", {
            let mut claims = without("sub");
            claims["sid"] = json!(1);
            claims
        }),
    ] {
        refused(&site, what, &signed(&good_header(), &claims)).await;
    }
    // The same with nothing changed.
    let answer = site.send(&signed(&good_header(), &good)).await;
    assert_eq!((answer.status, answer.ended), (200, 1));
}

#[tokio::test]
async fn a_token_that_is_signed_otherwise_is_refused() {
    let (site, good) = site().await;
    let public_key = public(KEY, "1");
    let point = |name: &str| {
        let text = public_key[name].as_str().unwrap();
        URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let point = [&[4][..], &point("x"), &point("y")].concat();
    // What would be the signature if the public key were taken for a shared one.
    let by_hmac = |secret: &[u8]| {
        let message = message(&header("alg", json!("HS256")), &good);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let whole = signed(&good_header(), &good);
    let parts: Vec<&str> = whole.split('.').collect();
    let with = |name: &str, value: Value| signed(&header(name, value), &good);
    let of_nobody = format!("{}.", message(&header("alg", json!("none")), &good));
    let mut others = good.clone();
    others["sub"] = json!("bob");
    let others = format!("{}.{}", message(&good_header(), &others), parts[2]);
    let own = header("jwk", public(OTHER_KEY, "1"));
    let own = signed_by(OTHER_KEY, &own, &good);
    let long = signed(&good_header(), &json!({ "x": "y".repeat(17_000) }));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(3_000), "]".repeat(3_000));
    let deep = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(deep), parts[2]);
    let not_json = format!("{}.e30.{}", STANDARD.encode("{"), parts[2]);
    for (what, token) in [
        ("none", of_nobody),
        ("NONE", with("alg", json!("NONE"))),
        ("HS256 by the public key", by_hmac(&point)),
        (
            "HS256 by its JWK",
            by_hmac(public_key.to_string().as_bytes()),
        ),
        ("RS256 with a key on a curve", with("alg", json!("RS256"))),
        ("ES384 with a key on P-256", with("alg", json!("ES384"))),
        ("EdDSA with a key on P-256", with("alg", json!("EdDSA"))),
        ("another key", signed_by(OTHER_KEY, &good_header(), &good)),
        ("an unknown key", with("kid", json!("2"))),
        ("its own key in its header", own),
        ("other claims", others),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("half a signature", whole[..whole.len() - 43].to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{whole}.{}", parts[2])),
        ("nothing", String::new()),
        ("no JSON", not_json),
        ("a token without end", long),
        ("deep claims", deep),
        ("an access token", with("typ", json!("at+jwt"))),
        ("an event's type", with("typ", json!("secevent+jwt"))),
        ("an unknown critical header", with("crit", json!(["exp"]))),
        ("an empty critical header", with("crit", json!([]))),
    ] {
        refused(&site, what, &token).await;
    }
    let answer = site.send(&whole).await;
    assert_eq!((answer.status, answer.ended), (200, 1));
}

#[tokio::test]
async fn a_token_counts_once() {
    let (site, mut good) = site().await;
    // By its sid a login an hour later would end.
    good.as_object_mut().unwrap().remove("sid");
    let token = signed(&good_header(), &good);
    assert_eq!(site.send(&token).await.ended, 1);
    site.log_in("ada", Some("s1"), "one").await;
    refused(&site, "replayed", &token).await;
}

#[tokio::test]
async fn what_is_no_form_with_one_token_is_refused() {
    let (site, good) = site().await;
    let token = signed(&good_header(), &good);
    for body in [
        String::new(),
        token.clone(),
        format!("token={token}"),
        format!("logout_token={token}&logout_token={token}"),
        format!("logout_token={token}{}", " ".repeat(20_000)),
        "logout_token=%ff".to_owned(),
    ] {
        let answer = site.logout.receive(Some(FORM), body.as_bytes()).await;
        assert_eq!((answer.status, answer.ended), (400, 0), "{body}");
    }
    let not_text = site.logout.receive(Some(FORM), b"logout_token=\xff").await;
    assert_eq!(not_text.status, 400);
    // A logout token is no event, nor one of RFC 8935 with another code for it.
    let event = "application/secevent+jwt; charset=utf-8";
    let answer = site.logout.receive(Some(event), token.as_bytes()).await;
    assert_eq!(answer.status, 400);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(told["err"], "invalid_request");
    assert_eq!(site.browsers("ada").await, ["one"]);
    // Providers may send further fields, and encode what needs none.
    let body = format!("state=1&logout_token={}", token.replace('.', "%2E"));
    let answer = site.logout.receive(None, body.as_bytes()).await;
    assert_eq!((answer.status, answer.ended), (200, 1));
}
