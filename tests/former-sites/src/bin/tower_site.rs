//! A site of tower-sessions: `tower_site PORT STORE [signed|private]`.

use std::collections::HashMap;
use std::error::Error;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use cloakroom_former_sites::{Visit, key};
use tower_sessions::cookie::Key;
use tower_sessions::cookie::time::Duration;
use tower_sessions::service::CookieController;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike as _, Config, Pool};
use tower_sessions_sqlx_store::sqlx::{MySqlPool, PgPool, SqlitePool};
use tower_sessions_sqlx_store::{MySqlStore, PostgresStore, SqliteStore};

type Outcome<T> = Result<T, Box<dyn Error>>;

async fn login(session: Session, Query(query): Query<HashMap<String, u64>>) -> &'static str {
    let visit = Visit::of(query["user"]);
    session
        .insert("user_id", visit.user)
        .await
        .expect("a number");
    session.insert("visit", visit).await.expect("a struct");
    "welcome"
}

async fn whoami(session: Session) -> String {
    let visit: Option<Visit> = session.get("visit").await.expect("a visit");
    visit.map_or_else(|| "nobody".into(), |visit| visit.to_string())
}

async fn logout(session: Session) -> &'static str {
    session.flush().await.expect("the store works");
    "bye"
}

async fn serve<S: SessionStore + Clone>(port: u16, store: S, protection: &str) -> Outcome<()> {
    let layer =
        SessionManagerLayer::new(store).with_expiry(Expiry::OnInactivity(Duration::hours(1)));
    let key = Key::from(&key());
    match protection {
        "plain" => listen(port, layer).await,
        "signed" => listen(port, layer.with_signed(key)).await,
        _ => listen(port, layer.with_private(key)).await,
    }
}

async fn listen<S, C>(port: u16, layer: SessionManagerLayer<S, C>) -> Outcome<()>
where
    S: SessionStore + Clone,
    C: CookieController + Sync,
{
    let app = Router::new()
        .route("/login", get(login))
        .route("/whoami", get(whoami))
        .route("/logout", get(logout))
        .layer(layer);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, app).await?)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let port = arguments[1].parse()?;
    let (url, protection) = (&arguments[2], arguments.get(3).map_or("plain", |text| text));
    match url.split(':').next().unwrap_or_default() {
        "sqlite" => {
            let store = SqliteStore::new(SqlitePool::connect(url).await?);
            store.migrate().await?;
            serve(port, store, protection).await
        }
        "postgres" => {
            let store = PostgresStore::new(PgPool::connect(url).await?);
            store.migrate().await?;
            serve(port, store, protection).await
        }
        "mysql" => {
            let store = MySqlStore::new(MySqlPool::connect(url).await?);
            store.migrate().await?;
            serve(port, store, protection).await
        }
        _ => {
            let pool = Pool::new(Config::from_url(url)?, None, None, None, 2)?;
            pool.init().await?;
            serve(port, RedisStore::new(pool), protection).await
        }
    }
}
