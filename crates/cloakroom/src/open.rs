//! A store by its URL.

use std::fmt::Display;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::AnySessionStore;
use cloakroom_core::{Error, ErrorKind};

use crate::layers::FromStore;
use crate::options::migrating::Move;
use crate::options::{Layers, nearest};
use crate::servers::{self, Address};

/// Opens the store that a URL names:
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | in this process's memory | `memory` |
/// | `file:PATH` | one file a session in the folder PATH, made where there is none | `file` |
/// | `sled:PATH` | a sled database in the folder PATH, made where there is none | `sled` |
/// | `redb:PATH` | a redb database in the file PATH, made where there is none | `redb` |
/// | `sqlite:PATH` | a SQLite database in the file PATH, made where there is none | `sqlite` |
/// | `postgres://USER:PASSWORD@HOST/DATABASE` | PostgreSQL; `postgresql:` too | `postgres` |
/// | `mysql://USER:PASSWORD@HOST/DATABASE` | MySQL or MariaDB; `mariadb:` too | `mysql` |
/// | `redis://USER:PASSWORD@HOST/NUMBER` | Redis or Valkey | `redis` |
/// | `rediss://…` | the same over TLS | `redis-tls` |
/// | `redis+unix:///PATH` | the same over a Unix socket of this machine; with `db=NUMBER`, `user=NAME` and `pass=TEXT` as options | `redis` |
/// | `cookie:?…` | sealed in the cookie itself, with the options below | `cookie` |
///
/// All but the last take, after a `?`, joined by `&`:
///
/// | option | what it does | feature |
/// |---|---|---|
/// | `cache=64MiB&stale=5s` | a near cache of so many bytes, whose answers are no older than that | `cached` |
/// | `sealed=true` | data at rest under the session's own key | `sealed` |
/// | `sealed=true&seal_key_file=PATH` | the same, and under a key ring of the server | `sealed` |
/// | `migrating_from=URL` | moves the sessions of another store to this one while the site runs; **the last option** | `migrating` |
/// | `prepared_from=URL` | the same for nodes that start before the first session moves; **the last option** | `migrating` |
///
/// A seal keeps data from who reads the database. With `seal_key_file=`, a private file
/// such as `openssl rand -hex 32` writes, also nobody who writes to the database can make
/// a session there. What was stored before either of the two was turned on opens no more.
///
/// Over Redis and PostgreSQL, but for one behind a pooler, a cache is subscribed to what other
/// nodes write. What it
/// does while that subscription is broken, `on_disconnect=` says: `serve_stale` (the
/// default) goes on answering within its bound on staleness, `bypass` asks the store
/// each time.
///
/// What follows `migrating_from=` or `prepared_from=` is the URL of the former store as it
/// stands, up to the end and not escaped:
/// `postgres://USER:PASSWORD@HOST/DATABASE?migrating_from=redb:./sessions.redb`. What a
/// request meets in the former store moves to the new one, and with `migrating_from=` all
/// else too, in the background, 200 sessions a second. When all have moved, that is an event
/// at `INFO`, and the URL of the new store can stand alone. A cache and a seal belong to
/// the options before it, and stand in front of both stores; what is sealed keeps its seal.
/// The steps, for one node and for several, and the way back, are in
/// [docs/migrating.md](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/migrating.md).
///
/// `memory:` takes `capacity=64MiB`, the bytes it may hold, bookkeeping included. The
/// servers and SQLite take:
///
/// | option | of | what it says |
/// |---|---|---|
/// | `timeout=2s` | all | how long a call may wait; default 2 s for Redis, 5 s for SQL and SQLite |
/// | `prefix=TEXT` | Redis | what its keys begin with; default `cloakroom:` |
/// | `cluster=true` | Redis | a cluster; several hosts are joined by commas |
/// | `tls_ca_file=PATH` | Redis | the one authority to trust |
/// | `allow_eviction=true` | Redis | opens also where `maxmemory-policy` is not `noeviction` |
/// | `table=NAME` | SQL, SQLite | default `cloakroom_sessions` |
/// | `migrate=false` | SQL, SQLite | leaves making the table to somebody else; default true |
/// | `pool=10` | SQL | connections |
/// | `synchronous=normal` | SQLite | answers a write before it is on the disk; default `full` |
/// | `schema=NAME` | PostgreSQL | the table's |
/// | `pooler=transaction` | PostgreSQL | a pooler such as pgbouncer lends connections by the transaction; a cache then hears of no other node |
/// | `notify=true` | PostgreSQL | tells caches on other nodes of each write; default where there is a `cache=` here: say it on nodes without one too |
/// | `sslmode=`, `sslrootcert=`, `sslcert=`, `sslkey=`, `application_name=` | PostgreSQL | as its own URLs say |
/// | `ssl-mode=`, `ssl-ca=`, `ssl-cert=`, `ssl-key=` | MySQL | as its own URLs say |
/// | `socket=PATH` | MySQL | the Unix socket of a server on this machine |
///
/// The Unix socket of a PostgreSQL on this machine is named as a host, by its folder:
/// `postgres://USER@%2Fvar%2Frun%2Fpostgresql/DATABASE`.
///
/// A server on another machine is reached under TLS with `sslmode=verify-full`, or
/// `ssl-mode=VERIFY_IDENTITY` for MySQL, and the feature `sql-tls`. Without either, and
/// without a word that turns TLS off, opening the store is an event at `WARN`.
///
/// `cookie:` takes:
///
/// | option | what it says |
/// |---|---|
/// | `key_file=PATH` or `key_env=NAME` | where the key ring stands; one of them |
/// | `name=NAME` | the full name of the session cookie; default `__Host-session` |
/// | `mode=encrypted` or `mode=signed` | default encrypted |
/// | `replaces=NAME` | a former name: its cookies open too, where the cookie policy `replaces` it as well |
/// | `revocation=URL` | the store that keeps an epoch for each user who has logged out; **the last option** |
///
/// What follows `revocation=` is the URL of another store as it stands, up to the end and
/// not escaped: `cookie:?key_file=ring&revocation=redb:./epochs.redb`, or
/// `…&revocation=postgres://USER:PASSWORD@HOST/DATABASE?table=epochs`. Each logout then ends
/// all sessions of its user, on every device, and so does
/// [`Engine::end_sessions_of`](crate::Engine::end_sessions_of): a copied cookie opens no more.
/// A session without a user ends by its deadline alone. Each request of a user reads one
/// number there, and that store must lose none: `memory:`, a cache and a Redis that evicts are
/// refused, and a Redis needs its `appendonly`.
///
/// The key file is one line, and for the server alone:
/// `(umask 077 && openssl rand -hex 32 > session.keys)`.
///
/// A scheme may be written in any case. A path is taken as it stands, up to the first `?`. In the URL of a server,
/// characters that mean something there are escaped: a `?` in a password is `%3F`.
///
/// Whether a session may take several cookies, the engine's cookie policy says:
///
/// ```no_run
/// use cloakroom::{CookiePolicy, Engine};
///
/// # async fn engine() -> Result<Engine, cloakroom::Error> {
/// let store = cloakroom::open("cookie:?key_file=./ring").await?;
/// let policy = CookiePolicy::builder().chunks_max(3).build()?;
/// Engine::builder(store).cookie(policy).build()
/// # }
/// ```
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = cloakroom::open("memory:").await?;
/// let error = cloakroom::open("memori:").await.unwrap_err();
/// assert_eq!(error.kind(), cloakroom::ErrorKind::Misconfigured);
/// # let _ = store;
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`ErrorKind::Misconfigured`] for a URL that names no store of this build, or
/// an option that its store does not take: the text lists what there is. What
/// the store says where it cannot be opened. The URL's own text is never quoted:
/// it may hold a password.
pub async fn open(url: &str) -> Result<AnyStore, Error> {
    match cookie_options(url)? {
        Some(options) => cookie(options).await,
        None => open_keyed(url).await,
    }
}

/// What follows `cookie:` and its `?`; nothing where the URL names another store.
fn cookie_options(url: &str) -> Result<Option<&str>, Error> {
    match url.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("cookie") => match rest {
            "" => Ok(Some("")),
            _ => rest
                .strip_prefix('?')
                .map(Some)
                .ok_or_else(|| refuse(NO_PATH)),
        },
        _ => Ok(None),
    }
}

/// Opens the store that a `cookie:` URL names, by its type, for what [`AnyStore`] does not
/// offer: the counts of its keys, and why a cookie does not open
/// ([`CookieStore::inspect`](cloakroom_cookie::CookieStore::inspect)).
///
/// # Errors
/// As [`open`], and [`ErrorKind::Misconfigured`] for the URL of another store.
#[cfg(feature = "cookie")]
#[cfg_attr(docsrs, doc(cfg(feature = "cookie")))]
pub async fn open_cookie_store(url: &str) -> Result<cloakroom_cookie::CookieStore, Error> {
    match cookie_options(url)? {
        Some(options) => crate::options::cookie::Cookie::parse(options)?.open().await,
        None => Err(refuse("only cookie: keeps the session in the cookie")),
    }
}

/// Opens the store that a URL names for what asks it by digests: the adapter
/// for tower-sessions, [`Migrating`](crate::stores::Migrating), a store of your own that is
/// made of another one. The URLs and their options are those of [`open`], but for `cookie:`
/// and `sealed=true`: what these keep is opened by a session's key, and by no digest.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = cloakroom::open_session_store("memory:").await?;
/// let error = cloakroom::open_session_store("cookie:?key_file=./ring").await.unwrap_err();
/// assert_eq!(error.kind(), cloakroom::ErrorKind::Misconfigured);
/// # let _ = store;
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`open`], and [`ErrorKind::Misconfigured`] for `cookie:` and `sealed=true`.
pub async fn open_session_store(url: &str) -> Result<AnySessionStore, Error> {
    match url.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("cookie") => Err(Error::new(
            ErrorKind::Misconfigured,
            "cookie: keeps each session with its visitor, and this program asks its store by \
             digests, under which nothing is kept: give redb:PATH or another store on the server",
        )),
        _ => open_keyed(url).await,
    }
}

const NO_PATH: &str = "memory: and cookie: take no path";

/// Opens a store that keeps records under digests, any but `cookie:`, and the one from which
/// its sessions are to move.
pub(crate) async fn open_keyed<T: FromStore>(url: &str) -> Result<T, Error> {
    match Move::parse(url)? {
        Some(moving) => moving.open().await,
        None => open_one(url).await,
    }
}

/// The same of the URL of one store.
pub(crate) async fn open_one<T: FromStore>(url: &str) -> Result<T, Error> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(refuse("a store URL begins with its scheme and a colon"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let scheme = scheme.as_str();
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let address = || Address {
        scheme,
        place: path,
        options,
    };
    if SERVERS.contains(&scheme) {
        check_server(path)?;
    }
    match scheme {
        "redis" | "rediss" | "redis+unix" => servers::redis(address()).await,
        "postgres" | "postgresql" => servers::postgres(address()).await,
        "mysql" | "mariadb" => servers::mysql(address()).await,
        "memory" if !path.is_empty() => Err(refuse(NO_PATH)),
        "memory" => memory(options),
        "file" | "sled" | "redb" | "sqlite" if path.is_empty() => {
            Err(refuse("file:, sled:, redb: and sqlite: need a path"))
        }
        "sqlite" => sqlite(path, options),
        "file" => file(path, &Layers::parse::<T>(scheme, options)?),
        "redb" => redb(path, &Layers::parse::<T>(scheme, options)?),
        "sled" => sled(path, &Layers::parse::<T>(scheme, options)?),
        _ => Err(match nearest(scheme, SCHEMES) {
            Some(near) => refuse(format_args!("no such scheme, did you mean {near}:?")),
            None => refuse("no such scheme"),
        }),
    }
}

const SCHEMES: [&str; 13] = [
    "memory",
    "file",
    "sled",
    "redb",
    "sqlite",
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "redis",
    "rediss",
    "redis+unix",
    "cookie",
];

const SERVERS: [&str; 6] = [
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "redis",
    "rediss",
];

/// Refuses what a driver would take for something else: a part of a password for the name
/// of a database, say, which its errors then tell.
fn check_server(place: &str) -> Result<(), Error> {
    let Some(address) = place.strip_prefix("//") else {
        return Err(refuse(
            "the URL of a server reads SCHEME://USER:PASSWORD@HOST/DATABASE",
        ));
    };
    match address.split_once('/') {
        Some((_, path)) if path.contains('@') => Err(refuse(
            "an @ of a server's URL stands after a /: in a password, write / as %2F; in the name \
             of a database, write @ as %40",
        )),
        _ => Ok(()),
    }
}

/// It quotes nothing of the URL, not even what stands before its first colon: of
/// `user:secret@host`, that may be anything.
fn refuse(why: impl Display) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "{why}; a store is one of memory:, file:PATH, sled:PATH, redb:PATH, sqlite:PATH, \
             postgres://…, mysql://…, redis://…, rediss://…, redis+unix:///PATH and cookie:?…"
        ),
    )
}

/// How a feature opens its store, or the word that it was not built.
macro_rules! opens {
    ($feature:literal, fn $name:ident($($argument:ident: $kind:ty),*) $body:block) => {
        #[cfg(feature = $feature)]
        fn $name<T: FromStore>($($argument: $kind),*) -> Result<T, Error> $body

        #[cfg(not(feature = $feature))]
        fn $name<T>($(_: $kind),*) -> Result<T, Error> {
            Err(crate::options::not_built($feature))
        }
    };
}

opens!(
    "memory",
    fn memory(options: &str) {
        let mut query = crate::options::Query::parse("memory", options, "capacity=64MiB")?;
        let layers = Layers::take::<T>(&mut query)?;
        let capacity = query.bytes("capacity")?;
        query.finish()?;
        let mut builder = cloakroom_memory::MemoryStore::builder();
        if let Some(bytes) = capacity {
            builder = builder.capacity_bytes(bytes);
        }
        T::over(builder.build(), &layers)
    }
);
opens!(
    "file",
    fn file(path: &str, layers: &Layers) {
        T::over(cloakroom_file::FileStore::open(path)?, layers)
    }
);
opens!(
    "sled",
    fn sled(path: &str, layers: &Layers) {
        T::over(cloakroom_sled::SledStore::open(path)?, layers)
    }
);
opens!(
    "redb",
    fn redb(path: &str, layers: &Layers) {
        T::over(cloakroom_redb::RedbStore::open(path)?, layers)
    }
);
opens!(
    "sqlite",
    fn sqlite(path: &str, options: &str) {
        use cloakroom_sqlite::Synchronous;

        const OWN: &str = "table=NAME, timeout=5s, migrate=false, synchronous=normal";
        let mut query = crate::options::Query::parse("sqlite", options, OWN)?;
        let layers = Layers::take::<T>(&mut query)?;
        let mut builder = cloakroom_sqlite::SqliteStore::builder();
        if let Some(table) = query.text("table") {
            builder = builder.table(table);
        }
        if let Some(timeout) = query.duration("timeout")? {
            builder = builder.timeout(timeout);
        }
        if let Some(migrate) = query.truth("migrate")? {
            builder = builder.migrate(migrate);
        }
        builder = match query.text("synchronous") {
            None | Some("full") => builder,
            Some("normal") => builder.synchronous(Synchronous::Normal),
            Some(_) => return Err(query.refuse("synchronous= is full or normal")),
        };
        query.finish()?;
        T::over(builder.open(path)?, &layers)
    }
);

#[cfg(feature = "cookie")]
async fn cookie(options: &str) -> Result<AnyStore, Error> {
    let store = crate::options::cookie::Cookie::parse(options)?.open();
    store.await.map(AnyStore::new)
}

#[cfg(not(feature = "cookie"))]
async fn cookie(_: &str) -> Result<AnyStore, Error> {
    Err(crate::options::not_built("cookie"))
}

#[cfg(all(
    test,
    feature = "cached",
    feature = "cookie",
    feature = "file",
    feature = "memory",
    feature = "mysql",
    feature = "postgres",
    feature = "redb",
    feature = "redis",
    feature = "sealed",
    feature = "sled",
    feature = "sqlite"
))]
mod tests;
