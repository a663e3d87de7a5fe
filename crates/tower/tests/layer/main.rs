//! The layer around services of every kind: their bodies, their errors, and gRPC.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod errors;
mod failed_saves;
mod grpc;
mod requests;

use std::sync::Arc;

use cloakroom_core::session::Session;
use cloakroom_testkit::{FaultyStore, MapStore};
use cloakroom_tower::{Engine, RequestSession as _};
use http::{Request, Response};

/// A store that fails when a test says so.
type Store = Arc<FaultyStore<MapStore>>;

/// A new session of this engine, and the `Cookie` header that opens it.
async fn begin(engine: &Engine, fill: impl FnOnce(&Session)) -> String {
    let exchange = engine.exchange();
    let session = exchange.open([].into_iter()).await.unwrap();
    fill(&session);
    let closing = exchange.close(200).await;
    let cookie = closing.token_headers()[0].value();
    cookie.split(';').next().unwrap().to_owned()
}

/// What stands in the session that a `Cookie` header opens.
async fn look<T>(engine: &Engine, cookie: &str, at: impl FnOnce(&Session) -> T) -> T {
    let exchange = engine.exchange();
    let session = exchange.open([cookie.as_bytes()].into_iter()).await;
    at(&session.unwrap())
}

fn request(cookie: &str) -> Request<()> {
    let request = Request::get("/").header("cookie", cookie);
    request.body(()).unwrap()
}

async fn session_of<B>(request: &Request<B>) -> Session {
    request.session().await.unwrap()
}

fn cookies<B>(response: &Response<B>) -> Vec<&str> {
    let values = response.headers().get_all("set-cookie").into_iter();
    values.map(|value| value.to_str().unwrap()).collect()
}
