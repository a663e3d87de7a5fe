//! One script of requests, for a site on any framework: the same routes, the same
//! answers, over real HTTP.
//!
//! A framework's site has the [engine] of the script and the routes below, each as that
//! framework's users would write it; what a handler does with its session is in [`pages`].
//! [`run`] walks through all of it and panics at the first answer that differs.
//! [`on_axum`], [`on_actix`] and [`on_hyper`] are sites to look at.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /plain` | never opens its session; answers `plain` |
//! | `GET /read` | answers the number `n`, or `-` ([`pages::read`]) |
//! | `GET /cached` | reads `n`; says `Cache-Control: public, max-age=60` and `Vary: Accept-Language` |
//! | `POST /count` | adds 1 to `n`, and answers it ([`pages::count`]) |
//! | `POST /count-cached` | the same, with the two headers of `/cached` |
//! | `POST /status/{code}` | counts, and answers `status` with that status |
//! | `POST /too-long` | counts, then fails at its session: the error goes up by `?` ([`pages::too_long`]) |
//! | `GET /whose` | answers the subject, or `nobody` ([`pages::whose`]) |
//! | `GET /members` | the subject, by the framework's extractor of who is logged in; 401 for others |
//! | `GET /vault` | the subject, to a login of level two within ten minutes; others are sent to `/prove?next=…`, or get a 403 |
//! | `GET /just-now` | the same, to a login that is younger than it can be |
//! | `POST /prove` | says that the visitor has proved again who they are, at level two ([`pages::prove`]) |
//! | `POST /login/{name}` | logs in; with status 500 where the name is `failing` ([`pages::login`]) |
//! | `POST /logout` | flushes ([`pages::logout`]) |
//! | `POST /meet` | opens no session; waits until a second request waits ([`Meetings::pair`]) |
//! | `POST /together/{count}` | opens its session, waits until `2` or `128` requests do, counts ([`Meetings::of`]) |
//! | `POST /late` | opens its session, meets two other requests in turn, then counts, with a header `x-handler: yes` ([`pages::late`]) |
//! | `GET /stream` | counts, and answers with a body that goes on after the head has left ([`pages::stream`]) |
//! | `GET /panic` | counts, then panics |
//! | `POST /unread` | counts, and answers without a look at the body |
//! | `GET /early` | has no handler: a middleware within the session's answers 403 `early` |
//! | `GET /early/read` | the same, and that middleware opens the session and answers 403 with `n` |
//! | `GET /socket` | counts, and becomes a WebSocket ([`pages::socket`]) |
//!
//! The script's own client sends `sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==`, the one of
//! RFC 6455, so a site may answer with [`WEBSOCKET_ACCEPT`] and compute nothing.
//!
//! A site runs on two workers.

mod connections;
mod middleware;
pub mod on_actix;
pub mod on_axum;
pub mod on_hyper;
mod overlap;
pub mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::{AnyStore, Engine};
use tokio::sync::Barrier;

use crate::{Browser, Reply};

/// The name of the cookie.
pub const COOKIE: &str = "__Host-session";

/// What a server answers to the client's `sec-websocket-key`.
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The engine of a site, over any store.
#[must_use]
pub fn engine(store: AnyStore) -> Engine {
    Engine::new(store)
}

/// All of the script, at the site that listens there.
///
/// # Panics
/// At the first answer that is not what it should be.
pub async fn run(site: SocketAddr) {
    middleware::run(site).await;
    overlap::run(site).await;
    connections::run(site).await;
    increments(site).await;
}

/// The last part of the script alone, for further stores: 128 requests of one session, all
/// of which have loaded it before the first one writes. Each counts.
///
/// # Panics
/// Where one does not.
pub async fn increments(site: SocketAddr) {
    overlap::each_counts(site, 128).await;
}

/// Where handlers wait for each other, so that their requests overlap for certain. A site
/// has one, which all its workers share.
#[derive(Clone, Debug)]
pub struct Meetings {
    pair: Arc<Barrier>,
    many: Arc<Barrier>,
}

impl Default for Meetings {
    fn default() -> Self {
        Self {
            pair: Arc::new(Barrier::new(2)),
            many: Arc::new(Barrier::new(128)),
        }
    }
}

impl Meetings {
    /// Waits until two requests wait here.
    ///
    /// # Panics
    /// Where the other one does not come.
    pub async fn pair(&self) {
        wait(&self.pair).await;
    }

    /// Waits until so many requests wait here: 2 or 128.
    ///
    /// # Panics
    /// Where they do not come, and for any other number.
    pub async fn of(&self, count: usize) {
        match count {
            2 => wait(&self.pair).await,
            128 => wait(&self.many).await,
            _ => panic!("requests meet by 2 or by 128, and not by {count}"),
        }
    }
}

async fn wait(at: &Barrier) {
    let met = tokio::time::timeout(Duration::from_secs(60), at.wait()).await;
    met.expect("the other requests come within a minute");
}

/// What an answer says of the session, beside its status and body.
fn told(reply: &Reply) -> [&str; 3] {
    ["vary", "cache-control", "set-cookie"].map(|name| match reply.header(name)[..] {
        [] => "",
        ["Cookie"] => "cookie",
        // The middle of a token's cookie is of no interest here.
        [value] if name == "set-cookie" && value.contains("Max-Age=0;") => "removed",
        [_] if name == "set-cookie" => "set",
        [value] => value,
        ref values => panic!("{name}: {values:?}"),
    })
}

/// What stands in the session of this browser.
async fn number(browser: &Browser) -> String {
    let reply = browser.get("/read").await;
    assert_eq!(reply.status, 200);
    reply.body
}
