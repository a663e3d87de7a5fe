//! A device that a session is bound to, without a browser: walks over any store, on any adapter.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)] // A walk that cannot go on panics.

use std::collections::BTreeMap;
use std::fmt;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::axum::{Bound, LoggedIn, Session, SessionError, SessionLayer, device_endpoint};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::TokenStore;
use cloakroom::{Engine, Subject};
use http_body_util::BodyExt as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use tower::ServiceExt as _;

/// The bound cookie.
pub const BOUND: &str = "__Host-session-bound";

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
    /// The first header of a name, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map_or("", |(_, value)| value)
    }
}

/// An engine that binds its sessions to devices.
pub fn engine(store: impl TokenStore + 'static, dbsc: Dbsc) -> Engine {
    let builder = Engine::builder(store);
    builder.device_bound(dbsc).build().unwrap()
}

/// What a browser says of a request that comes from a page of this site, or of another one.
fn navigation(from: &str) -> Vec<(&'static str, String)> {
    [
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-site", from),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// A browser: its jar and its key.
pub struct Visitor<A> {
    ask: A,
    /// Its cookies.
    pub jar: BTreeMap<String, String>,
    pair: EcdsaKeyPair,
    id: String,
}

impl<A> fmt::Debug for Visitor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").finish_non_exhaustive()
    }
}

impl<A: AsyncFn(Asked) -> Answer> Visitor<A> {
    /// One that asks a site by this.
    pub fn new(ask: A) -> Self {
        let random = SystemRandom::new();
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        Self {
            ask,
            jar: BTreeMap::new(),
            pair: EcdsaKeyPair::from_pkcs8(alg, document.as_ref(), &random).unwrap(),
            id: String::new(),
        }
    }

    /// Its cookies on another device.
    pub fn copied(&self) -> Self
    where
        A: Clone,
    {
        let mut copied = Self::new(self.ask.clone());
        copied.jar = self.jar.clone();
        copied.id = self.id.clone();
        copied
    }

    fn signed(&self, header: &str, challenge: &str) -> (&'static str, String) {
        let claims = format!(r#"{{"jti":"{challenge}"}}"#);
        let [header, claims] = [header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let text = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap().as_ref());
        ("secure-session-response", format!("{text}.{signature}"))
    }

    /// Asks with the cookies of the jar and these headers, and keeps what it is told to.
    pub async fn ask(
        &mut self,
        method: &'static str,
        path: &'static str,
        mut headers: Vec<(&'static str, String)>,
    ) -> Answer {
        let pairs = self
            .jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        headers.push(("cookie", pairs.collect::<Vec<_>>().join("; ")));
        let answer = (self.ask)((method, path, headers)).await;
        let set = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie");
        for (_, text) in set {
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            match text.contains("Max-Age=0") {
                true => self.jar.remove(name),
                false => self.jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    /// The status of a page.
    pub async fn get(&mut self, path: &'static str) -> u16 {
        self.ask("GET", path, Vec::new()).await.status
    }

    /// Logs in, and gives the challenge of the offer.
    pub async fn log_in(&mut self) -> String {
        let login = self.ask("POST", "/login", Vec::new()).await;
        let offer = login.header("secure-session-registration");
        let challenge = offer.split("challenge=\"").nth(1).unwrap();
        challenge.split('"').next().unwrap().to_owned()
    }

    /// What a registration says that answers this challenge.
    pub fn registration(&self, challenge: &str) -> (&'static str, String) {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
        let header = format!(r#"{{"alg":"ES256","typ":"dbsc+jwt","jwk":{jwk}}}"#);
        self.signed(&header, challenge)
    }

    /// Registers its key.
    pub async fn register(&mut self, challenge: &str) -> Answer {
        let proof = self.registration(challenge);
        let answer = self.ask("POST", Dbsc::PATH, vec![proof]).await;
        if answer.status == 200 {
            let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            self.id = told["session_identifier"].as_str().unwrap().to_owned();
        }
        answer
    }

    /// Refreshes its bound cookie: asks for a challenge, and answers it.
    pub async fn refresh(&mut self) -> Answer {
        let id = ("sec-secure-session-id", self.id.clone());
        let refused = self.ask("POST", Dbsc::PATH, vec![id.clone()]).await;
        if refused.status != 403 {
            return refused;
        }
        let challenge = refused.header("secure-session-challenge");
        let challenge = challenge.split('"').nth(1).unwrap();
        let proof = self.signed(r#"{"alg":"ES256","typ":"dbsc+jwt"}"#, challenge);
        self.ask("POST", Dbsc::PATH, vec![id, proof]).await
    }
}

/// Logs in at a site of [`Dbsc::prefer`], binds the session, proves the device, and proves it
/// again.
pub async fn walk(ask: impl AsyncFn(Asked) -> Answer) {
    let mut visitor = Visitor::new(ask);
    assert_eq!(visitor.get("/pay").await, 401);
    let challenge = visitor.log_in().await;
    assert_eq!(visitor.get("/pay").await, 403);

    let elsewhere = ("sec-fetch-site", "cross-site".to_owned());
    let asked = vec![visitor.registration(&challenge), elsewhere];
    assert_eq!(visitor.ask("POST", Dbsc::PATH, asked).await.status, 403);
    let answer = visitor.register(&challenge).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let paid = visitor.ask("GET", "/pay", Vec::new()).await;
    assert_eq!((paid.status, paid.body.as_str()), (200, "paid by ada"));

    let aged = visitor.jar.remove(BOUND);
    assert!(aged.is_some());
    assert_eq!(visitor.get("/pay").await, 401);
    let skipped = || vec![("secure-session-skipped", "unreachable".to_owned())];
    let believed = visitor.ask("GET", "/account", skipped()).await;
    assert_eq!((believed.status, believed.body.as_str()), (200, "ada"));
    let paid = visitor.ask("GET", "/pay", skipped()).await;
    assert_eq!(paid.status, 403, "believed, and not enough");
    let link = visitor
        .ask("GET", "/account", navigation("cross-site"))
        .await;
    assert_eq!((link.status, link.body.as_str()), (200, "ada"));
    asks_again(&mut visitor, "/pay?id=1", 401).await;

    let answer = visitor.refresh().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(visitor.get("/pay").await, 200);
    let link = visitor.ask("GET", "/pay", navigation("cross-site")).await;
    assert_eq!((link.status, link.body.as_str()), (200, "paid by ada"));
}

/// The same, at a site of [`Dbsc::require`].
pub async fn walk_where_required(ask: impl AsyncFn(Asked) -> Answer) {
    let mut visitor = Visitor::new(ask);
    let challenge = visitor.log_in().await;
    assert_eq!(visitor.register(&challenge).await.status, 200);
    visitor.jar.remove(BOUND);
    asks_again(&mut visitor, "/account?id=1", 401).await;
    asks_again(&mut visitor, "/pay?id=1", 401).await;
    assert_eq!(visitor.refresh().await.status, 200);
    assert_eq!(visitor.get("/account").await, 200);
}

/// A page that a link of another site leads to, and that needs a device: it makes the browser
/// ask again, once.
async fn asks_again<A: AsyncFn(Asked) -> Answer>(
    visitor: &mut Visitor<A>,
    path: &'static str,
    refused: u16,
) {
    for from in ["cross-site", "same-site"] {
        let link = visitor.ask("GET", path, navigation(from)).await;
        assert_eq!((link.status, link.body.as_str()), (200, ""));
        let told = ["refresh", "cache-control", "content-type"].map(|name| link.header(name));
        assert_eq!(told, ["0;url=?id=1", "no-store", "text/html"]);
    }
    let again = visitor.ask("GET", path, navigation("same-origin")).await;
    assert_eq!((again.status, again.header("refresh")), (refused, ""));
}

/// The site of a walk, on axum.
pub fn on_axum(engine: Engine) -> impl AsyncFn(Asked) -> Answer {
    async fn login(session: Session) -> Result<(), SessionError> {
        Ok(session.set_subject(Subject::new("ada")?)?)
    }
    let pay = async |visitor: Bound| format!("paid by {}", visitor.subject().as_str());
    let account = async |visitor: LoggedIn| visitor.subject().as_str().to_owned();
    let site = Router::new()
        .route("/login", post(login))
        .route("/pay", get(pay))
        .route("/account", get(account))
        .route(Dbsc::PATH, post(device_endpoint))
        .layer(SessionLayer::new(engine));
    move |(method, path, headers): Asked| {
        let site = site.clone();
        async move {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = request.body(Body::empty()).unwrap();
            let (head, body) = site.oneshot(request).await.unwrap().into_parts();
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
        }
    }
}

/// The walk, on axum over a store.
pub async fn proves_itself(store: impl TokenStore + 'static) {
    walk(on_axum(engine(store, Dbsc::prefer()))).await;
}
