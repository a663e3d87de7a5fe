//! A browser that knows the protocol, with a key of its own, and the site that it visits.

#![allow(dead_code)] // Each test takes some of it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::session::Session;
use cloakroom_core::{Binding, Subject};
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::{Call, FaultyStore, ManualClock, MapStore, RecordingStore};
use cloakroom_web::{
    Closing, DeviceHints, DeviceProof, DeviceRequest, Engine, EngineBuilder, Exchange, HeaderEdit,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

pub(crate) const COOKIE: &str = "__Host-session";
pub(crate) const BOUND: &str = "__Host-session-bound";

pub(crate) type Store = Arc<RecordingStore<MapStore>>;

/// An engine that binds sessions, its store, which may fail, and its clock.
pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) faults: Arc<FaultyStore<Store>>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Site {
    pub(crate) fn new(dbsc: Dbsc) -> Self {
        Self::with(|builder| builder.device_bound(dbsc))
    }

    pub(crate) fn with(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let store = Store::new(RecordingStore::new(MapStore::default()));
        let faults = Arc::new(FaultyStore::new(store.clone()));
        let clock = Arc::new(ManualClock::default());
        let builder = Engine::builder(faults.clone()).clock(clock.clone());
        Self {
            engine: build(builder).build().unwrap(),
            store,
            faults,
            clock,
        }
    }

    /// A browser that was logged in before the site bound sessions.
    pub(crate) async fn logged_in_before(&self, who: &str) -> Browser<'_> {
        let builder = Engine::builder(self.store.clone()).clock(self.clock.clone());
        let exchange = builder.build().unwrap().exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.set_subject(Subject::new(who).unwrap()).unwrap();
        let closing = exchange.close(200).await;
        let mut browser = Browser::new(self);
        browser.keep(&texts(closing.token_headers()));
        browser
    }

    /// Another server of the same site.
    pub(crate) fn server(&self, engine: Engine) -> Self {
        let (store, faults) = (self.store.clone(), self.faults.clone());
        let clock = self.clock.clone();
        Self {
            engine,
            store,
            faults,
            clock,
        }
    }

    pub(crate) fn wait(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

/// A key pair of P-256.
pub(crate) struct Device {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Device {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(alg, document.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    pub(crate) fn public_key(&self) -> [u8; Binding::KEY_BYTES] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    fn jwk(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
    }

    /// A token with this header and these claims.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    pub(crate) fn registers(&self, challenge: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","typ":"dbsc+jwt","jwk":{}}}"#, self.jwk());
        self.sign(&header, &format!(r#"{{"jti":"{challenge}"}}"#))
    }

    pub(crate) fn refreshes(&self, challenge: &str) -> String {
        let header = r#"{"alg":"ES256","typ":"dbsc+jwt"}"#;
        self.sign(header, &format!(r#"{{"jti":"{challenge}"}}"#))
    }
}

/// What the browser got.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) calls: Vec<Call>,
    pub(crate) proof: DeviceProof,
    /// What an adapter would answer in place of a refusal.
    pub(crate) reload: Option<Vec<(String, String)>>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The challenge of an offer or of a refusal.
    pub(crate) fn challenge(&self) -> Option<String> {
        let registration = self.header("secure-session-registration");
        let of_registration = registration.map(|text| {
            let (_, rest) = text.split_once("challenge=\"").unwrap();
            rest.split('"').next().unwrap().to_owned()
        });
        let refresh = self.header("secure-session-challenge");
        of_registration.or_else(|| refresh.map(|text| text.split('"').nth(1).unwrap().to_owned()))
    }
}

/// A jar, and a device.
pub(crate) struct Browser<'s> {
    pub(crate) site: &'s Site,
    pub(crate) jar: BTreeMap<String, String>,
    /// Cookies that it sends before those of the jar: of another path, for instance.
    pub(crate) before: Vec<String>,
    pub(crate) device: Device,
    pub(crate) id: String,
}

impl<'s> Browser<'s> {
    pub(crate) fn new(site: &'s Site) -> Self {
        Self {
            site,
            jar: BTreeMap::new(),
            before: Vec::new(),
            device: Device::new(),
            id: String::new(),
        }
    }

    /// The same cookies on another device.
    pub(crate) fn copied(&self) -> Self {
        Self {
            jar: self.jar.clone(),
            id: self.id.clone(),
            ..Self::new(self.site)
        }
    }

    pub(crate) fn cookies(&self) -> String {
        let pairs = self
            .jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let pairs = self.before.iter().cloned().chain(pairs);
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn keep(&mut self, headers: &[(String, String)]) {
        for (_, text) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            match text.contains("Max-Age=0") {
                true => self.jar.remove(name),
                false => self.jar.insert(name.to_owned(), value.to_owned()),
            };
        }
    }

    pub(crate) async fn page(&mut self, handle: impl AsyncFnOnce(&Session)) -> Response {
        self.page_hinting(DeviceHints::default(), handle).await
    }

    pub(crate) async fn page_hinting(
        &mut self,
        hints: DeviceHints<'_>,
        handle: impl AsyncFnOnce(&Session),
    ) -> Response {
        self.site.store.take();
        let exchange = self.site.engine.exchange();
        exchange.note_device(hints);
        let cookies = self.cookies();
        let session = exchange
            .open([cookies.as_bytes()].into_iter())
            .await
            .unwrap();
        handle(&session).await;
        let proof = exchange.device_proof().unwrap();
        let reload = exchange.reload();
        let closing = exchange.close(200).await;
        let headers = texts(closing.header_edits([]));
        self.keep(&headers);
        Response {
            status: closing.failure.as_ref().map_or(200, Closing::status_of),
            body: String::new(),
            headers,
            calls: self.site.store.take(),
            proof,
            reload: reload.map(|headers| texts(&headers)),
        }
    }

    pub(crate) async fn log_in(&mut self, who: &str) -> Response {
        let subject = Subject::new(who).unwrap();
        self.page(async |session| session.set_subject(subject).unwrap())
            .await
    }

    /// Who is logged in, as a page sees it.
    pub(crate) async fn who(&mut self) -> Option<String> {
        let mut who = None;
        self.page(async |session| who = session.subject()).await;
        who.map(|subject| subject.as_str().to_owned())
    }

    pub(crate) async fn ask(&mut self, request: DeviceRequest<'_>) -> Response {
        self.ask_after(request, async |_| {}).await
    }

    /// The same, of an endpoint behind a middleware that has done this.
    pub(crate) async fn ask_after(
        &mut self,
        request: DeviceRequest<'_>,
        middleware: impl AsyncFnOnce(&Exchange),
    ) -> Response {
        self.site.store.take();
        let exchange = self.site.engine.exchange();
        middleware(&exchange).await;
        let cookies = self.cookies();
        let answer = exchange.answer_device([cookies.as_bytes()].into_iter(), request);
        let answer = answer.await.unwrap();
        let closing = exchange.close(answer.status).await;
        assert!(closing.failure.is_none());
        let mut headers = texts(&answer.headers);
        headers.extend(texts(closing.header_edits([])));
        self.keep(&headers);
        Response {
            status: answer.status,
            body: answer.body,
            headers,
            calls: self.site.store.take(),
            proof: DeviceProof::Unbound,
            reload: None,
        }
    }

    pub(crate) async fn send_registration(&mut self, proof: &str) -> Response {
        self.ask(DeviceRequest {
            response: Some(proof.as_bytes()),
            fetch_site: Some(b"same-origin"),
            ..DeviceRequest::default()
        })
        .await
    }

    pub(crate) async fn send_refresh(&mut self, proof: Option<&str>) -> Response {
        let id = self.id.clone();
        self.ask(DeviceRequest {
            session_id: Some(id.as_bytes()),
            response: proof.map(str::as_bytes),
            fetch_site: Some(b"same-origin"),
        })
        .await
    }

    /// Logs in and registers.
    pub(crate) async fn bind(&mut self, who: &str) -> Response {
        let offered = self.log_in(who).await;
        self.register(&offered.challenge().unwrap()).await
    }

    pub(crate) async fn register(&mut self, challenge: &str) -> Response {
        let response = self
            .send_registration(&self.device.registers(challenge))
            .await;
        if response.status == 200 {
            let told: serde_json::Value = serde_json::from_str(&response.body).unwrap();
            self.id = told["session_identifier"].as_str().unwrap().to_owned();
        }
        response
    }

    pub(crate) async fn refresh(&mut self, challenge: &str) -> Response {
        self.send_refresh(Some(&self.device.refreshes(challenge)))
            .await
    }

    /// The challenge that the site hands out.
    pub(crate) async fn challenge(&mut self) -> String {
        let refused = self.send_refresh(None).await;
        assert_eq!(refused.status, 403);
        refused.challenge().unwrap()
    }

    /// What the browser does when the bound cookie has aged.
    pub(crate) fn drop_bound_cookie(&mut self) {
        self.jar.remove(BOUND);
    }
}

pub(crate) fn texts<E: Borrow<HeaderEdit>>(
    edits: impl IntoIterator<Item = E>,
) -> Vec<(String, String)> {
    let edits = edits.into_iter();
    let text = |edit: &HeaderEdit| (edit.name().to_owned(), edit.value().to_owned());
    edits.map(|edit| text(edit.borrow())).collect()
}
