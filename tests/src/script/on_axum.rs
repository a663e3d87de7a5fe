//! The script's site on axum.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{RequestExt as _, Router};
use cloakroom::Engine;
use cloakroom::axum::{
    Aal2, AtLeast, Fresh, LoggedIn, Minutes, Session, SessionError, SessionLayer,
};
use hyper_util::rt::TokioIo;

use super::{Meetings, WEBSOCKET_ACCEPT, pages};

/// The site. It is to be served with two workers.
pub fn router(engine: Engine) -> Router {
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/read", get(read))
        .route("/cached", get(cached))
        .route("/count", post(count))
        .route("/count-cached", post(count_cached))
        .route("/status/{code}", post(status))
        .route("/too-long", post(too_long))
        .route("/whose", get(whose))
        .route("/members", get(members))
        .route("/vault", get(vault))
        .route("/just-now", get(just_now))
        .route("/prove", post(prove))
        .route("/login/{name}", post(login))
        .route("/logout", post(logout))
        .route("/meet", post(meet))
        .route("/together/{count}", post(together))
        .route("/late", post(late))
        .route("/stream", get(stream))
        .route("/panic", get(panic))
        .route("/unread", post(unread))
        .route("/socket", get(socket))
        .with_state(Meetings::default())
        .layer(from_fn(early))
        .layer(SessionLayer::new(engine).step_up_page("/prove"))
}

type Page<T = String> = Result<T, SessionError>;

async fn read(session: Session) -> Page {
    Ok(pages::read(&session)?)
}

async fn count(session: Session) -> Page {
    Ok(pages::count(&session)?)
}

const FOR_ALL: [(&str, &str); 2] = [
    ("cache-control", "public, max-age=60"),
    ("vary", "Accept-Language"),
];

async fn cached(session: Session) -> Page<([(&'static str, &'static str); 2], String)> {
    Ok((FOR_ALL, pages::read(&session)?))
}

async fn count_cached(session: Session) -> Page<([(&'static str, &'static str); 2], String)> {
    Ok((FOR_ALL, pages::count(&session)?))
}

async fn status(session: Session, Path(code): Path<u16>) -> Page<Response> {
    pages::count(&session)?;
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::NOT_FOUND);
    Ok((code, "status").into_response())
}

async fn too_long(session: Session) -> Page {
    Ok(pages::too_long(&session)?)
}

async fn whose(session: Session) -> String {
    pages::whose(&session)
}

async fn members(visitor: LoggedIn) -> String {
    visitor.subject().as_str().to_owned()
}

async fn vault(visitor: AtLeast<Aal2>, _: Fresh<Minutes<10>>) -> String {
    visitor.subject().as_str().to_owned()
}

async fn just_now(visitor: Fresh<Minutes<0>>) -> String {
    visitor.subject().as_str().to_owned()
}

async fn prove(session: Session) -> Page {
    Ok(pages::prove(&session)?)
}

async fn login(session: Session, Path(name): Path<String>) -> Page<(StatusCode, &'static str)> {
    let status = pages::login(&session, &name)?;
    let status = StatusCode::from_u16(status).unwrap_or_default();
    Ok((status, "in"))
}

async fn logout(session: Session) -> Page {
    Ok(pages::logout(&session)?)
}

async fn meet(meetings: State<Meetings>) -> &'static str {
    meetings.pair().await;
    "met"
}

async fn together(meetings: State<Meetings>, session: Session, count: Path<usize>) -> Page {
    meetings.of(*count).await;
    Ok(pages::count(&session)?)
}

async fn late(meetings: State<Meetings>, session: Session) -> Page<Response> {
    let text = pages::late(&session, &meetings).await?;
    Ok(([("x-handler", "yes")], text).into_response())
}

async fn stream(meetings: State<Meetings>, session: Session) -> Page<Response> {
    pages::count(&session)?;
    let body = pages::stream((*session).clone(), meetings.0);
    Ok(Body::from_stream(body).into_response())
}

async fn panic(session: Session) -> Page {
    pages::count(&session)?;
    panic!("as a handler may")
}

async fn unread(session: Session, _: Request) -> Page {
    Ok(pages::count(&session)?)
}

/// Answers in a handler's place, once without a look at the session.
async fn early(mut request: Request, next: Next) -> Response {
    let forbidden = StatusCode::FORBIDDEN;
    match request.uri().path() {
        "/early" => (forbidden, "early").into_response(),
        "/early/read" => match request.extract_parts::<Session>().await {
            Ok(session) => (forbidden, pages::read(&session).unwrap_or_default()).into_response(),
            Err(error) => error.into_response(),
        },
        _ => next.run(request).await,
    }
}

async fn socket(session: Session, mut request: Request) -> Page<Response> {
    pages::count(&session)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = upgrade.await.expect("the client upgrades");
        pages::socket((*session).clone(), TokioIo::new(upgraded)).await;
    });
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", WEBSOCKET_ACCEPT),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
