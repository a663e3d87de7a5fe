//! Cloakroom on salvo: a hoop gives the handlers below it their sessions.
//!
//! `cargo run --bin salvo 127.0.0.1:3000`

use cloakroom::tower::{RequestSession as _, SessionError, edit_headers};
use cloakroom::{CookiePolicy, Engine, Error, Subject};
use salvo::http::ResBody;
use salvo::prelude::*;

/// The hoop: an exchange for each request, closed before the headers leave.
struct Sessions(Engine);

#[async_trait]
impl Handler for Sessions {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        control: &mut FlowCtrl,
    ) {
        let exchange = self.0.exchange();
        request.extensions_mut().insert(exchange.clone());
        control.call_next(request, depot, response).await;
        let status = response.status_code.unwrap_or_default();
        let closing = exchange.close(status.as_u16()).await;
        if let Some(error) = &closing.failure {
            // Nothing of the handler's is left.
            response.headers_mut().clear();
            response.replace_body(ResBody::None);
            response.status_code(SessionError::from(error.clone()).status());
        }
        edit_headers(&closing, response.headers_mut());
    }
}

/// A session error, as a handler returns it.
struct Failed(SessionError);

impl<E: Into<SessionError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[async_trait]
impl Writer for Failed {
    async fn write(self, _: &mut Request, _: &mut Depot, response: &mut Response) {
        let logged = self.0.into_response::<()>();
        response.status_code(logged.status());
    }
}

async fn session(request: &Request) -> Result<cloakroom::session::Session, SessionError> {
    (request.extensions(), request.headers()).session().await
}

fn text(session: &cloakroom::session::Session) -> Result<String, Error> {
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    let who = session.subject();
    let who = who.map_or_else(|| "nobody".to_owned(), |who| who.as_str().to_owned());
    Ok(format!("{who} {visits}"))
}

#[handler]
async fn read(request: &mut Request) -> Result<String, Failed> {
    Ok(text(&session(request).await?)?)
}

#[handler]
async fn count(request: &mut Request) -> Result<String, Failed> {
    let session = session(request).await?;
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(text(&session)?)
}

#[handler]
async fn login(request: &mut Request) -> Result<String, Failed> {
    let session = session(request).await?;
    let name: String = request.param("name").unwrap_or_default();
    session.set_subject(Subject::new(name)?)?;
    Ok(text(&session)?)
}

#[handler]
async fn logout(request: &mut Request) -> Result<&'static str, Failed> {
    session(request).await?.flush()?;
    Ok("bye")
}

/// Counts, and fails: what it has counted is dropped.
#[handler]
async fn fail(request: &mut Request, response: &mut Response) -> Result<&'static str, Failed> {
    let session = session(request).await?;
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    response.status_code(StatusCode::INTERNAL_SERVER_ERROR);
    Ok("failed")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = cloakroom::open("memory:").await?;
    // The sites of these examples speak plain http.
    let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
    let router = Router::new()
        .hoop(Sessions(engine.build()?))
        .get(read)
        .push(Router::with_path("count").post(count))
        .push(Router::with_path("login/{name}").post(login))
        .push(Router::with_path("logout").post(logout))
        .push(Router::with_path("fail").post(fail));
    let addr = std::env::args().nth(1);
    let addr = addr.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let acceptor = TcpListener::new(addr).bind().await;
    Server::new(acceptor).serve(router).await;
    Ok(())
}
