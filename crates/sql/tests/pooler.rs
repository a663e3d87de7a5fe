//! PostgreSQL behind a pooler that lends its connections by the transaction.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::SessionStore as _;
use cloakroom_servers::{Pgbouncer, Postgres};
use cloakroom_sql::{SqlStore, SqlStoreBuilder};
use cloakroom_testkit::{key, sample};
use futures_util::future::join_all;
use tokio::time::timeout;

use common::{proxy::Proxy, table};

/// What lets clients in that ask for more than this pooler knows.
const LENIENT: &str = "ignore_startup_parameters = extra_float_digits,options";

fn builder() -> SqlStoreBuilder {
    SqlStore::builder().table(table()).behind_pooler(true)
}

async fn open(url: &str, builder: SqlStoreBuilder) -> SqlStore {
    let store = builder.connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// A store through a pooler of so many connections.
async fn behind(server: &Postgres, connections: u32) -> Option<(Pgbouncer, SqlStore)> {
    let pooler = Pgbouncer::start(server.port(), connections, "")?;
    let store = open(&pooler.url(), builder()).await;
    Some((pooler, store))
}

#[tokio::test]
async fn conforms_behind_a_pooler() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some((pooler, store)) = behind(server, 2).await else {
        return;
    };
    common::conforms(&store).await;
    let notifying = open(&pooler.url(), builder().notifying(true)).await;
    assert!(notifying.capabilities().invalidations.is_none());
    common::conforms(&notifying).await;
}

/// A node that listens at the server itself hears of a logout on one behind the pooler.
#[tokio::test]
async fn what_is_ended_behind_a_pooler_is_heard_by_who_listens_at_the_server() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some(pooler) = Pgbouncer::start(server.port(), 2, "") else {
        return;
    };
    let builder = SqlStore::builder().table(table()).notifying(true);
    let pooled = open(&pooler.url(), builder.clone().behind_pooler(true)).await;
    let direct = open(&server.url(), builder).await;
    let invalidations = direct.capabilities().invalidations.unwrap();
    let mut listener = invalidations.listen().await.unwrap();
    let digest = key().digest();
    pooled.create(&digest, &sample("x")).await.unwrap();
    pooled.delete(&digest).await.unwrap();
    let heard = timeout(Duration::from_secs(10), async {
        while listener.next().await.unwrap().digest != digest {}
    });
    heard.await.expect("the logout is heard");
}

#[tokio::test]
async fn conforms_without_a_pooler_too() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    common::conforms(&open(&server.url(), builder()).await).await;
    // sqlx would log the text of the statements, and with it the data of sessions.
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let error = builder().from_pg_pool(pool).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_served_at_once_by_few_connections() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some((pooler, first)) = behind(server, 3).await else {
        return;
    };
    common::settles_races(first, 5).await;
    let table = table();
    let builder = SqlStore::builder().table(&*table).behind_pooler(true);
    let url = pooler.url();
    let nodes = join_all((0..6).map(|_| open(&url, builder.clone()))).await;
    let visits = (0..96).map(|number| {
        let store = nodes[number % nodes.len()].clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let (old, new) = (key().digest(), key().digest());
                let mut record = sample(&number.to_string());
                record.revision = store.create(&old, &record).await.unwrap();
                record.revision = store.update(&old, &record).await.unwrap();
                let until = common::later(60);
                store.rotate(&old, &new, &record, until).await.unwrap();
                let found = store.load(&new).await.unwrap().unwrap();
                assert_eq!(found.into_record().unwrap().label, record.label);
                store.delete(&new).await.unwrap();
            }
        })
    });
    for visit in join_all(visits).await {
        visit.unwrap();
    }
}

/// Counted before the pooler, where a statement that is prepared first would be two.
#[tokio::test]
async fn a_statement_is_one_round_trip() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some((pooler, _)) = behind(server, 2).await else {
        return;
    };
    let proxy = Proxy::start(pooler.port());
    let url = proxy.url(&pooler.url(), pooler.port());
    let builder = builder().pool_size(1);
    let store = open(&url, builder.trusted_idle(Duration::from_secs(60))).await;
    let (old, new) = (key().digest(), key().digest());
    let mut record = sample("x");
    let trips = async || {
        // For as long as something behind the answer might take.
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.trips()
    };
    let before = trips().await;
    record.revision = store.create(&old, &record).await.unwrap();
    assert_eq!(trips().await - before, 1, "create");
    let before = trips().await;
    store.load(&old).await.unwrap().unwrap();
    assert_eq!(trips().await - before, 1, "load");
    let before = trips().await;
    record.revision = store.update(&old, &record).await.unwrap();
    assert_eq!(trips().await - before, 1, "update");
    let before = trips().await;
    let until = common::later(60);
    store.rotate(&old, &new, &record, until).await.unwrap();
    assert_eq!(trips().await - before, 1, "rotate");
    let before = trips().await;
    store.delete(&new).await.unwrap();
    assert_eq!(trips().await - before, 1, "delete");
}

#[tokio::test]
async fn nothing_is_left_on_a_connection_for_the_next_who_is_lent_it() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some(pooler) = Pgbouncer::start(server.port(), 1, LENIENT) else {
        return;
    };
    let neighbour = sqlx::postgres::PgConnectOptions::new()
        .host("127.0.0.1")
        .port(pooler.port())
        .username("postgres")
        .database("cloakroom")
        .extra_float_digits(None);
    let neighbour = sqlx::postgres::PgPoolOptions::new()
        .connect_with(neighbour)
        .await
        .unwrap();
    let settings = async || {
        let sql = "SELECT concat_ws(' ', current_setting('statement_timeout'), \
                   current_setting('default_transaction_isolation'), \
                   (SELECT count(*) FROM pg_prepared_statements), pg_backend_pid()) AS all";
        let row = sqlx::raw_sql(sql).fetch_one(&neighbour).await.unwrap();
        sqlx::Row::get::<String, _>(&row, 0)
    };
    let before = settings().await;
    // Unaware of the pooler, it is told, and aware of it, it serves.
    let (url, unaware) = (pooler.url(), SqlStore::builder().table(table()));
    let error = unaware.connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("pooler=transaction"), "{error}");
    assert_eq!(settings().await, before);
    let store = open(&pooler.url(), builder()).await;
    let digest = key().digest();
    let mut record = sample("x");
    record.revision = store.create(&digest, &record).await.unwrap();
    store.update(&digest, &record).await.unwrap();
    store.create(&digest, &record).await.unwrap_err();
    store.delete(&digest).await.unwrap();
    assert_eq!(settings().await, before);
}

#[tokio::test]
async fn a_pooler_that_nobody_has_named_is_recognised() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    for settings in [
        "",
        LENIENT,
        "ignore_startup_parameters = extra_float_digits",
    ] {
        let Some(pooler) = Pgbouncer::start(server.port(), 2, settings) else {
            return;
        };
        let (url, unaware) = (pooler.url(), SqlStore::builder().table(table()));
        let error = unaware.connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("pooler=transaction"), "{error}");
    }
    // A pool of one's own, whose named statements are somebody else's.
    let Some(pooler) = Pgbouncer::start(server.port(), 2, LENIENT) else {
        return;
    };
    let pool = sqlx::PgPool::connect(&pooler.url()).await.unwrap();
    let store = SqlStore::builder().table(table()).from_pg_pool(pool);
    let store = store.unwrap();
    store.migrate().await.unwrap();
    let (digest, record) = (key().digest(), sample("x"));
    store.create(&digest, &record).await.unwrap();
    let loads = join_all((0..96).map(|_| store.load(&digest))).await;
    let errors: Vec<_> = loads.into_iter().filter_map(Result::err).collect();
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("pooler=transaction"), "{error}");
    }
}

/// A statement that nobody waits for any more ends here as well.
#[tokio::test]
async fn the_server_gives_up_what_takes_too_long_behind_a_pooler() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    let Some(pooler) = Pgbouncer::start(server.port(), 2, "") else {
        return;
    };
    let table = table();
    let brief = SqlStore::builder().table(&*table).behind_pooler(true);
    let brief = brief.statement_timeout(Duration::from_secs(2));
    let store = open(&pooler.url(), brief).await;
    let (digest, mut record) = (key().digest(), sample("x"));
    record.revision = store.create(&digest, &record).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let lock = sqlx::AssertSqlSafe(format!("SELECT 1 FROM {table} FOR UPDATE"));
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let error = store.update(&digest, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("gave the statement up"),
        "{error}"
    );
    held.rollback().await.unwrap();
    store.update(&digest, &record).await.unwrap();
}

/// LISTEN is registered on a connection that goes to somebody else, and heard by nobody.
#[tokio::test]
async fn a_channel_through_a_pooler_does_not_pass_for_heard() {
    let Some(server) = cloakroom_servers::postgres() else {
        return;
    };
    for connections in [1, 5] {
        let Some(pooler) = Pgbouncer::start(server.port(), connections, LENIENT) else {
            return;
        };
        let pool = sqlx::PgPool::connect(&pooler.url()).await.unwrap();
        let builder = SqlStore::builder().table(table()).notifying(true);
        let store = builder.from_pg_pool(pool).unwrap();
        let channel = store.capabilities().invalidations.unwrap();
        let error = channel.listen().await.err().expect("it hears nothing");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("nothing is heard"), "{error}");
    }
}
