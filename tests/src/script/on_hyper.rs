//! The script's site on hyper alone, with the layer for any tower service.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use cloakroom::session::Session;
use cloakroom::tower::{NotLoggedIn, RequestSession as _, SessionError, SessionLayer, StepUp};
use cloakroom::{Aal, Engine, Subject};
use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

use super::{Meetings, WEBSOCKET_ACCEPT, pages};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Page = Result<Response<Body>, SessionError>;

/// Serves the site. It is to be run with two workers.
///
/// # Panics
/// Where the listener fails.
pub async fn serve(engine: Engine, listener: TcpListener) {
    let meetings = Meetings::default();
    let app = ServiceBuilder::new()
        .layer(SessionLayer::new(engine).step_up_page("/prove"))
        .service(service_fn(move |request| {
            let meetings = meetings.clone();
            async move { Ok::<_, Infallible>(answer(request, meetings).await) }
        }));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let app = TowerToHyperService::new(app.clone());
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), app);
        tokio::spawn(connection.with_upgrades());
    }
}

async fn answer(request: Request<Incoming>, meetings: Meetings) -> Response<Body> {
    let page = match early(&request).await {
        Some(page) => page,
        None => route(request, meetings).await,
    };
    page.unwrap_or_else(SessionError::into_response)
}

/// Answers in a handler's place, once without a look at the session.
async fn early(request: &Request<Incoming>) -> Option<Page> {
    let page = match request.uri().path() {
        "/early" => Ok(text("early")),
        "/early/read" => read(request).await,
        _ => return None,
    };
    Some(page.map(|page| with_status(403, page)))
}

async fn route(mut request: Request<Incoming>, meetings: Meetings) -> Page {
    let is_get = request.method() == Method::GET;
    let path = request.uri().path().to_owned();
    let (name, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    match (is_get, name, rest) {
        (true, "plain", "") => return Ok(text("plain")),
        (false, "meet", "") => {
            meetings.pair().await;
            return Ok(text("met"));
        }
        (true, "members", "") => return Ok(whose(request.logged_in().await)),
        (true, "vault", "") => {
            return Ok(whose(request.stepped_up(StepUp::AtLeast(Aal::Two)).await));
        }
        (true, "just-now", "") => {
            let now = StepUp::Fresh(Duration::ZERO);
            return Ok(whose(request.stepped_up(now).await));
        }
        (true, "socket", "") => return socket(&mut request).await,
        (true, "read", "") => return read(&request).await,
        (true, "cached", "") => return read(&request).await.map(for_all),
        _ => {}
    }
    let session = request.session().await?;
    match (is_get, name, rest) {
        (false, "count" | "unread", "") => Ok(text(pages::count(&session)?)),
        (false, "count-cached", "") => Ok(for_all(text(pages::count(&session)?))),
        (false, "status", code) => {
            pages::count(&session)?;
            Ok(with_status(code.parse().unwrap_or(404), text("status")))
        }
        (false, "too-long", "") => Ok(text(pages::too_long(&session)?)),
        (true, "whose", "") => Ok(text(pages::whose(&session))),
        (false, "login", name) => {
            let status = pages::login(&session, name)?;
            Ok(with_status(status, text("in")))
        }
        (false, "prove", "") => Ok(text(pages::prove(&session)?)),
        (false, "logout", "") => Ok(text(pages::logout(&session)?)),
        (false, "together", count) => {
            meetings.of(count.parse().unwrap_or_default()).await;
            Ok(text(pages::count(&session)?))
        }
        (false, "late", "") => {
            let mut page = text(pages::late(&session, &meetings).await?);
            let yes = HeaderValue::from_static("yes");
            page.headers_mut().insert("x-handler", yes);
            Ok(page)
        }
        (true, "stream", "") => {
            pages::count(&session)?;
            let body = pages::stream(session, meetings);
            let body = StreamBody::new(body.map(|chunk| chunk.map(Frame::data)));
            Ok(Response::new(body.boxed_unsync()))
        }
        (true, "panic", "") => {
            pages::count(&session)?;
            panic!("as a handler may")
        }
        _ => Ok(with_status(404, text("no such page"))),
    }
}

async fn read(request: &Request<Incoming>) -> Page {
    Ok(text(pages::read(&request.session().await?)?))
}

fn whose(visitor: Result<(Session, Subject), NotLoggedIn>) -> Response<Body> {
    match visitor {
        Ok((_, subject)) => text(subject.as_str().to_owned()),
        Err(error) => NotLoggedIn::into_response(error),
    }
}

async fn socket(request: &mut Request<Incoming>) -> Page {
    let session = request.session().await?;
    pages::count(&session)?;
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let upgraded = upgrade.await.expect("the client upgrades");
        pages::socket(session, TokioIo::new(upgraded)).await;
    });
    let mut page = with_status(101, Response::default());
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", WEBSOCKET_ACCEPT),
    ] {
        let value = HeaderValue::from_static(value);
        page.headers_mut().insert(name, value);
    }
    Ok(page)
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

fn with_status(code: u16, mut page: Response<Body>) -> Response<Body> {
    *page.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::NOT_FOUND);
    page
}

/// A page that is the same for all, if its handler is to be believed.
fn for_all(mut page: Response<Body>) -> Response<Body> {
    let headers = page.headers_mut();
    let control = HeaderValue::from_static("public, max-age=60");
    headers.insert("cache-control", control);
    let vary = HeaderValue::from_static("Accept-Language");
    headers.insert("vary", vary);
    page
}
