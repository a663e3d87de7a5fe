//! A site with the page mounted, and browsers that fill its forms.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.
#![allow(dead_code)] // Each test file uses a part of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{any, get};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::TokenStore;
use cloakroom::{CookiePolicy, Engine, Label, Subject};
use cloakroom_admin::{AdminPage, Administrator};
use cloakroom_testkit::ManualClock;
use tower::ServiceExt as _;

pub(crate) const AT: &str = "/admin/sessions";

/// Noon of the first of March 2026.
pub(crate) const NOON: u64 = 1_772_366_400_000;

pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
}

async fn administrator(session: Session, _: Parts) -> Result<Option<Administrator>, SessionError> {
    let is_root = session.subject().is_some_and(|who| who.as_str() == "root");
    Ok(is_root.then(|| Administrator::new("<root>")))
}

/// Logs in under a name, from a device, with a secret value.
async fn log_in(
    session: Session,
    Path((name, device)): Path<(String, String)>,
) -> Result<(), SessionError> {
    session.set_subject(Subject::new(name)?)?;
    session.set_label(Label::new(device)?)?;
    session.insert("secret", "a-value-of-the-session")?;
    Ok(())
}

/// Why the session before has ended.
async fn why(session: Session) -> String {
    match session.ended_because() {
        Some(ended) => {
            let note = ended.note.as_ref().map_or("", |note| note.as_str());
            format!("{}:{note}", ended.because)
        }
        None if session.subject().is_some() => "logged in".to_owned(),
        None => "nobody".to_owned(),
    }
}

impl Site {
    pub(crate) fn over<T: TokenStore>(store: T) -> Self {
        Self::with(store, |page| page)
    }

    pub(crate) fn with<T: TokenStore>(
        store: T,
        choose: impl FnOnce(AdminPage) -> AdminPage,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(cloakroom::Timestamp::from_millis(NOON)));
        let engine = Engine::builder(store)
            .cookie(CookiePolicy::loopback_http())
            .clock(clock.clone());
        let engine = engine.build().unwrap();
        let page = choose(AdminPage::new(engine.clone(), administrator));
        let router = Router::new()
            .route("/login/{name}/{device}", get(log_in))
            .route("/why", any(why))
            .nest(AT, page.into_router())
            .layer(SessionLayer::new(engine.clone()));
        Self {
            engine,
            clock,
            router,
        }
    }

    /// A browser that nobody is logged in with.
    pub(crate) fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: None,
            token: String::new(),
        }
    }

    /// A browser in which somebody logs in.
    pub(crate) async fn log_in(&self, name: &str, device: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.get(&format!("/login/{name}/{device}")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        self.clock.advance(Duration::from_secs(1));
        browser
    }

    /// The administrator's browser, which has seen the page.
    pub(crate) async fn root(&self) -> Browser {
        let mut browser = self.log_in("root", "office").await;
        browser.get(AT).await;
        browser
    }
}

#[derive(Clone)]
pub(crate) struct Browser {
    router: Router,
    pub(crate) cookie: Option<String>,
    /// The token of the page last seen that had one.
    pub(crate) token: String,
}

pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Seen {
        self.send("GET", path, &[], &[]).await
    }

    /// What the visitor of this browser is told.
    pub(crate) async fn why(&mut self) -> String {
        self.get("/why").await.text
    }

    /// Sends a form of the page last seen.
    pub(crate) async fn form(&mut self, fields: &[(&str, &str)]) -> Seen {
        let token = self.token.clone();
        let mut fields = fields.to_vec();
        fields.push(("token", &token));
        self.send("POST", AT, &[("sec-fetch-site", "same-origin")], &fields)
            .await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("session={cookie}"));
        }
        let mut body = Body::empty();
        if !fields.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
            body = Body::from(encode(fields));
        }
        let answer = self.router.clone().oneshot(request.body(body).unwrap());
        let (parts, body) = answer.await.unwrap().into_parts();
        for cookie in parts.headers.get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let value = pair.strip_prefix("session=").unwrap();
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| value.to_owned());
        }
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        if let Some((_, rest)) = text.split_once(r#"name="token" value=""#) {
            self.token = rest.split_once('"').unwrap().0.to_owned();
        }
        Seen {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }
}

fn encode(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        let bytes = text.bytes();
        bytes.map(|byte| format!("%{byte:02X}")).collect()
    };
    let pairs = fields.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}
