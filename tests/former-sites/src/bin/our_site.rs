//! The site of Cloakroom that takes over: `our_site PORT STORE LIBRARY WHERE
//! [signed|private|ENGINE]`, the last of Django.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Clock as _, CookiePolicy, Engine, ErrorKind, Prefix, SystemClock};
use cloakroom_adopt::{
    CookieKey, DjangoFiles, DjangoSessions, MysqlTable, PostgresTable, RedisKeys, Source,
    SqliteTable, actix_cookie, actix_session, django_cookie, django_sessions, express_session,
    named, tower_sessions,
};
use cloakroom_former_sites::{Visit, key};
use rusqlite::OptionalExtension as _;
use sqlx::{AssertSqlSafe, Connection as _};

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

/// What Django's table of users says, wherever it lies.
async fn password_of(place: String, user: String) -> Result<Option<String>, cloakroom::Error> {
    let found = users(place, user.parse().ok()).await;
    found.map_err(|error| {
        let why = format!("the users do not answer: {error}");
        cloakroom::Error::new(ErrorKind::Unavailable, why)
    })
}

async fn users(
    place: String,
    user: Option<i32>,
) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
    let sql = "select password from auth_user where is_active and id = ";
    if let Some(path) = sqlite_path(&place) {
        let users = rusqlite::Connection::open(path)?;
        let row = users.query_row(&format!("{sql}?1"), [user], |row| row.get(0));
        return Ok(row.optional()?);
    }
    if place.starts_with("mysql:") {
        let mut users = sqlx::MySqlConnection::connect(&place).await?;
        let query = sqlx::query_scalar(AssertSqlSafe(format!("{sql}?"))).bind(user);
        return Ok(query.fetch_optional(&mut users).await?);
    }
    let mut users = sqlx::PgConnection::connect(&place).await?;
    let query = sqlx::query_scalar(AssertSqlSafe(format!("{sql}$1"))).bind(user);
    Ok(query.fetch_optional(&mut users).await?)
}

fn sqlite_path(place: &str) -> Option<&str> {
    place.strip_prefix("sqlite:")?.split('?').next()
}

async fn django(place: &str, engine: &str) -> Result<DjangoSessions, Box<dyn Error>> {
    let secrets = ["newer secret", "former secret"];
    let users = place.to_owned();
    let password_of = move |user| password_of(users.clone(), user);
    if engine == "signed_cookies" {
        return Ok(django_cookie(secrets, password_of));
    }
    if let ("file", Some(path)) = (engine, sqlite_path(place)) {
        let files = DjangoFiles::open(format!("{path}.sessions"), "sessionid")?;
        return Ok(django_sessions(files, secrets, password_of));
    }
    Ok(match (sqlite_path(place), place.starts_with("mysql:")) {
        (Some(path), _) => django_sessions(SqliteTable::django(path)?, secrets, password_of),
        (None, true) => {
            let pool = sqlx::MySqlPool::connect(place).await?;
            django_sessions(MysqlTable::django(pool), secrets, password_of)
        }
        (None, false) => {
            let pool = sqlx::PgPool::connect(place).await?;
            django_sessions(PostgresTable::django(pool), secrets, password_of)
        }
    })
}

async fn source(library: &str, place: &str, protection: &str) -> Result<Source, Box<dyn Error>> {
    let cookie_key = CookieKey::from_bytes(&key())?;
    let source = match (library, place.split(':').next().unwrap_or_default()) {
        ("tower", "sqlite") => {
            tower_sessions(SqliteTable::open(sqlite_path(place).unwrap_or_default())?)
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
    let engine = Engine::builder(cloakroom::open(&arguments[2]).await?);
    let engine = match arguments[3].as_str() {
        "django" => engine.adopt(django(&arguments[4], protection).await?),
        library => engine.adopt(source(library, &arguments[4], protection).await?),
    };
    let engine = engine.build()?;
    let app = Router::new()
        .route("/login", get(login))
        .route("/whoami", get(whoami))
        .route("/logout", get(logout))
        .layer(SessionLayer::new(engine));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, app).await?)
}
