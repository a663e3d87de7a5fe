//! Cloakroom on poem: a middleware gives the endpoints within it their sessions.
//!
//! `cargo run --bin poem 127.0.0.1:3000`

use cloakroom::session::Session;
use cloakroom::tower::{RequestSession as _, SessionError, edit_headers};
use cloakroom::{CookiePolicy, Engine, Error, Subject};
use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::listener::TcpListener;
use poem::web::Path;
use poem::{Endpoint, EndpointExt as _, Request, Response, Route, Server, get, handler, post};

/// The middleware: an exchange for each request, closed before the headers leave.
async fn sessions(engine: Engine, next: impl Endpoint, mut request: Request) -> Response {
    let exchange = engine.exchange();
    request.set_data(exchange.clone());
    // An error becomes its response here, so that this carries the cookie too.
    let mut response = next.get_response(request).await;
    let closing = exchange.close(response.status().as_u16()).await;
    if let Some(error) = &closing.failure {
        // Nothing of the handler's is left.
        let status = SessionError::from(error.clone()).status();
        response = Response::builder().status(status).finish();
    }
    edit_headers(&closing, response.headers_mut());
    response
}

/// A session error, as a handler returns it. Its text says nothing of the store.
#[derive(Debug)]
struct Failed(SessionError);

impl<E: Into<SessionError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

impl ResponseError for Failed {
    fn status(&self) -> StatusCode {
        self.0.status()
    }
}

async fn session(request: &Request) -> Result<Session, SessionError> {
    (request.extensions(), request.headers()).session().await
}

fn text(session: &Session) -> Result<String, Error> {
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    let who = session.subject();
    let who = who.map_or_else(|| "nobody".to_owned(), |who| who.as_str().to_owned());
    Ok(format!("{who} {visits}"))
}

#[handler]
async fn read(request: &Request) -> Result<String, Failed> {
    Ok(text(&session(request).await?)?)
}

#[handler]
async fn count(request: &Request) -> Result<String, Failed> {
    let session = session(request).await?;
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(text(&session)?)
}

#[handler]
async fn login(request: &Request, Path(name): Path<String>) -> Result<String, Failed> {
    let session = session(request).await?;
    session.set_subject(Subject::new(name)?)?;
    Ok(text(&session)?)
}

#[handler]
async fn logout(request: &Request) -> Result<&'static str, Failed> {
    session(request).await?.flush()?;
    Ok("bye")
}

/// Counts, and fails: what it has counted is dropped.
#[handler]
async fn fail(request: &Request) -> Result<StatusCode, Failed> {
    let session = session(request).await?;
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = cloakroom::open("memory:").await?;
    // The sites of these examples speak plain http.
    let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
    let engine = engine.build()?;
    let app = Route::new()
        .at("/", get(read))
        .at("/count", post(count))
        .at("/login/:name", post(login))
        .at("/logout", post(logout))
        .at("/fail", post(fail))
        .around(move |next, request| {
            let engine = engine.clone();
            async move { Ok(sessions(engine, next, request).await) }
        });
    let addr = std::env::args().nth(1);
    let addr = addr.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    Server::new(TcpListener::bind(addr)).run(app).await?;
    Ok(())
}
