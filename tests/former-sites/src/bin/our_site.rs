//! The site of Cloakroom that takes over: `our_site PORT STORE LIBRARY WHERE [signed|private]`.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Clock as _, CookiePolicy, Engine, Prefix, SystemClock};
use cloakroom_adopt::{
    CookieKey, MysqlTable, PostgresTable, RedisKeys, Source, SqliteTable, actix_cookie,
    actix_session, express_session, named, tower_sessions,
};
use cloakroom_former_sites::{Visit, key};

type Page<T> = Result<T, SessionError>;

async fn login(session: Session, Query(query): Query<HashMap<String, u64>>) -> Page<&'static str> {
    session.insert("visit", Visit::of(query["user"]))?;
    Ok("welcome")
}

async fn whoami(session: Session) -> Page<String> {
    let Some(visit) = session.get::<Visit>("visit")? else {
        return Ok("nobody".into());
    };
    let subject = session.subject().map(|subject| subject.as_str().to_owned());
    assert_eq!(subject, Some(visit.user.to_string()));
    Ok(visit.to_string())
}

async fn logout(session: Session) -> Page<&'static str> {
    session.flush()?;
    Ok("bye")
}

async fn source(library: &str, place: &str, protection: &str) -> Result<Source, Box<dyn Error>> {
    let cookie_key = CookieKey::from_bytes(&key())?;
    let source = match (library, place.split(':').next().unwrap_or_default()) {
        ("tower", "sqlite") => {
            let path = place.trim_start_matches("sqlite:").split('?').next();
            tower_sessions(SqliteTable::open(path.unwrap_or_default())?)
        }
        ("tower", "postgres") => {
            tower_sessions(PostgresTable::new(sqlx::PgPool::connect(place).await?))
        }
        ("tower", "mysql") => {
            tower_sessions(MysqlTable::new(sqlx::MySqlPool::connect(place).await?))
        }
        ("tower", _) => tower_sessions(RedisKeys::new(place)?),
        ("actix", "cookie") => {
            let day = Duration::from_secs(86_400);
            actix_cookie(cookie_key, SystemClock.now().saturating_add(day))
        }
        ("actix", _) => actix_session(RedisKeys::new(place)?, cookie_key),
        _ => {
            let cookie = CookiePolicy::builder()
                .prefix(Prefix::None)
                .name("connect.sid");
            express_session(RedisKeys::new(place)?, ["another", "former secret"])
                .cookie(cookie.insecure_over_http().build()?)
        }
    };
    let source = source.subject(named(["user_id"]));
    Ok(match protection {
        "signed" => source.signed(CookieKey::from_bytes(&key())?),
        "private" => source.private(CookieKey::from_bytes(&key())?),
        _ => source,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments[1].parse()?;
    let protection = arguments.get(5).map_or("", |text| text);
    let engine = Engine::builder(cloakroom::open(&arguments[2]).await?)
        .adopt(source(&arguments[3], &arguments[4], protection).await?)
        .build()?;
    let app = Router::new()
        .route("/login", get(login))
        .route("/whoami", get(whoami))
        .route("/logout", get(logout))
        .layer(SessionLayer::new(engine));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, app).await?)
}
