//! A browser over the router: one cookie, forms that carry their page's token.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.
#![allow(dead_code)] // Each test file uses a part of it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use cloakroom::Engine;
use cloakroom::engine::{Cost, TokenStore};
use cloakroom_demo::{Accounts, engine, site};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "correct horse";

/// The site over a store, with a folder that goes with it.
pub(crate) struct Site {
    pub(crate) router: Router,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::over(cloakroom::open("memory:").await.unwrap())
    }

    pub(crate) fn over<T: TokenStore>(store: T) -> Self {
        Self::of(engine(store).unwrap())
    }

    pub(crate) fn of(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Arc::new(Accounts::open(folder.path()).unwrap());
        Self {
            router: site(engine, accounts),
            folder,
        }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: None,
            token: None,
        }
    }
}

pub(crate) struct Browser {
    router: Router,
    pub(crate) cookie: Option<String>,
    /// The token of the page last seen, as long as it had one.
    pub(crate) token: Option<String>,
}

pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) cost: Option<Cost>,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn location(&self) -> &str {
        self.header("location")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The ticket's big word.
    pub(crate) fn stub(&self) -> &str {
        let (_, rest) = self.text.split_once(r#"<p class="stub">"#).unwrap();
        let (_, rest) = rest.split_once("<b>").unwrap();
        rest.split_once("</b>").unwrap().0
    }
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Seen {
        self.send("GET", path, &[], &[]).await
    }

    /// Sends a form of the page last seen.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let headers = [("sec-fetch-site", "same-origin")];
        let token = self.token.clone();
        let mut fields = fields.to_vec();
        fields.extend(token.as_deref().map(|token| ("csrf", token)));
        self.send("POST", path, &headers, &fields).await
    }

    /// Sends a form, and looks at the page that it leads to.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let location = answer.location().to_owned();
        self.get(&location).await
    }

    /// Registers, or logs in, by the path.
    pub(crate) async fn enter(&mut self, path: &str, name: &str) -> Seen {
        self.get(path).await;
        self.submit(path, &[("name", name), ("password", PASSWORD)])
            .await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Seen {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:8000")
            .header(
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64) Firefox/125.0",
            );
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; session={cookie}"));
        }
        let body = match method {
            "POST" => {
                request = request.header("content-type", "application/x-www-form-urlencoded");
                Body::from(encode(fields))
            }
            _ => Body::empty(),
        };
        let answer = self.router.clone().oneshot(request.body(body).unwrap());
        let answer = answer.await.unwrap();
        self.take_cookie(answer.headers());
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        if parts.status == StatusCode::OK {
            self.token = token_of(&text);
        }
        Seen {
            status: parts.status,
            cost: parts.extensions.get::<Cost>().copied(),
            headers: parts.headers,
            text,
        }
    }

    fn take_cookie(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            let (pair, attributes) = text.split_once(';').unwrap();
            let value = pair.strip_prefix("session=").unwrap();
            let is_removal = attributes.contains("Max-Age=0");
            self.cookie = (!is_removal).then(|| value.to_owned());
        }
    }
}

fn token_of(page: &str) -> Option<String> {
    let (_, rest) = page.split_once(r#"name="csrf" value=""#)?;
    Some(rest.split_once('"')?.0.to_owned())
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
