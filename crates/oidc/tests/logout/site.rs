//! A site, and the provider that its users log in by.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloakroom_core::session::Session;
use cloakroom_core::store::SessionStore;
use cloakroom_core::{Label, Subject};
use cloakroom_oidc::{Answer, BackChannelLogout, Keys};
use cloakroom_testkit::{ManualClock, MapStore};
use cloakroom_web::{Engine, EngineBuilder};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Private keys on P-256 that guard nothing, as PKCS #8 in base64.
pub(crate) const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0TrSkWO6OfnnPVf21Ixx/LiFrA1h1aZodNRWlJpc\
    6hyhRANCAASDL8Qb6pSk5TFfAuOKJ04NRjX4cYN2Uosa8bgtIsR/7b9vNlFtIPbBND/DG8iJJQS1ayOzzYNiO3hD\
    FDLf4Xyq";
pub(crate) const OTHER_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpWAT9Xe0U0dSPPvfOqxmmevarLcxp+6VTiRarCEz\
    vmuhRANCAASj+8LzQFlMX95evoxRVf92woOKm147danJRFrx95DcU80eJ6Rvyym8TeMozi9dB7UtFTnHB2q8ztiZ\
    wpNkPJAg";

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
pub(crate) const REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

fn key(text: &str) -> EcdsaKeyPair {
    let pkcs8 = STANDARD.decode(text).unwrap();
    let random = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random).unwrap()
}

/// The public half of a key, under a name.
pub(crate) fn public(text: &str, kid: &str) -> Value {
    let key = key(text);
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": part(x), "y": part(y) })
}

/// A good header, with one member that is something else, or without it.
pub(crate) fn header(name: &str, value: Value) -> Value {
    let mut header = json!({ "alg": "ES256", "kid": "1", "typ": "logout+jwt" });
    match value {
        Value::Null => drop(header.as_object_mut().unwrap().remove(name)),
        value => header[name] = value,
    }
    header
}

pub(crate) fn good_header() -> Value {
    header("kid", json!("1"))
}

/// Header and claims, as they are signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

pub(crate) fn signed_by(signing: &str, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = key(signing).sign(&SystemRandom::new(), message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
    format!("{message}.{signature}")
}

pub(crate) fn signed(header: &Value, claims: &Value) -> String {
    signed_by(KEY, header, claims)
}

/// What a token says, without the names of what has ended.
pub(crate) fn claims<S>(site: &TestSite<S>, jti: &str) -> Value {
    let now = site.engine.now().as_millis() / 1_000;
    json!({
        "iss": ISSUER,
        "aud": "shop",
        "iat": now,
        "exp": now + 120,
        "jti": jti,
        "events": { LOGOUT: {} },
    })
}

pub(crate) struct TestSite<S = MapStore> {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<S>,
    pub(crate) engine: Engine,
    pub(crate) logout: BackChannelLogout,
}

impl Default for TestSite {
    fn default() -> Self {
        Self::over(Arc::new(MapStore::default()), |builder| builder)
    }
}

impl TestSite {
    /// A site with these keys of the provider.
    pub(crate) fn with(keys: Keys, choose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        Self::built(Arc::new(MapStore::default()), keys, choose)
    }
}

impl<S: SessionStore> TestSite<S> {
    /// A site over this store, with the key that signs by default.
    pub(crate) fn over(store: Arc<S>, choose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let set = json!({ "keys": [public(KEY, "1")] });
        Self::built(store, Keys::given(&set.to_string()).unwrap(), choose)
    }

    fn built(
        store: Arc<S>,
        keys: Keys,
        choose: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let builder = Engine::builder(store.clone()).clock(clock.clone());
        let engine = choose(builder).build().unwrap();
        Self {
            logout: BackChannelLogout::new(engine.clone(), ISSUER, "shop", keys).unwrap(),
            clock,
            store,
            engine,
        }
    }

    /// Logs in by the provider, with a browser of this name; answers its cookie.
    pub(crate) async fn log_in(&self, subject: &str, sid: Option<&str>, browser: &str) -> String {
        let change = async |session: &Session| {
            session.set_subject(Subject::new(subject).unwrap()).unwrap();
            session.set_label(Label::new(browser).unwrap()).unwrap();
            if let Some(sid) = sid {
                self.logout.tie(session, sid).unwrap();
            }
        };
        self.ask("", change).await.unwrap()
    }

    /// A request with this cookie, which succeeds; answers the cookie that it sets.
    pub(crate) async fn ask(
        &self,
        cookie: &str,
        handler: impl AsyncFnOnce(&Session),
    ) -> Option<String> {
        let exchange = self.engine.exchange();
        let cookie = Some(cookie.as_bytes()).filter(|cookie| !cookie.is_empty());
        let session = exchange.open(cookie.into_iter()).await.unwrap();
        handler(&session).await;
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none(), "{:?}", closing.failure);
        let mut edits = closing.header_edits([]);
        let cookie = edits.find(|edit| edit.name() == "set-cookie")?;
        Some(cookie.value().split(';').next().unwrap().to_owned())
    }

    /// What whoever comes with this cookie is told: who is logged in, or why nobody is.
    pub(crate) async fn told(&self, cookie: &str) -> String {
        let mut told = String::new();
        self.ask(cookie, async |session: &Session| {
            told = match (session.subject(), session.ended_because()) {
                (Some(subject), _) => subject.as_str().to_owned(),
                (None, ended) => ended.unwrap().because.to_string(),
            };
        })
        .await;
        told
    }

    /// Sweeps everything that has expired by now.
    pub(crate) async fn sweep(&self) {
        let capabilities = self.store.capabilities();
        let sweep = capabilities.sweep.unwrap();
        while sweep.sweep(self.engine.now(), 100).await.unwrap().more {}
    }

    /// The browsers of a subject that are logged in.
    pub(crate) async fn browsers(&self, subject: &str) -> Vec<String> {
        let subject = Subject::new(subject).unwrap();
        let listed = self.engine.sessions_of(&subject).await.unwrap();
        let labels = listed.into_iter().filter_map(|session| session.label);
        let mut labels: Vec<_> = labels.map(|label| label.as_str().to_owned()).collect();
        labels.sort();
        labels
    }

    pub(crate) async fn send(&self, token: &str) -> Answer {
        let form = format!("logout_token={token}");
        self.logout.receive(Some(FORM), form.as_bytes()).await
    }

    /// Sends a good token that names these; answers how many sessions have ended.
    pub(crate) async fn log_out(&self, jti: &str, names: &[(&str, &str)]) -> usize {
        let mut claims = claims(self, jti);
        for (name, value) in names {
            claims[*name] = json!(value);
        }
        let answer = self.send(&signed(&good_header(), &claims)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        answer.ended
    }
}
