//! A site of actix-session: `actix_site PORT (REDIS_URL|cookie) [signed]`.

use std::collections::HashMap;
use std::error::Error;

use actix_session::config::{CookieContentSecurity, PersistentSession};
use actix_session::storage::{CookieSessionStore, RedisSessionStore, SessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::cookie::time::Duration;
use actix_web::web::{Query, get};
use actix_web::{App, HttpServer};
use cloakroom_former_sites::{Visit, key};

async fn login(session: Session, query: Query<HashMap<String, u64>>) -> &'static str {
    let visit = Visit::of(query["user"]);
    session.insert("user_id", visit.user).expect("a number");
    session.insert("visit", visit).expect("a struct");
    "welcome"
}

async fn whoami(session: Session) -> String {
    let visit: Option<Visit> = session.get("visit").expect("a visit");
    visit.map_or_else(|| "nobody".into(), |visit| visit.to_string())
}

async fn logout(session: Session) -> &'static str {
    session.purge();
    "bye"
}

/// `store` makes one for each of the server's threads.
async fn serve<S: SessionStore + 'static>(
    port: u16,
    store: impl Fn() -> S + Clone + Send + 'static,
    security: CookieContentSecurity,
) -> Result<(), Box<dyn Error>> {
    let site = move || {
        let lifetime = PersistentSession::default().session_ttl(Duration::hours(1));
        let sessions = SessionMiddleware::builder(store(), Key::from(&key()))
            .session_lifecycle(lifetime)
            .cookie_content_security(security)
            .build();
        App::new()
            .wrap(sessions)
            .route("/login", get().to(login))
            .route("/whoami", get().to(whoami))
            .route("/logout", get().to(logout))
    };
    let server = HttpServer::new(site).workers(2).bind(("127.0.0.1", port))?;
    Ok(server.run().await?)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let port = arguments[1].parse()?;
    let security = match arguments.get(3).map(String::as_str) {
        Some("signed") => CookieContentSecurity::Signed,
        _ => CookieContentSecurity::Private,
    };
    match arguments[2].as_str() {
        "cookie" => serve(port, CookieSessionStore::default, security).await,
        url => {
            let store = RedisSessionStore::new(url).await?;
            serve(port, move || store.clone(), security).await
        }
    }
}
