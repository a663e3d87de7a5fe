//! Cloakroom on warp: the layer stands around the service that warp makes of its filters,
//! and a filter finds the session of the request.
//!
//! `cargo run --bin warp 127.0.0.1:3000`

use cloakroom::engine::Exchange;
use cloakroom::session::Session;
use cloakroom::tower::{SessionError, SessionLayer, open};
use cloakroom::{CookiePolicy, Engine, Subject};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tower::ServiceBuilder;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply as _, Response, with_status};
use warp::{Filter, Rejection};

type Opened = Result<Session, SessionError>;

/// The session of the request, or why it could not be loaded.
fn session() -> impl Filter<Extract = (Opened,), Error = Rejection> + Clone {
    let exchange = warp::ext::get::<Exchange>();
    let headers = warp::header::headers_cloned();
    exchange
        .and(headers)
        .then(async |exchange: Exchange, headers: HeaderMap| open(&exchange, &headers).await)
}

fn read(session: Opened) -> Result<String, SessionError> {
    let session = session?;
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    let who = session.subject();
    let who = who.map_or_else(|| "nobody".to_owned(), |who| who.as_str().to_owned());
    Ok(format!("{who} {visits}"))
}

fn count(session: Opened) -> Result<String, SessionError> {
    let session = session?;
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    read(Ok(session))
}

fn login(name: String, session: Opened) -> Result<String, SessionError> {
    let session = session?;
    session.set_subject(Subject::new(name)?)?;
    read(Ok(session))
}

fn logout(session: Opened) -> Result<String, SessionError> {
    session?.flush()?;
    Ok("bye".to_owned())
}

fn page(text: Result<String, SessionError>) -> Response {
    match text {
        Ok(text) => text.into_response(),
        Err(error) => error.into_response(),
    }
}

/// Counts, and fails: what it has counted is dropped.
fn fail(session: Opened) -> Response {
    let page = page(count(session));
    with_status(page, StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

fn routes() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let get = warp::path::end().and(warp::get());
    let get = get.and(session()).map(|session| page(read(session)));
    let post = |name: &'static str| warp::path(name).and(warp::post()).and(session());
    let by_name = warp::path!("login" / String).and(warp::post());
    let by_name = by_name.and(session());
    get.or(post("count").map(|session| page(count(session))))
        .unify()
        .or(post("logout").map(|session| page(logout(session))))
        .unify()
        .or(post("fail").map(fail))
        .unify()
        .or(by_name.map(|name, session| page(login(name, session))))
        .unify()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = cloakroom::open("memory:").await?;
    // The sites of these examples speak plain http.
    let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
    let app = ServiceBuilder::new()
        .layer(SessionLayer::new(engine.build()?))
        .service(warp::service(routes()));
    let addr = std::env::args().nth(1);
    let addr = addr.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), app));
    }
}
