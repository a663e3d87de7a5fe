//! An API for scripts of another site: a token in a header instead of a cookie, and CORS.
//!
//! `cargo run -p cloakroom-examples --bin api`, then
//!
//! ```sh
//! curl -i -H 'content-type: application/json' -d '{"name": "ada", "password": "engine"}' \
//!     http://127.0.0.1:3000/login
//! curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:3000/me
//! ```

use axum::Router;
use axum::extract::{Json, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer};
use cloakroom::{BearerPolicy, Engine, Subject};
use serde::Deserialize;
use serde_json::{Value, json};

/// The site whose scripts may call this API.
const SHOP: &str = "https://shop.example";

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

/// Answers with the token in the header `x-session-token`. The client keeps it, and takes the
/// one of any later response that has that header.
async fn log_in(session: Session, given: Json<Credentials>) -> Result<Response, SessionError> {
    // A real site asks its database, and compares hashes, by a crate such as argon2.
    if given.name != "ada" || given.password != "engine" {
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    }
    session.set_subject(Subject::new("1815")?)?;
    Ok(Json(json!({ "user_id": "1815" })).into_response())
}

async fn me(visitor: LoggedIn) -> Json<Value> {
    Json(json!({ "user_id": visitor.subject().as_str() }))
}

async fn log_out(session: Session) -> Result<StatusCode, SessionError> {
    session.flush()?;
    Ok(StatusCode::NO_CONTENT)
}

/// What tower-http's `CorsLayer` does, in short. Without cookies there are no credentials to
/// allow: a script must have been given the token.
async fn cors(request: Request, next: Next) -> Response {
    let asks_first = request.method() == Method::OPTIONS;
    let mut response = if asks_first {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
    say(header::ACCESS_CONTROL_ALLOW_ORIGIN, SHOP);
    if asks_first {
        say(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
        let sent = "authorization, content-type";
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, sent);
    }
    // A script sees no header of another site that is not named here.
    say(header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-session-token");
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let store = cloakroom::open("memory:").await?;
    let engine = Engine::builder(store).bearer(BearerPolicy::default());
    let app = Router::new()
        .route("/login", post(log_in))
        .route("/me", get(me))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(engine.build()?))
        // Outermost, so that errors have its headers too.
        .layer(from_fn(cors));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
