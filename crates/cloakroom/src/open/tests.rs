use cloakroom_core::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom_core::{Clock as _, Expiry, SystemClock};

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
        ("sqlite:", "need a path"),
        (
            "rodis://:hunter2@host",
            "no such scheme, did you mean redis:?",
        ),
        ("memori:", "no such scheme, did you mean memory:?"),
        ("sqllite:x", "no such scheme, did you mean sqlite:?"),
        ("ada:hunter2@host/db", "no such scheme;"),
        ("hunter2:@host/db", "no such scheme;"),
        ("hunter2@host/db", "begins with its scheme"),
        ("postgres:ada:hunter2@host/db", "of a server reads"),
        ("redis:hunter2", "of a server reads"),
        ("mysql://ada:1/hunter2@host/db", "write / as %2F"),
        ("postgres://ada:1/hunter2@host/db", "write / as %2F"),
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
    let error = open("memory:?capasity=hunter2").await.unwrap_err();
    let near = "there is no such option, did you mean capacity=?;";
    assert!(error.to_string().contains(near), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = open("memory:?pass=hunter2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn each_store_says_its_name_also_behind_layers() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["memory", "file", "sled", "redb", "sqlite"] {
        for layers in ["", "?cache=1MiB&stale=5s", "?sealed=true"] {
            let path = folder.path().join(format!("{name}{}", layers.len()));
            let path = match name {
                "memory" => String::new(),
                _ => path.display().to_string(),
            };
            let url = format!("{name}:{path}{layers}");
            let store = open(&url).await.unwrap();
            assert_eq!(store.token_capabilities().name, name, "{url}");
        }
    }
}

/// What follows the store's name in the error of each.
#[tokio::test]
async fn a_wrong_url_is_answered_with_what_would_be_right() {
    const COMMON: &str = "cache=64MiB with stale=5s, sealed=true, seal_key_file=PATH, \
                          migrating_from=URL or prepared_from=URL as the last one";
    let redis = "on_disconnect=serve_stale or on_disconnect=bypass, prefix=TEXT, timeout=2s, \
                 tls_ca_file=PATH, cluster=true, allow_eviction=true";
    for (url, expected) in [
        (
            "memory:?cache=64MiB",
            "cache= needs stale=: for how long may this cache go on answering for a \
             session that another process has ended?",
        ),
        (
            "memory:?stale=5s",
            "stale= bounds the age of a cache's answers: add cache=",
        ),
        (
            "memory:?cache=much&stale=5s",
            "cache= is a number of bytes, KiB, MiB or GiB, such as 64MiB",
        ),
        (
            "sled:x?cache=1MiB&stale=soon",
            "stale= is a number of ms, s or min, such as 5s",
        ),
        ("redb:x?sealed=1", "sealed= is true or false"),
        (
            "redb:x?seal_key_file=ring",
            "seal_key_file= names the server's key for the seal of a store that is not \
             sealed: add sealed=true, which ends the sessions that are stored already",
        ),
        (
            "file:x?sealed",
            "each option is written name=value, joined by &",
        ),
        (
            "memory:?sealed=true&sealed=true",
            "an option is given twice",
        ),
        ("memory:?prefix=a", "there is no such option"),
        ("memory:?on_disconnect=bypass", "there is no such option"),
        (
            "memory:?capacity=0",
            "capacity= is a number of bytes, KiB, MiB or GiB, such as 64MiB",
        ),
        (
            "redis://host?on_disconnect=yes",
            "on_disconnect= is serve_stale or bypass",
        ),
        (
            "redis://host?on_disconnect=bypass",
            "on_disconnect= says what a cache does while it cannot learn of other nodes' \
             writes: add cache=",
        ),
        (
            "redis://host?timeout=2",
            "timeout= is a number of ms, s or min, such as 5s",
        ),
        ("redis://host?cluster=3", "cluster= is true or false"),
        ("rediss://host?table=a", "there is no such option"),
        ("redis+unix:///a?cluster=true", "there is no such option"),
        ("redis+unix:///a?tls_ca_file=b", "there is no such option"),
        (
            "redis+unix://ada:hunter2@host?timeout=1s",
            "the URL of a Unix socket reads redis+unix:///PATH",
        ),
        (
            "postgres://host/db?pool=0",
            "pool= is a whole number, such as 10",
        ),
        (
            "postgres://host/db?pool=99999999999",
            "pool= is a whole number, such as 10",
        ),
        (
            "postgres://host/db?notify=maybe",
            "notify= is true or false",
        ),
        (
            "postgres://host/db?pooler=session",
            "pooler= is transaction, or left out",
        ),
        (
            "postgres://host/db?pooler=transaction&cache=1MiB&stale=5s&on_disconnect=bypass",
            "through a pooler a cache hears of no other node: leave on_disconnect= out, and \
             cache= too where its bound on staleness is not enough",
        ),
        (
            "mysql://host/db?pooler=transaction",
            "there is no such option",
        ),
        (
            "postgresql://host/db?sslpassword=hunter2",
            "there is no such option",
        ),
        ("mysql://host/db?notify=true", "there is no such option"),
        ("mariadb://host/db?schema=a", "there is no such option"),
        ("sqlite:x?migrate=later", "migrate= is true or false"),
        ("sqlite:x?prefix=a", "there is no such option"),
        ("sqlite:x?pool=10", "there is no such option"),
        ("sqlite:x?synchronous=off", "synchronous= is full or normal"),
    ] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
        let scheme = url.split(':').next().unwrap();
        let begin = format!("misconfigured: {expected}; the options of {scheme}: are {COMMON}");
        let text = error.to_string();
        assert!(text.starts_with(&begin), "{url}: {text}");
        assert_eq!(
            text.ends_with(redis),
            ["redis", "rediss"].contains(&scheme),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// What the store itself refuses; nothing answers at the address.
#[tokio::test]
async fn a_server_that_cannot_be_reached_is_said_without_the_password() {
    for (url, kind, part) in [
        (
            "redis://ada:hunter2@127.0.0.1:1",
            ErrorKind::Unavailable,
            "127.0.0.1:1",
        ),
        (
            "redis://ada:hunter2@127.0.0.1:port",
            ErrorKind::Misconfigured,
            "no Redis URL",
        ),
        (
            "redis+unix:///tmp/no-such-socket?pass=hunter2",
            ErrorKind::Unavailable,
            "/tmp/no-such-socket",
        ),
        (
            "redis://127.0.0.1:1?prefix=a{b",
            ErrorKind::Misconfigured,
            "the prefix has a character",
        ),
        (
            "postgres://ada:hunter2@127.0.0.1:1/db?timeout=300ms",
            ErrorKind::Unavailable,
            "cannot be reached",
        ),
        (
            "postgres://ada:hunter2@[/db",
            ErrorKind::Misconfigured,
            "cannot be read",
        ),
        (
            "mysql://ada:hunter2@127.0.0.1:1/db?timeout=300ms",
            ErrorKind::Unavailable,
            "cannot be reached",
        ),
        (
            "postgres://127.0.0.1:1/db?table=Users",
            ErrorKind::Misconfigured,
            "a-z, 0-9 and _",
        ),
    ] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{url}: {text}");
    }
}

#[tokio::test]
async fn the_store_in_memory_holds_what_its_url_says() {
    use cloakroom_core::Timestamp;
    use cloakroom_core::engine::{OsEntropy, SessionKey, TokenStore as _};
    use cloakroom_core::store::Record;
    const SESSIONS: usize = 2_000;
    let record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
    let kept = async |url: &str| {
        let store = open(url).await.unwrap();
        let mut tokens = Vec::new();
        for _ in 0..SESSIONS {
            let key = SessionKey::generate(&OsEntropy).unwrap();
            store.create_token(&key, &record).await.unwrap();
            tokens.push(key.to_token());
        }
        let mut kept = 0;
        for token in &tokens {
            kept += usize::from(store.load_token(token).await.unwrap().is_some());
        }
        kept
    };
    assert_eq!(kept("memory:").await, SESSIONS);
    assert!(kept("memory:?capacity=64KiB").await < SESSIONS / 2);
}

#[tokio::test]
async fn each_url_opens_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let ring = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ring, "11".repeat(32)).unwrap();
    let key_file = ring.path().display();
    let cached = "Cached<cloakroom_memory::MemoryStore>";
    for (url, name) in [
        ("memory:".to_owned(), "MemoryStore"),
        ("memory:?capacity=1MiB".to_owned(), "MemoryStore"),
        ("Memory:".to_owned(), "MemoryStore"),
        (format!("REDB:{}", at("upper case")), "RedbStore"),
        (format!("Sqlite:{}", at("sqlite3")), "SqliteStore"),
        (format!("file:{}", at("file")), "FileStore"),
        (format!("sled:{}", at("a folder/sled")), "SledStore"),
        (format!("redb:{}", at("redb")), "RedbStore"),
        (format!("sqlite:{}", at("a folder/sqlite")), "SqliteStore"),
        (
            format!(
                "sqlite:{}?table=t&timeout=60s&migrate=true&synchronous=normal",
                at("sqlite2")
            ),
            "SqliteStore",
        ),
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
            format!("cookie:?mode=encrypted&key_file={key_file}"),
            "CookieStore",
        ),
        (
            format!("Cookie:?key_file={key_file}&replaces=sid"),
            "CookieStore",
        ),
        (
            format!(
                "cookie:?key_file={key_file}&revocation=SQLite:{}?timeout=2s&table=epochs",
                at("epochs")
            ),
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

#[tokio::test]
async fn a_key_file_enters_the_seal() {
    let folder = tempfile::tempdir().unwrap();
    let ring = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ring, "11".repeat(32)).unwrap();
    let bare = format!("file:{}?sealed=true", folder.path().join("s").display());
    let keyed = format!("{bare}&seal_key_file={}", ring.path().display());
    let cached = format!("{keyed}&cache=1MiB&stale=5s");
    let record = Expiry::default().begin(SystemClock.now());
    for (writer, reader, expected) in [
        (&keyed, &keyed, Ok(())),
        (&keyed, &cached, Ok(())),
        (&cached, &keyed, Ok(())),
        (&bare, &bare, Ok(())),
        (&keyed, &bare, Err(ErrorKind::UnknownKey)),
        // Who can write to the database can do what the writer does here.
        (&bare, &keyed, Err(ErrorKind::Corrupt)),
    ] {
        let key = SessionKey::generate(&OsEntropy).unwrap();
        let store = open(writer).await.unwrap();
        store.create_token(&key, &record).await.unwrap();
        let store = open(reader).await.unwrap();
        let loaded = store.load_token(&key.to_token()).await;
        let failed = loaded.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(failed, expected, "{writer} {reader}");
    }

    std::fs::write(&ring, "hunter2").unwrap();
    let error = open(&keyed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let text = error.to_string();
    let name = ring.path().display().to_string();
    assert!(text.contains(&name) && text.contains("line 1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_store_of_epochs_that_cannot_be_one_is_refused_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let ring = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ring, "11".repeat(32)).unwrap();
    let key_file = ring.path().display();
    let epochs = folder.path().join("epochs").display().to_string();
    for (revocation, kind, part) in [
        (
            "memory:",
            ErrorKind::Misconfigured,
            "forgets when the process ends",
        ),
        (
            "Cookie:?key_file=hunter2",
            ErrorKind::Misconfigured,
            "keeps nothing on the server",
        ),
        ("", ErrorKind::Misconfigured, "begins with its scheme"),
        (
            "redis%3A%2F%2Fhunter2%40host",
            ErrorKind::Misconfigured,
            "not escaped",
        ),
        (
            "rodis://:hunter2@host",
            ErrorKind::Misconfigured,
            "did you mean redis:?",
        ),
        (
            "redb:EPOCHS?sealed=true",
            ErrorKind::Misconfigured,
            "take sealed= out",
        ),
        (
            "redb:EPOCHS?cache=1MiB&stale=5s",
            ErrorKind::Misconfigured,
            "take cache= out",
        ),
        (
            "redis://:hunter2@host?allow_eviction=true",
            ErrorKind::Misconfigured,
            "take allow_eviction= out",
        ),
        (
            "sqlite:EPOCHS?table=t&mode=signed",
            ErrorKind::Misconfigured,
            "write the other options before it",
        ),
        (
            "sqlite:EPOCHS&mode=signed",
            ErrorKind::Misconfigured,
            "write the other options before it",
        ),
        (
            "postgres://ada:1/hunter2@host/db",
            ErrorKind::Misconfigured,
            "write / as %2F",
        ),
        (
            "redis://ada:hunter2@127.0.0.1:1",
            ErrorKind::Unavailable,
            "127.0.0.1:1",
        ),
    ] {
        let revocation = revocation.replace("EPOCHS", &epochs);
        let url = format!("cookie:?key_file={key_file}&revocation={revocation}");
        let error = open(&url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("the store of revocation=: "), "{text}");
        assert!(text.contains(part), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!folder.path().join("epochs").exists(), "nothing was opened");
    }
}

#[tokio::test]
async fn a_key_file_that_is_missing_is_told_with_the_command_that_makes_it() {
    for url in [
        "cookie:?key_file=./no-such.keys",
        "memory:?sealed=true&seal_key_file=./no-such.keys",
    ] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let command = "(umask 077 && openssl rand -hex 32 > ./no-such.keys)";
        assert!(error.to_string().contains(command), "{error}");
    }
}
