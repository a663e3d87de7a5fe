//! Over PostgreSQL.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::{Duration, Instant};

use cloakroom_core::store::{Revoke, SessionStore as _};
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_servers::Postgres;
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, listed_as, sample, touch_until};

use common::cases::Server;
use common::{DAY_MILLIS, drops, ending, kind, later, table};

impl Server for Postgres {
    const NOTIFIES: bool = true;
    const ROTATION_TRIPS: u64 = 1;
    const NOT_UTF8: &'static str = "'\\xff'";
    const RETYPED: &'static str = "ALTER COLUMN last_seen_at TYPE int4 USING 1";
    const WRONG_URLS: &'static [&'static str] = &[
        "postgres://postgres:hunter2@127.0.0.1:$PORT/nowhere",
        "postgres://nobody:hunter2@127.0.0.1:$PORT/cloakroom",
        "postgres://postgres:hunter2@127.0.0.1:hunter2/cloakroom",
        "postgres://postgres:hunter2@127.0.0.1/x?sslmode=hunter2",
        "oracle://postgres:hunter2@127.0.0.1/x",
    ];
    const READ_PARAMETERS: &'static str = "sslmode=prefer&application_name=x&\
        options[search_path]=public&options%5BTimeZone%5D=UTC&";

    fn published() -> Vec<&'static str> {
        vec![include_str!("../migrations/postgres/0001_sessions.sql")]
    }

    fn shared() -> Option<&'static Self> {
        cloakroom_servers::postgres()
    }

    fn start() -> Option<Self> {
        Self::start()
    }

    fn url(&self) -> String {
        self.url()
    }

    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.query(sql).unwrap()
    }

    async fn cut_all(&self) -> usize {
        let ask = |what| self.query(&format!("SELECT {what} {OTHERS}")).unwrap();
        let cut = ask("pg_terminate_backend(pid)").len();
        common::eventually("they are gone", || ask("pid").is_empty()).await;
        cut
    }
}

common::cases::cases!(Postgres);

#[tokio::test]
async fn conforms_while_it_notifies() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let builder = SqlStore::builder().table(table()).notifying(true);
    common::conforms(&server.open_with(builder).await).await;
}

#[tokio::test]
async fn conforms_in_a_schema_of_its_own_over_a_pool_of_ones_own() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    server.query("CREATE SCHEMA app").unwrap();
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let builder = SqlStore::builder().schema("app").table("order");
    let store = builder.from_pg_pool(pool).unwrap();
    store.migrate().await.unwrap();
    common::conforms(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_have_one_winner_also_among_serializable_transactions() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let url = format!(
        "{}?options=-c%20default_transaction_isolation%3Dserializable",
        server.url()
    );
    let store = SqlStore::builder().table(table()).connect(&url);
    let store = store.await.unwrap();
    store.migrate().await.unwrap();
    common::settles_races(store, 5).await;
}

#[tokio::test]
async fn a_role_that_may_make_no_table_may_still_migrate_where_nothing_is_to_do() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let owner = SqlStore::connect(&server.url()).await.unwrap();
    let role = "CREATE ROLE app LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    server.query(role).unwrap();
    let url = server.url().replace("postgres@", "app@");
    let app = SqlStore::connect(&url).await.unwrap();
    assert_eq!(kind(app.migrate().await), ErrorKind::Misconfigured);
    owner.migrate().await.unwrap();
    let refused = app.create(&key().digest(), &sample("x")).await;
    assert_eq!(kind(refused), ErrorKind::Misconfigured);
    server
        .query(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_sessions TO app; \
             GRANT SELECT ON cloakroom_sessions_schema TO app",
        )
        .unwrap();
    app.migrate().await.unwrap();
    app.create(&key().digest(), &sample("x")).await.unwrap();
}

#[tokio::test]
async fn a_table_of_a_newer_schema_is_left_alone() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    server
        .query(&format!("INSERT INTO {table}_schema VALUES (2)"))
        .unwrap();
    assert_eq!(kind(store.migrate().await), ErrorKind::Unsupported);
}

/// PostgreSQL quotes the row that it refuses, in the detail of its error.
#[tokio::test]
async fn an_error_holds_nothing_of_the_session() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    let check = format!("ALTER TABLE {table} ADD CONSTRAINT none CHECK (length(data) = 0)");
    server.query(&check).unwrap();
    let mut record = sample("x");
    record.data = cloakroom_core::store::Data::from_bytes(b"hunter2".to_vec());
    let error = store.create(&key().digest(), &record).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    let text = format!("{error} {error:?} {source} {source:?}");
    assert!(text.contains("23514"), "{text}");
    for secret in ["hunter2", "68756e74657232", "Failing row"] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// All connections but the one that asks.
const OTHERS: &str = "FROM pg_stat_activity WHERE datname = 'cloakroom' \
                      AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// Whoever is cut off in the middle of a write does not know, and does not repeat.
#[tokio::test]
async fn a_write_that_is_cut_off_is_unavailable_and_not_repeated() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let builder = SqlStore::builder().statement_timeout(Duration::from_secs(60));
    let store = server.open_with(builder).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM cloakroom_sessions FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let cut = async {
        let waiting =
            format!("SELECT pg_terminate_backend(pid) {OTHERS} AND wait_event_type = 'Lock'");
        let is_cut = || server.query(&waiting).unwrap().len() == 1;
        common::eventually("one waits, and is cut off", is_cut).await;
    };
    let (written, ()) = tokio::join!(store.update(&digest, &record), cut);
    assert_eq!(kind(written), ErrorKind::Unavailable);
    held.rollback().await.unwrap();
    store.update(&digest, &record).await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable_and_gives_its_place_back() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let builder = SqlStore::builder()
        .pool_size(1)
        .statement_timeout(Duration::from_secs(5));
    let store = server.open_with(builder).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM cloakroom_sessions FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("gave the statement up"),
        "{error}"
    );
    assert!(store.load(&digest).await.unwrap().is_some());
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_costs_no_connection_and_mixes_no_answers_up() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let store = server.open_with(SqlStore::builder().pool_size(1)).await;
    let pids = || server.query(&format!("SELECT pid {OTHERS}")).unwrap();
    let before = pids();
    drops::answers_what_was_asked_after_a_drop(&store).await;
    let after = pids();
    let builder = SqlStore::builder().pool_size(1);
    let open = async || server.open_with(builder.clone()).await;
    drops::answers_what_was_asked_after_a_drop_at_first(open).await;
    assert_eq!(before, after, "one connection served them all");
}

/// A transaction that its client has left would keep its locks for as long as nobody uses
/// the connection.
#[tokio::test]
async fn a_transaction_that_is_dropped_half_way_is_rolled_back_at_once() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtext('cloakroom cloakroom_sessions'))";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let builder = SqlStore::builder().pool_size(1);
    let store = builder.connect(&server.url()).await.unwrap();
    let count =
        |of: &str| server.query(&format!("SELECT count(*) FROM {of}")).unwrap()[0][0].clone();
    {
        let mut making = std::pin::pin!(store.migrate());
        let waits = "pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while count(waits) == "0" {
            let moment = tokio::time::timeout(Duration::from_millis(20), &mut making).await;
            assert!(moment.is_err(), "the lock is another's");
        }
    }
    held.rollback().await.unwrap();
    let locked = "pg_locks WHERE locktype = 'advisory'";
    common::eventually("nothing is locked", || count(locked) == "0").await;
    let open = "pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(count(open), "0");
    store.migrate().await.unwrap();
}

/// As a `main` that is not asynchronous drops it, after its runtime.
#[test]
fn a_store_may_be_dropped_outside_of_a_runtime() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async {
        let store = server.open_with(SqlStore::builder()).await;
        store.create(&key().digest(), &sample("x")).await.unwrap();
        store
    });
    drop(runtime);
    drop(store);
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_and_is_found_again() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let timeout = Duration::from_secs(2);
    let builder = SqlStore::builder()
        .pool_size(2)
        .acquire_timeout(timeout)
        .statement_timeout(timeout);
    let store = server.open_with(builder).await;
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    server.pause();
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(kind(store.load(&digest).await), ErrorKind::Unavailable);
        assert!(
            begun.elapsed() < Duration::from_secs(12),
            "{:?}",
            begun.elapsed()
        );
    }
    server.resume();
    // What hung is given up in bounded time.
    let begun = Instant::now();
    while store.load(&digest).await.is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "it is not found again"
        );
    }
}

/// As other stores have it, an index that is compared with something else than it holds
/// is not used.
#[tokio::test]
async fn each_index_is_used() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    server
        .query(&format!(
            "INSERT INTO {table} SELECT decode(md5(n::text) || md5('x' || n), 'hex'), 1, NULL, NULL, 1, \
             0, 0, n * 1000, NULL, NULL, NULL, ('user ' || (n % 5000))::bytea, \
             sha256((n % 5000)::text::bytea), NULL, 0, NULL, '' FROM generate_series(1, 20000) n; ANALYZE {table}"
        ))
        .unwrap();
    for (sql, index) in [
        (
            format!(
                "WITH due AS (SELECT digest FROM {table} WHERE expires_at <= 5000 \
                 ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED), \
                 left_over AS (UPDATE {table} SET ended = 'idle' WHERE digest IN \
                 (SELECT digest FROM due) AND expires_at <= 5000 RETURNING 1) \
                 DELETE FROM {table} WHERE digest IN (SELECT digest FROM due) \
                 AND expires_at <= 5000"
            ),
            "expires_at",
        ),
        (
            format!("SELECT digest FROM {table} WHERE subject_digest = sha256('7')"),
            "subject",
        ),
    ] {
        let plan = server
            .query(&format!("EXPLAIN {sql}"))
            .unwrap()
            .concat()
            .join("\n");
        assert!(plan.contains(&format!("{table}_{index}")), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
    // And what the store itself sends: the server counts the rows that it has read
    // in tables as a whole, and the use of each index.
    let scans = || {
        let sql = format!(
            "SELECT s.seq_tup_read, min(i.idx_scan) FROM pg_stat_user_tables s \
             JOIN pg_stat_user_indexes i USING (relid) \
             WHERE s.relname = '{table}' GROUP BY 1"
        );
        let row = server.query(&sql).unwrap().remove(0);
        (row[0].clone(), row[1].parse::<u64>().unwrap())
    };
    let (read_whole, _) = scans();
    let subject = listed_as(&Subject::new("nobody").unwrap());
    let subjects = store.capabilities().subjects.unwrap();
    let sweep = store.capabilities().sweep.unwrap();
    let digest = key().digest();
    let begun = Instant::now();
    let mut swept = 0;
    while scans().1 == 0 {
        subjects.sessions_of(&subject, usize::MAX).await.unwrap();
        let ending = ending();
        for ending in [None, Some(&ending)] {
            let ended = subjects.end_sessions(&subject, Revoke::AllBut(digest), ending);
            ended.await.unwrap();
            store.end(&digest, ending).await.unwrap();
        }
        // These leave tombstones, and those nothing.
        for now in [5_000, 5_000 + DAY_MILLIS] {
            let now = cloakroom_core::Timestamp::from_millis(now);
            swept += sweep.sweep(now, 2).await.unwrap().removed;
        }
        // A backend tells its counts once a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", scans());
    }
    assert!(swept > 0);
    assert_eq!(scans().0, read_whole);
}

/// What the server is asked to execute, once its statements are prepared.
async fn executed(server: &Postgres, work: impl Future<Output = ()>) -> Vec<String> {
    let before = server.log().len();
    work.await;
    let log = server.log();
    let lines = log[before..].lines();
    lines
        .filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn each_write_that_succeeds_is_one_statement() {
    let Some(server) = Postgres::start_with(&["-c", "log_statement=all"]) else {
        return;
    };
    for notifying in [false, true] {
        let builder = SqlStore::builder().table(table()).notifying(notifying);
        let store = &server.open_with(builder.pool_size(1)).await;
        let subjects = store.capabilities().subjects.unwrap();
        let sweep = store.capabilities().sweep.unwrap();
        let subject = &Subject::new("user-42").unwrap();
        // The first round prepares; the second is counted.
        for round in 0..2 {
            let (digest, new) = (&key().digest(), &key().digest());
            let mut record = sample("x");
            let mut counts = Vec::new();
            let mut count = |name, lines: Vec<String>| counts.push((name, lines.len()));
            count(
                "create",
                executed(&server, async {
                    record.revision = store.create(digest, &record).await.unwrap();
                })
                .await,
            );
            count(
                "load",
                executed(&server, async {
                    store.load(digest).await.unwrap().unwrap();
                })
                .await,
            );
            count(
                "update",
                executed(&server, async {
                    record.revision = store.update(digest, &record).await.unwrap();
                })
                .await,
            );
            count(
                "touch",
                executed(&server, async {
                    let touch = touch_until(later(9_000));
                    store.touch(digest, record.revision, touch).await.unwrap();
                })
                .await,
            );
            count(
                "rotate",
                executed(&server, async {
                    record.revision = store.rotate(digest, new, &record, later(60)).await.unwrap();
                })
                .await,
            );
            count(
                "list",
                executed(&server, async {
                    assert_eq!(
                        subjects
                            .sessions_of(&listed_as(subject), usize::MAX)
                            .await
                            .unwrap()
                            .len(),
                        1
                    );
                })
                .await,
            );
            count(
                "delete",
                executed(&server, async {
                    store.delete(new).await.unwrap();
                })
                .await,
            );
            let ending = ending();
            let mut sessions = Vec::new();
            for _ in 0..3 {
                let digest = key().digest();
                store.create(&digest, &sample("x")).await.unwrap();
                sessions.push(digest);
            }
            count(
                "end",
                executed(&server, async {
                    store.end(&sessions[0], Some(&ending)).await.unwrap();
                })
                .await,
            );
            count(
                "end of one that has ended",
                executed(&server, async {
                    store.end(&sessions[0], Some(&ending)).await.unwrap();
                })
                .await,
            );
            count(
                "end all",
                executed(&server, async {
                    let whose = listed_as(subject);
                    let ended = subjects.end_sessions(&whose, Revoke::All, Some(&ending));
                    assert_eq!(ended.await.unwrap().len(), 2);
                })
                .await,
            );
            count(
                "delete of nothing",
                executed(&server, async {
                    store.delete(&key().digest()).await.unwrap();
                })
                .await,
            );
            store.create(&key().digest(), &sample("x")).await.unwrap();
            count(
                "revoke",
                executed(&server, async {
                    assert_eq!(
                        subjects
                            .revoke(&listed_as(subject), Revoke::All)
                            .await
                            .unwrap()
                            .len(),
                        1
                    );
                })
                .await,
            );
            count(
                "sweep",
                executed(&server, async {
                    sweep.sweep(later(120), 10).await.unwrap();
                })
                .await,
            );
            if round == 1 {
                let expected = [
                    ("create", 1),
                    ("load", 1),
                    ("update", 1),
                    ("touch", 1),
                    ("rotate", 1),
                    ("list", 1),
                    ("delete", 1),
                    ("end", 1),
                    ("end of one that has ended", 2),
                    ("end all", 2),
                    ("delete of nothing", 2),
                    ("revoke", 2),
                    ("sweep", 1),
                ];
                assert_eq!(counts, expected, "notifying: {notifying}");
            }
        }
    }
}

#[tokio::test]
async fn a_row_longer_than_any_record_is_corrupt_and_can_be_ended() {
    let Some(server) = <Postgres as Server>::shared() else {
        return;
    };
    let table = table();
    let store = server.open_with(SqlStore::builder().table(&*table)).await;
    let long = "convert_to(repeat('x', 17 * 1024 * 1024), 'UTF8')";
    common::tells_a_row_longer_than_any_record(&store, &table, long, async |sql| {
        server.query(&sql).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_unix_socket_is_named_by_url() {
    let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    // The server may be another user's.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), all).unwrap();
    let path = folder.path().display().to_string();
    let directory = format!("unix_socket_directories={path}");
    let Some(server) = Postgres::start_with(&["-c", &directory]) else {
        return;
    };
    let (host, port) = (path.replace('/', "%2F"), server.port());
    for url in [
        format!("postgres://postgres@{host}:{port}/cloakroom"),
        format!("postgres://postgres@localhost:{port}/cloakroom?host={path}"),
    ] {
        let store = SqlStore::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        store.create(&key().digest(), &sample("x")).await.unwrap();
    }
    let nowhere = SqlStore::connect("postgres://postgres@%2Fnowhere/cloakroom").await;
    let error = nowhere.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere"), "{error}");
}
