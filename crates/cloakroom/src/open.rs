//! A store by its URL.

use cloakroom_core::{AnyStore, Error, ErrorKind};

use crate::options::Layers;
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
/// | `cookie:?…` | sealed in the cookie itself, with the options below | `cookie` |
///
/// All but the last take, after a `?`, joined by `&`:
///
/// | option | what it does | feature |
/// |---|---|---|
/// | `cache=64MiB&stale=5s` | a near cache of so many bytes, whose answers are no older than that | `cached` |
/// | `sealed=true` | data at rest under the session's own key | `sealed` |
///
/// Over Redis and PostgreSQL a cache hears of what other nodes write; `deaf=` says
/// what it does while it cannot: `stale` (the default) trusts its bound, `bypass`
/// asks the store each time.
///
/// The servers and SQLite take:
///
/// | option | of | what it says |
/// |---|---|---|
/// | `timeout=2s` | all | how long a call may wait; default 2 s for Redis, 5 s for SQL |
/// | `prefix=TEXT` | Redis | what its keys begin with; default `cloakroom:` |
/// | `cluster=true` | Redis | a cluster; several hosts are joined by commas |
/// | `tls_ca_file=PATH` | Redis | the one authority to trust |
/// | `table=NAME` | SQL | default `cloakroom_sessions` |
/// | `migrate=false` | SQL | leaves making the table to somebody else; default true |
/// | `pool=10` | SQL | connections |
/// | `schema=NAME` | PostgreSQL | the table's |
/// | `notify=true` | PostgreSQL | tells caches on other nodes of each write; default where there is a `cache=` here: say it on nodes without one too |
/// | `sslmode=`, `sslrootcert=`, `sslcert=`, `sslkey=`, `application_name=` | PostgreSQL | as its own URLs say |
/// | `ssl-mode=`, `ssl-ca=`, `ssl-cert=`, `ssl-key=` | MySQL | as its own URLs say |
///
/// `cookie:` takes:
///
/// | option | what it says |
/// |---|---|
/// | `key_file=PATH` or `key_env=NAME` | where the key ring stands; one of them |
/// | `name=NAME` | the full name of the session cookie; default `__Host-session` |
/// | `mode=encrypted` or `mode=signed` | default encrypted |
/// | `chunks=1` to `chunks=4` | how many cookies a session may take; default 1. Give the engine's cookie policy the same [`chunks_max`](cloakroom_web::CookiePolicyBuilder::chunks_max) |
///
/// A path is taken as it stands, up to the first `?`. In the URL of a server,
/// characters that mean something there are escaped: a `?` in a password is `%3F`.
///
/// A session that takes several cookies is said twice, to the store and to the
/// cookie policy:
///
/// ```no_run
/// use cloakroom::{CookiePolicy, Engine};
///
/// # async fn engine() -> Result<Engine, cloakroom::Error> {
/// let store = cloakroom::open("cookie:?key_file=./ring&chunks=3").await?;
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
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(refuse("a store URL begins with its scheme and a colon"));
    };
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let address = || Address {
        scheme,
        place: path,
        options,
    };
    match scheme {
        "redis" | "rediss" => servers::redis(address()).await,
        "postgres" | "postgresql" => servers::postgres(address()).await,
        "mysql" | "mariadb" => servers::mysql(address()).await,
        "memory" | "cookie" if !path.is_empty() => Err(refuse("memory: and cookie: take no path")),
        "memory" => memory(&Layers::parse(scheme, options)?),
        "cookie" => cookie(options),
        "file" | "sled" | "redb" | "sqlite" if path.is_empty() => {
            Err(refuse("file:, sled:, redb: and sqlite: need a path"))
        }
        "sqlite" => servers::sqlite(address()).await,
        "file" => file(path, &Layers::parse(scheme, options)?),
        "redb" => redb(path, &Layers::parse(scheme, options)?),
        "sled" => sled(path, &Layers::parse(scheme, options)?),
        _ => Err(refuse("no such scheme")),
    }
}

fn refuse(why: &'static str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "{why}; a store is one of memory:, file:PATH, sled:PATH, redb:PATH, sqlite:PATH, \
             postgres://…, mysql://…, redis://…, rediss://… and cookie:?…"
        ),
    )
}

/// How a feature opens its store, or the word that it was not built.
macro_rules! opens {
    ($feature:literal, fn $name:ident($($argument:ident: $kind:ty),*) $body:block) => {
        #[cfg(feature = $feature)]
        fn $name($($argument: $kind),*) -> Result<AnyStore, Error> $body

        #[cfg(not(feature = $feature))]
        fn $name($(_: $kind),*) -> Result<AnyStore, Error> {
            Err(crate::options::not_built($feature))
        }
    };
}

opens!(
    "memory",
    fn memory(layers: &Layers) {
        crate::layers::over(cloakroom_memory::MemoryStore::default(), layers)
    }
);
opens!(
    "file",
    fn file(path: &str, layers: &Layers) {
        crate::layers::over(cloakroom_file::FileStore::open(path)?, layers)
    }
);
opens!(
    "sled",
    fn sled(path: &str, layers: &Layers) {
        crate::layers::over(cloakroom_sled::SledStore::open(path)?, layers)
    }
);
opens!(
    "redb",
    fn redb(path: &str, layers: &Layers) {
        crate::layers::over(cloakroom_redb::RedbStore::open(path)?, layers)
    }
);
opens!(
    "cookie",
    fn cookie(options: &str) {
        crate::options::cookie::Cookie::parse(options)?.open()
    }
);

#[cfg(all(
    test,
    feature = "cached",
    feature = "cookie",
    feature = "file",
    feature = "memory",
    feature = "redb",
    feature = "sealed",
    feature = "sled"
))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_names_no_store_says_which_ones_there_are() {
        for (url, part) in [
            ("", "begins with its scheme"),
            ("memory", "begins with its scheme"),
            ("memory:x", "take no path"),
            ("cookie:x", "take no path"),
            ("sled:", "need a path"),
            ("file:?sealed=true", "need a path"),
            ("Memory:", "no such scheme"),
            ("sqlite:", "need a path"),
            ("rodis://:hunter2@host", "no such scheme"),
        ] {
            let error = open(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
            let text = error.to_string();
            assert!(
                text.contains(part) && text.contains("sled:PATH"),
                "{url}: {text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
        let error = open("memory:?pass=hunter2").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn each_url_opens_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let key_file = at("ring");
        std::fs::write(&key_file, "11".repeat(32)).unwrap();
        let cached = "Cached<cloakroom_memory::MemoryStore>";
        for (url, name) in [
            ("memory:".to_owned(), "MemoryStore"),
            (format!("file:{}", at("file")), "FileStore"),
            (format!("sled:{}", at("a folder/sled")), "SledStore"),
            (format!("redb:{}", at("redb")), "RedbStore"),
            ("memory:?cache=1MiB&stale=5s".to_owned(), cached),
            (
                "memory:?sealed=true".to_owned(),
                "Sealed<cloakroom_memory::MemoryStore>",
            ),
            (
                "memory:?sealed=true&cache=1MiB&stale=5s".to_owned(),
                "Sealed<cloakroom_cached::Cached<cloakroom_memory::MemoryStore>>",
            ),
            (format!("cookie:?key_file={key_file}"), "CookieStore"),
            (
                format!("cookie:?key_file={key_file}&mode=signed&name=sid"),
                "CookieStore",
            ),
            (
                format!("cookie:?chunks=4&key_file={key_file}"),
                "CookieStore",
            ),
        ] {
            let store = open(&url)
                .await
                .unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(format!("{store:?}").contains(name), "{url}: {store:?}");
        }
        assert!(folder.path().join("a folder/sled/db").exists());
    }
}
