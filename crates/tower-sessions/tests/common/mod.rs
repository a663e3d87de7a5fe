//! The stores that the tests run over, and a browser that keeps one cookie.

#![allow(dead_code)] // Each binary takes some of it.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use cloakroom_core::store::SessionStore;
use cloakroom_memory::MemoryStore;
use cloakroom_redb::RedbStore;
use cloakroom_redis::RedisStore;
use cloakroom_sql::SqlStore;
use cloakroom_sqlite::SqliteStore;
use cloakroom_tower_sessions::{CloakroomStore, axum_login_subject};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A store, and the folder that it may lie in.
pub(crate) struct Opened<S> {
    pub(crate) store: CloakroomStore<S>,
    _folder: Option<TempDir>,
}

impl<S: SessionStore> Opened<S> {
    fn new(store: S, folder: Option<TempDir>) -> Option<Self> {
        let builder = CloakroomStore::builder(store);
        Some(Self {
            store: builder.subject(axum_login_subject).build(),
            _folder: folder,
        })
    }
}

pub(crate) async fn memory() -> Option<Opened<MemoryStore>> {
    Opened::new(MemoryStore::builder().build(), None)
}

pub(crate) async fn redb() -> Option<Opened<RedbStore>> {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path().join("sessions.redb")).unwrap();
    Opened::new(store, Some(folder))
}

pub(crate) async fn sqlite() -> Option<Opened<SqliteStore>> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("sessions.sqlite")).unwrap();
    Opened::new(store, Some(folder))
}

pub(crate) async fn postgres() -> Option<Opened<SqlStore>> {
    let server = cloakroom_servers::postgres()?;
    let store = SqlStore::connect(&server.url()).await.unwrap();
    store.migrate().await.unwrap();
    Opened::new(store, None)
}

pub(crate) async fn redis() -> Option<Opened<RedisStore>> {
    let server = cloakroom_servers::redis()?;
    Opened::new(RedisStore::connect(&server.url()).await.unwrap(), None)
}

/// An application, and the cookie that a browser of it holds.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) app: Router,
    pub(crate) cookie: Option<String>,
}

/// What a browser reads.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// The `Set-Cookie` of the response, whole.
    pub(crate) set_cookie: Option<String>,
    pub(crate) location: Option<String>,
}

impl Browser {
    pub(crate) fn new(app: Router) -> Self {
        Self { app, cookie: None }
    }

    pub(crate) fn with_cookie(&self, cookie: Option<String>) -> Self {
        let app = self.app.clone();
        Self { app, cookie }
    }

    /// The value of the cookie alone.
    pub(crate) fn id(&self) -> Option<&str> {
        Some(self.cookie.as_deref()?.split_once('=')?.1)
    }

    pub(crate) async fn get(&mut self, uri: &str) -> Page {
        self.send("GET", uri, "").await
    }

    pub(crate) async fn post(&mut self, uri: &str, form: &str) -> Page {
        self.send("POST", uri, form).await
    }

    /// Sends a request and does with its cookie what a browser does.
    pub(crate) async fn send(&mut self, method: &str, uri: &str, form: &str) -> Page {
        let page = self.answer(method, uri, form).await;
        if let Some(set) = &page.set_cookie {
            let pair = set.split(';').next().unwrap().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        page
    }

    /// Sends a request, as of another tab whose answer comes later.
    pub(crate) async fn answer(&self, method: &str, uri: &str, form: &str) -> Page {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form.to_owned())).unwrap();
        page(self.app.clone().oneshot(request).await.unwrap()).await
    }
}

async fn page(response: Response<Body>) -> Page {
    let (parts, body) = response.into_parts();
    let text = |name| {
        let value = parts.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    Page {
        status: parts.status,
        set_cookie: text(header::SET_COOKIE),
        location: text(header::LOCATION),
        text: String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap(),
    }
}
