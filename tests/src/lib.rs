//! What the tests of the workspace share: an HTTP server on a free port, and a browser
//! that keeps cookies.

pub mod device_walk;
pub mod embedded;
pub mod events_page;
pub mod in_process;
pub mod provider_walk;
pub mod reasons;
pub mod script;
pub mod tls;
pub mod waiting;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, Response, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An HTTP server on a free port of this machine. It stops when dropped.
#[derive(Debug)]
pub struct Site {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Site {
    /// Serves a router.
    ///
    /// # Panics
    /// Where this machine has no free port.
    pub async fn serve(router: Router) -> Self {
        Self::serve_by(async |listener| {
            let served = axum::serve(listener, router).await;
            served.expect("serving does not end");
        })
        .await
    }

    /// Serves whatever this does with what listens.
    ///
    /// # Panics
    /// Where this machine has no free port.
    pub async fn serve_by<F>(serve: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        Self {
            addr,
            task: tokio::spawn(serve(listener)),
        }
    }

    /// A browser that has never been here.
    #[must_use]
    pub fn browser(&self) -> Browser {
        Browser::at(self.addr)
    }
}

impl Browser {
    /// A browser that has never been anywhere, for what listens at this address.
    #[must_use]
    pub fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            jar: Arc::default(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A browser with a cookie jar. Clones share the jar, as tabs do.
#[derive(Clone, Debug)]
pub struct Browser {
    addr: SocketAddr,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
    client: Client<HttpConnector, Body>,
}

/// The response to a request.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

impl Reply {
    /// The values of a header, in order.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }
}

impl Browser {
    /// GETs a page with the jar's cookies.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path).await
    }

    /// POSTs to a page with the jar's cookies and no body.
    pub async fn post(&self, path: &str) -> Reply {
        self.send(Method::POST, path).await
    }

    /// Sends a request, and keeps the cookies of its reply in the order in
    /// which replies arrive.
    ///
    /// # Panics
    /// Where the site does not answer at all.
    pub async fn send(&self, method: Method, path: &str) -> Reply {
        let request = self.request(method, path).body(Body::empty());
        let request = request.expect("a plain request");
        let response = self.try_send(request).await;
        let (head, body) = response.expect("the site answers").into_parts();
        let body = body.collect().await.expect("the body arrives").to_bytes();
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// A request with the jar's cookies, for headers and a body of its own.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr));
        self.cookies()
            .into_iter()
            .fold(request, |request, cookies| request.header(COOKIE, cookies))
    }

    /// Sends a request as it is, and keeps the cookies of the response. Its body may still
    /// be on its way. Nothing where the site ends the connection without a response.
    pub async fn try_send(&self, request: Request<Body>) -> Option<Response<Incoming>> {
        let response = self.client.request(request).await.ok()?;
        for line in response.headers().get_all(SET_COOKIE) {
            self.keep(line.to_str().expect("cookies are text"));
        }
        Some(response)
    }

    fn jar(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.jar
            .lock()
            .expect("no test panics while it holds the jar")
    }

    /// Keeps the cookie of a `Set-Cookie` line, as if a reply with it arrived now.
    ///
    /// # Panics
    /// Where the line is no `Set-Cookie`.
    pub fn keep(&self, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').expect("a cookie is a pair");
        if attributes.contains("Max-Age=0") {
            self.jar().remove(name);
        } else {
            self.jar().insert(name.to_owned(), value.to_owned());
        }
    }

    /// The `Cookie` header it sends.
    #[must_use]
    pub fn cookies(&self) -> Option<String> {
        let jar = self.jar();
        let pairs: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// A cookie in the jar.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar().get(name).cloned()
    }

    /// Puts a cookie into the jar, as an attacker or an old tab would have.
    pub fn plant(&self, name: &str, value: &str) {
        self.jar().insert(name.to_owned(), value.to_owned());
    }

    /// Another browser, with a copy of the jar as it is now.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            jar: Arc::new(Mutex::new(self.jar().clone())),
            ..self.clone()
        }
    }
}
