//! A site on axum-login, with its sessions in a store of Cloakroom.
//!
//! `cargo run -p cloakroom-examples --bin with_axum_login`, then <http://127.0.0.1:3000>:
//! ada's password is `engine`.
//!
//! Three lines are Cloakroom's, those that make the store. What the site gains by them, and what
//! it does not, is on the first page of `cloakroom-tower-sessions`.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_login::tower_sessions::SessionManagerLayer;
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, login_required};
use cloakroom_tower_sessions::{CloakroomStore, axum_login_subject};
use serde::Deserialize;

#[derive(Clone, Debug)]
struct User {
    id: u64,
    name: &'static str,
    password: &'static str,
}

const ADA: User = User {
    id: 1815,
    name: "ada",
    password: "engine",
};

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    /// A real site has the hash of the password here: another password ends all sessions.
    fn session_auth_hash(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

#[derive(Clone, Debug)]
struct Users;

#[derive(Clone, Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, Infallible> {
        let is_ada = given.name == ADA.name && given.password == ADA.password;
        Ok(is_ada.then_some(ADA))
    }

    async fn get_user(&self, id: &u64) -> Result<Option<User>, Infallible> {
        Ok((*id == ADA.id).then_some(ADA))
    }
}

type AuthSession = axum_login::AuthSession<Users>;

async fn login_page() -> Html<&'static str> {
    Html(
        "<form method=post>
        <label>Name <input name=name></label>
        <label>Password <input name=password type=password></label>
        <button>Log in</button></form>",
    )
}

async fn log_in(
    mut auth: AuthSession,
    Form(given): Form<Credentials>,
) -> Result<Response, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let Some(user) = auth.authenticate(given).await.map_err(failed)? else {
        return Err(StatusCode::UNAUTHORIZED);
    };
    auth.login(&user).await.map_err(failed)?;
    Ok(Redirect::to("/").into_response())
}

async fn account(auth: AuthSession) -> Html<String> {
    let name = auth.user.map_or("nobody", |user| user.name);
    Html(format!(
        "<p>You are {name}.
        <form method=post action=/logout><button>Log out</button></form>"
    ))
}

async fn log_out(mut auth: AuthSession) -> Result<Redirect, StatusCode> {
    let ended = auth.logout().await;
    ended.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Redirect::to("/login"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let store = cloakroom::open_session_store("redb:with_axum_login.redb").await?;
    let store = CloakroomStore::builder(store);
    // By whose they are, the store can list and end a user's sessions.
    let store = store.subject(axum_login_subject).build();
    let sessions = SessionManagerLayer::new(store);
    let app = Router::new()
        .route("/", get(account))
        .route_layer(login_required!(Users, login_url = "/login"))
        .route("/login", get(login_page).post(log_in))
        .route("/logout", post(log_out))
        .layer(AuthManagerLayerBuilder::new(Users, sessions).build());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
