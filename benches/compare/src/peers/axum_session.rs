//! axum_session, in memory. Its store is private, and its sessions are made and found by
//! the middleware alone: whole requests are what can be compared.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum_session::{Session, SessionConfig, SessionLayer, SessionNullPool, SessionStore};

use crate::contender::Entry;
use crate::profile::{next_profile, next_stamp};
use crate::works::request::App;

type Handle = Session<SessionNullPool>;

async fn app() -> App {
    async fn login(session: Handle) {
        let profile = next_profile();
        session.set("user_id", profile.user_id);
        session.set("username", &profile.username);
        session.set("roles", &profile.roles);
        session.set("csrf", &profile.csrf);
        session.set("created", profile.created);
        session.set("cart", &profile.cart);
    }
    async fn read(session: Handle) -> StatusCode {
        let id: Option<u64> = session.get("user_id");
        let name: Option<String> = session.get("username");
        let is_whole = id.is_some() && name.is_some();
        if is_whole {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        }
    }
    async fn write(session: Handle) {
        session.set("created", next_stamp());
    }
    let store = SessionStore::<SessionNullPool>::new(None, SessionConfig::default());
    let routes = Router::new()
        .route("/login", get(login))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/none", get(async || ()));
    App::new(routes.layer(SessionLayer::new(store.await.unwrap())))
}

pub const ENTRIES: &[Entry] = &[("axum_session 0.22 memory", |run| run.web(app))];
