//! A device that a session is bound to, without a browser: one walk, over any store.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)] // A walk that cannot go on panics.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::axum::{Bound, Session, SessionError, SessionLayer, device_endpoint};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::TokenStore;
use cloakroom::{Engine, Subject};
use http_body_util::BodyExt as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use tower::ServiceExt as _;

/// A request, by its method, path and headers.
pub type Asked = (&'static str, &'static str, Vec<(&'static str, String)>);

/// What the site has answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, by their lower-case names.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map_or("", |(_, value)| value)
    }
}

/// An engine that binds its sessions to devices.
pub fn engine(store: impl TokenStore + 'static) -> Engine {
    let builder = Engine::builder(store);
    builder.device_bound(Dbsc::prefer()).build().unwrap()
}

fn signed(pair: &EcdsaKeyPair, header: &str, challenge: &str) -> String {
    let claims = format!(r#"{{"jti":"{challenge}"}}"#);
    let [header, claims] = [header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let text = format!("{header}.{claims}");
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// Logs in, binds the session, proves the device, and proves it again.
pub async fn walk(ask: impl AsyncFn(Asked) -> Answer) {
    let random = SystemRandom::new();
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(alg, document.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);

    let mut jar = BTreeMap::new();
    let cookies = |jar: &BTreeMap<String, String>| {
        let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
        ("cookie", pairs.collect::<Vec<_>>().join("; "))
    };
    let keep = |jar: &mut BTreeMap<String, String>, answer: &Answer| {
        for (_, text) in answer
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
        {
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            jar.insert(name.to_owned(), value.to_owned());
        }
    };
    assert_eq!(ask(("GET", "/pay", Vec::new())).await.status, 401);
    let login = ask(("POST", "/login", Vec::new())).await;
    keep(&mut jar, &login);
    let offer = login.header("secure-session-registration");
    let challenge = offer.split("challenge=\"").nth(1).unwrap();
    let challenge = challenge.split('"').next().unwrap();
    assert_eq!(ask(("GET", "/pay", vec![cookies(&jar)])).await.status, 403);

    let header = format!(r#"{{"alg":"ES256","typ":"dbsc+jwt","jwk":{jwk}}}"#);
    let proof = ("secure-session-response", signed(&pair, &header, challenge));
    let elsewhere = ("sec-fetch-site", "cross-site".to_owned());
    let asked = vec![cookies(&jar), proof.clone(), elsewhere];
    assert_eq!(ask(("POST", Dbsc::PATH, asked)).await.status, 403);
    let answer = ask(("POST", Dbsc::PATH, vec![cookies(&jar), proof])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    keep(&mut jar, &answer);
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let id = told["session_identifier"].as_str().unwrap().to_owned();
    let paid = ask(("GET", "/pay", vec![cookies(&jar)])).await;
    assert_eq!((paid.status, paid.body.as_str()), (200, "paid by ada"));

    let aged = jar.remove("__Host-session-bound");
    assert!(aged.is_some());
    assert_eq!(ask(("GET", "/pay", vec![cookies(&jar)])).await.status, 401);
    let skipped = ("secure-session-skipped", "unreachable".to_owned());
    let asked = vec![cookies(&jar), skipped];
    assert_eq!(
        ask(("GET", "/pay", asked)).await.status,
        403,
        "believed, and not enough"
    );

    let id = ("sec-secure-session-id", id);
    let refused = ask(("POST", Dbsc::PATH, vec![cookies(&jar), id.clone()])).await;
    assert_eq!(refused.status, 403);
    let challenge = refused.header("secure-session-challenge");
    let challenge = challenge.split('"').nth(1).unwrap();
    let header = r#"{"alg":"ES256","typ":"dbsc+jwt"}"#;
    let proof = ("secure-session-response", signed(&pair, header, challenge));
    let answer = ask(("POST", Dbsc::PATH, vec![cookies(&jar), id, proof])).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    keep(&mut jar, &answer);
    assert_eq!(ask(("GET", "/pay", vec![cookies(&jar)])).await.status, 200);
}

/// The walk, on axum over a store.
pub async fn proves_itself(store: impl TokenStore + 'static) {
    async fn login(session: Session) -> Result<(), SessionError> {
        Ok(session.set_subject(Subject::new("ada")?)?)
    }
    let pay = async |visitor: Bound| format!("paid by {}", visitor.subject().as_str());
    let site = Router::new()
        .route("/login", post(login))
        .route("/pay", get(pay))
        .route(Dbsc::PATH, post(device_endpoint))
        .layer(SessionLayer::new(engine(store)));
    walk(async |(method, path, headers): Asked| {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = site.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let headers = head.headers.iter();
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
        Answer {
            status: head.status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    })
    .await;
}
