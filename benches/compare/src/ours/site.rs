//! The application of W4, with the layer's defaults: two weeks idle, 30 days at most.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use cloakroom::Engine;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::engine::TokenStore;

use super::session::fill;
use crate::profile::{next_profile, next_stamp};
use crate::works::request::App;

pub fn app(store: impl TokenStore) -> App {
    let router = Router::new()
        .route("/login", get(login))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/none", get(async || ()))
        .layer(SessionLayer::new(Engine::new(store)));
    App::new(router)
}

async fn login(session: Session) -> Result<(), SessionError> {
    Ok(fill(&session, next_profile())?)
}

async fn read(session: Session) -> Result<StatusCode, SessionError> {
    let id: Option<u64> = session.get("user_id")?;
    let name: Option<String> = session.get("username")?;
    let is_whole = id.is_some() && name.is_some();
    Ok(if is_whole {
        StatusCode::OK
    } else {
        StatusCode::FORBIDDEN
    })
}

async fn write(session: Session) -> Result<(), SessionError> {
    Ok(session.insert("created", next_stamp())?)
}
