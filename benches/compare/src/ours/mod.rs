//! Cloakroom: each store by the trait that a backend implements, whole requests through
//! the axum layer, and sessions in the cookie.

mod cookies;
mod keyed;
mod raw;
mod session;
mod site;

use std::path::Path;
use std::time::Duration;

use cloakroom::open;
use cloakroom::stores::{
    Cached, MemoryStore, RedbStore, RedisStore, SledStore, SqliteStore, Synchronous,
};
use tempfile::{TempDir, tempdir};

use self::cookies::Cookies;
use self::keyed::Keyed;
use crate::contender::{Entry, Run};
use crate::redis;

/// So long that every load is a hit.
const STALE: Duration = Duration::from_secs(3_600);

/// Room for every session of every work: the default of 64 MiB holds some 80,000.
fn memory() -> MemoryStore {
    MemoryStore::builder().capacity_bytes(16 << 30).build()
}

fn folder() -> TempDir {
    tempdir().unwrap()
}

fn redb(folder: &Path) -> RedbStore {
    RedbStore::open(folder.join("sessions")).unwrap()
}

fn sled(folder: &Path) -> SledStore {
    SledStore::open(folder.join("sessions")).unwrap()
}

fn sqlite(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder.join("sessions")).unwrap()
}

/// As the other contender runs it: no sync at each commit. Ours syncs by default.
fn sqlite_normal(folder: &Path) -> SqliteStore {
    let normal = SqliteStore::builder().synchronous(Synchronous::Normal);
    normal.open(folder.join("sessions")).unwrap()
}

fn redis_url() -> String {
    redis::flush();
    format!("redis://{}", redis::address().unwrap())
}

/// W4 over the store of a URL, as an application opens it.
fn web_by_url(run: &Run, url: impl Fn() -> String) {
    run.web(async || site::app(open(&url()).await.unwrap()));
}

/// The same over a file in a folder of its own.
fn web_by_file(run: &Run, scheme: &str, options: &str) {
    let folder = folder();
    let path = folder.path().join("sessions");
    web_by_url(run, || format!("{scheme}:{}{options}", path.display()));
}

pub const ENTRIES: &[Entry] = &[
    ("cloakroom memory", |run| {
        run.store(async || Keyed::new(memory()));
        web_by_url(run, || "memory:".to_owned());
    }),
    ("cloakroom redb", |run| {
        run.store(async || Keyed::within(folder(), redb));
        web_by_file(run, "redb", "");
    }),
    ("cloakroom cached over redb", |run| {
        run.store(async || {
            Keyed::within(folder(), |path| {
                let cached = Cached::builder(redb(path), STALE);
                cached.capacity_bytes(4 << 30).build()
            })
        });
        web_by_file(run, "redb", "?cache=1GiB&stale=60min");
    }),
    ("cloakroom sled", |run| {
        run.store(async || Keyed::within(folder(), sled));
        web_by_file(run, "sled", "");
    }),
    ("cloakroom sqlite", |run| {
        run.store(async || Keyed::within(folder(), sqlite));
        web_by_file(run, "sqlite", "");
    }),
    ("cloakroom sqlite, synchronous=NORMAL", |run| {
        run.store(async || Keyed::within(folder(), sqlite_normal));
        web_by_file(run, "sqlite", "?synchronous=normal");
    }),
    ("cloakroom redis", |run| {
        run.store(async || {
            let store = RedisStore::connect(&redis_url()).await.unwrap();
            let fillers = 32;
            Keyed {
                fillers,
                ..Keyed::new(store)
            }
        });
        web_by_url(run, redis_url);
    }),
    (crate::goals::ENCRYPTED, |run| {
        run.seal(Cookies::new(false));
        run.web(async || site::app(cookies::store(false)));
    }),
    ("cloakroom cookie signed", |run| {
        run.seal(Cookies::new(true));
        run.web(async || site::app(cookies::store(true)));
    }),
    ("raw: redis GET and SET", |run| {
        run.store(async || raw::Redis::connect(&redis_url()).await);
    }),
    ("raw: redb, batches of 64", raw::redb_batches),
    ("raw: sled, batches of 64", raw::sled_batches),
    ("raw: sqlite, batches of 64", raw::sqlite_batches),
];
