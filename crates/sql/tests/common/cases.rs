//! The cases that are the same over each server.

use std::ops::Deref;
use std::time::{Duration, Instant};

use cloakroom_core::store::SessionStore as _;
use cloakroom_core::{Clock as _, ErrorKind, SystemClock};
use cloakroom_sql::{SqlStore, SqlStoreBuilder};
use cloakroom_testkit::{key, sample, sweeps_at_every_edge};

use super::proxy::Proxy;
use super::{kind, moves, table};

/// A server, and what the cases must know of it.
pub(crate) trait Server:
    Deref<Target = cloakroom_servers::Server> + Sized + 'static
{
    /// Whether writes can notify.
    const NOTIFIES: bool;
    /// How often a rotation asks the server.
    const ROTATION_TRIPS: u64;
    /// The literal of a byte that is not UTF-8.
    const NOT_UTF8: &'static str;
    /// What ALTER TABLE says to give a column another type than it has.
    const RETYPED: &'static str;
    /// URLs that are set up wrongly, at the port $PORT; the password is `hunter2`.
    const WRONG_URLS: &'static [&'static str];
    /// Parameters of a URL that sqlx reads.
    const READ_PARAMETERS: &'static str;

    /// The published SQL, statement by statement where the server takes one at a time.
    fn published() -> Vec<&'static str>;
    /// The server that all tests of a binary share.
    fn shared() -> Option<&'static Self>;
    fn start() -> Option<Self>;
    fn url(&self) -> String;
    fn query(&self, sql: &str) -> Vec<Vec<String>>;
    /// Cuts all connections but the one that asks; answers how many.
    async fn cut_all(&self) -> usize;

    /// Migrated, in the table of the builder.
    async fn open_with(&self, builder: SqlStoreBuilder) -> SqlStore {
        let store = builder.connect(&self.url()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// Migrated, in a table of its own.
    async fn open(&self) -> SqlStore {
        self.open_with(SqlStore::builder().table(table())).await
    }
}

/// Makes a test of each case: those of the first list on one thread, those of the second
/// on two. Each skips, loudly, where the server is not installed.
macro_rules! cases {
    ($server:ty: $($case:ident)*; threads: $($threaded:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::common::cases::$case::<$server>().await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $threaded() {
                $crate::common::cases::$threaded::<$server>().await;
            }
        )*
    };
    ($server:ty) => {
        $crate::common::cases::cases!(
            $server:
            conforms
            a_table_may_have_any_name_that_is_one
            a_sweep_can_ask_for_the_time_of_a_server
            a_page_of_a_scan_is_bounded_in_bytes
            a_timeout_may_be_as_long_as_there_is
            what_was_acknowledged_survives_reopening
            marks_in_a_circle_are_told
            a_sweep_leaves_what_the_contract_says_at_every_edge
            a_table_without_a_column_is_told_by_its_name
            a_call_is_one_round_trip_and_no_ping
            a_connection_is_pinged_once_it_has_been_trusted_for_long_enough
            eight_that_migrate_at_once_all_succeed
            rows_that_cannot_be_read_are_told_apart_and_ended
            a_table_of_other_types_is_set_up_wrongly_and_no_session_is_corrupt
            the_published_sql_makes_what_the_store_uses
            what_is_set_up_wrongly_is_told_without_the_password
            a_parameter_that_nobody_reads_is_refused_and_not_quoted
            a_read_succeeds_on_connections_that_died_in_the_pool
            a_write_succeeds_on_connections_that_died_in_the_pool_unused
            a_server_that_is_restarted_is_found_again;
            threads:
            races_have_one_winner
            what_moves_meanwhile_is_ended_or_spared
        );
    };
}
pub(crate) use cases;

pub(crate) async fn conforms<S: Server>() {
    if let Some(server) = S::shared() {
        super::conforms(&server.open().await).await;
    }
}

pub(crate) async fn a_table_may_have_any_name_that_is_one<S: Server>() {
    let Some(server) = S::start() else {
        return;
    };
    let choices: &[bool] = if S::NOTIFIES {
        &[false, true]
    } else {
        &[false]
    };
    for &notifying in choices {
        super::serves_in_a_table_of_any_name(async |name| {
            let builder = SqlStore::builder().table(name).notifying(notifying);
            builder.connect(&server.url()).await.unwrap()
        })
        .await;
    }
}

/// The clock of a server may be another than this machine's.
pub(crate) async fn a_sweep_can_ask_for_the_time_of_a_server<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let store = server.open().await;
    let sweep = store.capabilities().sweep.unwrap();
    let before = SystemClock.now();
    let theirs = sweep.own_time().await.unwrap().unwrap();
    let after = SystemClock.now();
    // The two clocks of the test's machine are one, but for how they are rounded.
    let moment = Duration::from_millis(50);
    assert!(theirs.saturating_add(moment) >= before, "{theirs:?}");
    assert!(theirs <= after.saturating_add(moment), "{theirs:?}");
}

pub(crate) async fn a_page_of_a_scan_is_bounded_in_bytes<S: Server>() {
    if let Some(server) = S::shared() {
        super::scans_large_records_in_small_pages(&server.open().await).await;
    }
}

pub(crate) async fn a_timeout_may_be_as_long_as_there_is<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    super::serves_who_waits_for_ever(async |builder| builder.connect(&server.url()).await.unwrap())
        .await;
}

pub(crate) async fn what_was_acknowledged_survives_reopening<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let table = table();
    super::keeps_what_it_acknowledged(async || {
        server.open_with(SqlStore::builder().table(&*table)).await
    })
    .await;
}

pub(crate) async fn races_have_one_winner<S: Server>() {
    if let Some(server) = S::shared() {
        super::settles_races(server.open().await, 20).await;
    }
}

pub(crate) async fn what_moves_meanwhile_is_ended_or_spared<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let store = server.open().await;
    moves::revokes_what_moves(&store).await;
    moves::spares_what_moves(&store).await;
    moves::ends_what_moves(&store).await;
}

pub(crate) async fn marks_in_a_circle_are_told<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let store = server.open().await;
    moves::tells_marks_in_a_circle(&store).await;
}

pub(crate) async fn a_sweep_leaves_what_the_contract_says_at_every_edge<S: Server>() {
    if let Some(server) = S::shared() {
        sweeps_at_every_edge(&server.open().await).await;
    }
}

/// As a build before the first release has made it.
pub(crate) async fn a_table_without_a_column_is_told_by_its_name<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let table = table();
    let builder = SqlStore::builder().table(&*table);
    let store = server.open_with(builder.clone()).await;
    let rename = format!("ALTER TABLE {table} RENAME COLUMN ended TO other");
    server.query(&rename);
    let error = store.migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for part in ["ended", &table, "drop it"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// A store of one connection, by a way on which its round trips are counted.
async fn counted<S: Server>(server: &S, builder: SqlStoreBuilder) -> (Proxy, SqlStore) {
    let proxy = Proxy::start(server.port());
    let url = proxy.url(&server.url(), server.port());
    let store = builder.table(table()).pool_size(1).connect(&url);
    let store = store.await.unwrap();
    store.migrate().await.unwrap();
    (proxy, store)
}

pub(crate) async fn a_call_is_one_round_trip_and_no_ping<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let builder = SqlStore::builder().trusted_idle(Duration::from_secs(60));
    let (proxy, store) = counted(server, builder).await;
    let trips = async || {
        // For as long as something behind the answer might take.
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.trips()
    };
    let mut counts = Vec::new();
    // The first time each statement is prepared.
    for _ in 0..2 {
        let (digest, new) = (key().digest(), key().digest());
        let mut record = sample("x");
        counts = vec![("", trips().await)];
        record.revision = store.create(&digest, &record).await.unwrap();
        counts.push(("create", trips().await));
        store.load(&digest).await.unwrap().unwrap();
        counts.push(("load", trips().await));
        record.revision = store.update(&digest, &record).await.unwrap();
        counts.push(("update", trips().await));
        let touch = cloakroom_testkit::touch_until(super::later(9_000));
        store.touch(&digest, record.revision, touch).await.unwrap();
        counts.push(("touch", trips().await));
        let until = super::later(60);
        store.rotate(&digest, &new, &record, until).await.unwrap();
        counts.push(("rotate", trips().await));
        store.delete(&new).await.unwrap();
        counts.push(("delete", trips().await));
    }
    let counts = counts
        .windows(2)
        .map(|pair| (pair[1].0, pair[1].1 - pair[0].1));
    let expected = [
        ("create", 1),
        ("load", 1),
        ("update", 1),
        ("touch", 1),
        ("rotate", S::ROTATION_TRIPS),
        ("delete", 1),
    ];
    assert_eq!(Vec::from_iter(counts), expected);
}

/// A connection that is used all the time comes to sqlx's pool, which looks at its age.
pub(crate) async fn a_connection_is_pinged_once_it_has_been_trusted_for_long_enough<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let trusted = Duration::from_secs(1);
    let (proxy, store) = counted(server, SqlStore::builder().trusted_idle(trusted)).await;
    let digest = key().digest();
    store.load(&digest).await.unwrap();
    let (before, begun, mut calls) = (proxy.trips(), Instant::now(), 0);
    while begun.elapsed() < trusted * 2 {
        store.load(&digest).await.unwrap();
        calls += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pings = proxy.trips() - before - calls;
    assert!((1..=4).contains(&pings), "{pings} pings");
}

pub(crate) async fn eight_that_migrate_at_once_all_succeed<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let table = table();
    super::migrates_in_a_race(async || {
        let builder = SqlStore::builder().table(&*table).pool_size(2);
        builder.connect(&server.url()).await.unwrap()
    })
    .await;
}

pub(crate) async fn rows_that_cannot_be_read_are_told_apart_and_ended<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    super::tells_unreadable_rows_apart(&store, &table, S::NOT_UTF8, async |sql| {
        server.query(&sql);
    })
    .await;
}

pub(crate) async fn a_table_of_other_types_is_set_up_wrongly_and_no_session_is_corrupt<
    S: Server,
>() {
    let Some(server) = S::shared() else {
        return;
    };
    let (table, digest) = (table(), key().digest());
    let builder = SqlStore::builder().table(&*table);
    let store = server.open_with(builder.clone()).await;
    store.create(&digest, &sample("x")).await.unwrap();
    server.query(&format!("ALTER TABLE {table} {}", S::RETYPED));
    super::tells_a_wrong_table(&server.open_with(builder).await, &digest).await;
}

pub(crate) async fn the_published_sql_makes_what_the_store_uses<S: Server>() {
    let Some(server) = S::start() else {
        return;
    };
    // It may be run again.
    for _ in 0..2 {
        for published in S::published() {
            server.query(published);
        }
    }
    let store = SqlStore::connect(&server.url()).await.unwrap();
    store.create(&key().digest(), &sample("x")).await.unwrap();
    store.migrate().await.unwrap();
}

pub(crate) async fn what_is_set_up_wrongly_is_told_without_the_password<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    let (url, table) = (server.url(), table());
    let store = SqlStore::builder().table(&*table).connect(&url);
    let store = store.await.unwrap();
    let error = store.load(&key().digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for part in ["migrate()", &table, &server.port().to_string()] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    for url in S::WRONG_URLS {
        let url = url.replace("$PORT", &server.port().to_string());
        let error = SqlStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let store = SqlStore::builder().table("a\"b").connect(&url);
    assert_eq!(kind(store.await), ErrorKind::Misconfigured);
    for builder in [
        SqlStore::builder().schema("app"),
        SqlStore::builder().notifying(true),
    ] {
        if !S::NOTIFIES {
            assert_eq!(kind(builder.connect(&url).await), ErrorKind::Misconfigured);
        }
    }
}

/// sqlx would log them, value and all, or pass over them.
pub(crate) async fn a_parameter_that_nobody_reads_is_refused_and_not_quoted<S: Server>() {
    let Some(server) = S::shared() else {
        return;
    };
    for parameters in [
        "?sslpassword=hunter2",
        "?sslmode=disable&sslpassword=hunter2",
        "?hunter2",
        "?%73slpassword=hunter2",
        "?sslpassword[x]=hunter2",
    ] {
        let url = format!("{}{parameters}", server.url());
        let error = SqlStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let url = format!("{}?{}", server.url(), S::READ_PARAMETERS);
    SqlStore::connect(&url).await.unwrap();
}

/// Leaves the pool with connections that nobody uses: one at least, since where an answer is
/// there at once, the next one who asks finds the same connection.
async fn warm_up(store: &SqlStore) {
    let digest = key().digest();
    futures_util::future::join_all((0..100).map(|_| store.load(&digest))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}

pub(crate) async fn a_read_succeeds_on_connections_that_died_in_the_pool<S: Server>() {
    let Some(server) = S::start() else {
        return;
    };
    let store = server.open_with(SqlStore::builder().pool_size(4)).await;
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    warm_up(&store).await;
    assert!(server.cut_all().await >= 1);
    assert!(store.load(&digest).await.unwrap().is_some());
    // The break has put the others in doubt, so a write meets none of them.
    for _ in 0..6 {
        store.create(&key().digest(), &sample("x")).await.unwrap();
    }
}

pub(crate) async fn a_write_succeeds_on_connections_that_died_in_the_pool_unused<S: Server>() {
    let Some(server) = S::start() else {
        return;
    };
    let trusted = Duration::from_millis(200);
    let builder = SqlStore::builder().pool_size(4).trusted_idle(trusted);
    let store = server.open_with(builder).await;
    for _ in 0..3 {
        warm_up(&store).await;
        assert!(server.cut_all().await >= 1);
        tokio::time::sleep(trusted * 2).await;
        for _ in 0..6 {
            store.create(&key().digest(), &sample("x")).await.unwrap();
        }
    }
}

pub(crate) async fn a_server_that_is_restarted_is_found_again<S: Server>() {
    let Some(server) = S::start() else {
        return;
    };
    let builder = SqlStore::builder().acquire_timeout(Duration::from_secs(2));
    let store = server.open_with(builder).await;
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    warm_up(&store).await;
    server.kill();
    let begun = Instant::now();
    assert_eq!(kind(store.load(&digest).await), ErrorKind::Unavailable);
    let written = store.create(&key().digest(), &sample("x")).await;
    assert_eq!(kind(written), ErrorKind::Unavailable);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    server.restart();
    assert!(store.load(&digest).await.unwrap().is_some());
    store.create(&key().digest(), &sample("x")).await.unwrap();
}
