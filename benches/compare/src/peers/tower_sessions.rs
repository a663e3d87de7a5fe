//! tower-sessions: 0.15 with its own memory store, 0.14 with the stores that still need it.

use std::path::Path;

use tempfile::tempdir;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{Client, ClientLike as _, Config};
use tower_sessions_sqlx_store::{SqliteStore, sqlx};

use crate::contender::Entry;
use crate::redis;
use crate::works::request::App;

/// The same adapter for each version, whose types are not the same.
macro_rules! adapter {
    ($name:ident, $version:ident) => {
        mod $name {
            use std::collections::HashMap;

            use axum::Router;
            use axum::http::StatusCode;
            use axum::routing::get;
            use time::{Duration, OffsetDateTime};
            use $version::session::{Expiry, Id, Record};
            use $version::{Session, SessionManagerLayer, SessionStore};

            use crate::contender::Contender;
            use crate::profile::{Profile, next_profile, next_stamp};

            pub struct Store<S> {
                pub store: S,
                pub fillers: usize,
            }

            impl<S: SessionStore> Contender for Store<S> {
                type Key = Id;
                type Rec = Record;

                fn fillers(&self) -> usize {
                    self.fillers
                }
                fn encode(&self, profile: &Profile) -> Record {
                    Record {
                        id: Id(0),
                        data: profile.values().collect::<HashMap<_, _>>(),
                        expiry_date: OffsetDateTime::UNIX_EPOCH,
                    }
                }
                fn decode(&self, mut rec: Record) -> Profile {
                    Profile::from_values(|key| rec.data.remove(key).unwrap())
                }
                fn touch(&self, rec: &mut Record, stamp: u64) {
                    rec.data.insert("created".to_owned(), stamp.into());
                }
                async fn create(&self, mut rec: Record) -> Id {
                    rec.id = Id::default();
                    rec.expiry_date = OffsetDateTime::now_utc() + Duration::weeks(2);
                    self.store.create(&mut rec).await.unwrap();
                    rec.id
                }
                async fn load(&self, key: &Id) -> Option<Record> {
                    self.store.load(key).await.unwrap()
                }
                async fn save(&self, _: &Id, rec: Record) {
                    self.store.save(&rec).await.unwrap()
                }
            }

            /// The application, with the layer's defaults and a lifetime of two weeks.
            pub fn router(store: impl SessionStore + Clone) -> Router {
                async fn login(session: Session) {
                    let profile = next_profile();
                    session.insert("user_id", profile.user_id).await.unwrap();
                    session.insert("username", &profile.username).await.unwrap();
                    session.insert("roles", &profile.roles).await.unwrap();
                    session.insert("csrf", &profile.csrf).await.unwrap();
                    session.insert("created", profile.created).await.unwrap();
                    session.insert("cart", &profile.cart).await.unwrap();
                }
                async fn read(session: Session) -> StatusCode {
                    let id: Option<u64> = session.get("user_id").await.unwrap();
                    let name: Option<String> = session.get("username").await.unwrap();
                    let is_whole = id.is_some() && name.is_some();
                    if is_whole {
                        StatusCode::OK
                    } else {
                        StatusCode::FORBIDDEN
                    }
                }
                async fn write(session: Session) {
                    session.insert("created", next_stamp()).await.unwrap();
                }
                let expiry = Expiry::OnInactivity(Duration::weeks(2));
                Router::new()
                    .route("/login", get(login))
                    .route("/read", get(read))
                    .route("/write", get(write))
                    .route("/none", get(async || ()))
                    .layer(SessionManagerLayer::new(store).with_expiry(expiry))
            }
        }
    };
}

adapter!(v15, tower_sessions);
adapter!(v14, tower_sessions_014);

/// SQLite as one would run it for sessions: a write-ahead log, no sync at every commit.
async fn sqlite(folder: &Path) -> SqliteStore {
    use sqlx::sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    };
    let options = SqliteConnectOptions::new()
        .filename(folder.join("sessions"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options);
    let store = SqliteStore::new(pool.await.unwrap());
    store.migrate().await.unwrap();
    store
}

async fn redis() -> RedisStore<Client> {
    redis::flush();
    let url = format!("redis://{}", redis::address().unwrap());
    let client = Client::new(Config::from_url(&url).unwrap(), None, None, None);
    client.init().await.unwrap();
    RedisStore::new(client)
}

pub const ENTRIES: &[Entry] = &[
    ("tower-sessions 0.15 memory", |run| {
        use ::tower_sessions::MemoryStore;
        let fillers = 1;
        run.store(async || {
            let store = MemoryStore::default();
            v15::Store { store, fillers }
        });
        run.web(async || App::new(v15::router(MemoryStore::default())));
    }),
    ("tower-sessions 0.14 sqlite", |run| {
        let (fillers, all) = (1, tempdir().unwrap());
        run.store(async || {
            // A database of its own each time, which goes with all of them.
            let folder = tempfile::tempdir_in(all.path()).unwrap().keep();
            let store = sqlite(&folder).await;
            v14::Store { store, fillers }
        });
        let folder = tempdir().unwrap();
        run.web(async || App::new(v14::router(sqlite(folder.path()).await)));
    }),
    ("tower-sessions 0.14 redis", |run| {
        let fillers = 32;
        run.store(async || {
            let store = redis().await;
            v14::Store { store, fillers }
        });
        run.web(async || App::new(v14::router(redis().await)));
    }),
];
