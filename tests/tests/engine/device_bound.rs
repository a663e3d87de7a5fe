//! The endpoint of devices and the extractor of a proven one, on axum and on actix-web.

use std::collections::BTreeMap;

use actix_web::dev::Service as _;
use actix_web::{App, web};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::{OsEntropy, TokenStore};
use cloakroom::{Engine, Subject, actix as on_actix, axum as on_axum};
use cloakroom_testkit::MapStore;
use cloakroom_tests::embedded::Embedded;
use http_body_util::BodyExt as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use tower::ServiceExt as _;

/// A request, by its method, path and headers.
type Asked = (&'static str, &'static str, Vec<(&'static str, String)>);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map_or("", |(_, value)| value)
    }
}

fn engine(store: impl TokenStore + 'static) -> Engine {
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

async fn walk(ask: impl AsyncFn(Asked) -> Answer) {
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

#[tokio::test]
async fn a_device_proves_itself_on_axum() {
    proves_itself(MapStore::default()).await;
}

/// The key lies where the session lies: behind a cache, beside sealed data, in the cookie.
#[tokio::test]
async fn a_device_proves_itself_over_every_store_of_one_machine() {
    for options in ["", "?cache=8MiB&stale=5s", "?sealed=true"] {
        for store in Embedded::ALL {
            let folder = tempfile::tempdir().unwrap();
            proves_itself(store.open_with(folder.path(), options).await).await;
        }
    }
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    proves_itself(
        CookieStore::builder("__Host-session", &ring)
            .build()
            .unwrap(),
    )
    .await;
}

async fn proves_itself(store: impl TokenStore + 'static) {
    use on_axum::{Bound, Session, SessionError, SessionLayer, device_endpoint};

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

#[actix_web::test]
async fn a_device_proves_itself_on_actix() {
    use actix_web::test::{TestRequest, init_service};
    use on_actix::{Bound, Session, SessionMiddleware, device_endpoint};

    async fn login(session: Session) -> actix_web::Result<&'static str> {
        session.set_subject(Subject::new("ada")?)?;
        Ok("")
    }
    let pay = async |visitor: Bound| format!("paid by {}", visitor.subject().as_str());
    let app = App::new()
        .route("/login", web::post().to(login))
        .route("/pay", web::get().to(pay))
        .route(Dbsc::PATH, web::post().to(device_endpoint))
        .wrap(SessionMiddleware::new(engine(MapStore::default())));
    let app = init_service(app).await;
    walk(async |(method, path, headers): Asked| {
        let mut request = TestRequest::with_uri(path).method(method.parse().unwrap());
        for header in headers {
            request = request.insert_header(header);
        }
        let response = app.call(request.to_request()).await.unwrap();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let status = response.status().as_u16();
        let body = actix_web::body::to_bytes(response.into_body()).await;
        let body = body.ok().unwrap().to_vec();
        Answer {
            status,
            headers,
            body: String::from_utf8(body).unwrap(),
        }
    })
    .await;
}
