//! Databases whose default isolation is not the one that the statements are made for.

#![cfg(all(feature = "mysql", feature = "postgres"))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::Duration;

use cloakroom_core::store::SessionStore as _;
use cloakroom_servers::{Mariadb, Postgres};
use cloakroom_sql::{SqlStore, SqlStoreBuilder};
use cloakroom_testkit::{key, sample};
use futures_util::future::join_all;

use common::table;

/// Six nodes make the table of an empty database at once.
async fn start_at_once(node: impl AsyncFn() -> SqlStore) -> Vec<SqlStore> {
    let nodes = join_all((0..6).map(|_| node())).await;
    let made = nodes.iter().map(|store| {
        let store = store.clone();
        tokio::spawn(async move { store.migrate().await })
    });
    for made in join_all(made).await {
        made.unwrap().unwrap();
    }
    nodes
}

/// Nodes start at once, and then work at once.
async fn serves(url: &str, builder: SqlStoreBuilder) {
    // They work at once on one disk, and each write is synced.
    let builder = builder
        .table(table())
        .statement_timeout(Duration::from_secs(60));
    let nodes = start_at_once(async || builder.clone().connect(url).await.unwrap()).await;
    let work = nodes.iter().cycle().take(48).map(|store| {
        let store = store.clone();
        tokio::spawn(async move {
            let (old, new) = (key().digest(), key().digest());
            let mut record = sample("x");
            record.revision = store.create(&old, &record).await?;
            record.revision = store.update(&old, &record).await?;
            let until = common::later(60);
            store.rotate(&old, &new, &record, until).await?;
            store.load(&new).await?.unwrap();
            let sweep = store.capabilities().sweep.unwrap();
            sweep.sweep(common::later(1), 10).await?;
            store.delete(&new).await
        })
    });
    for done in join_all(work).await {
        done.unwrap().unwrap();
    }
    let store = builder.table(table()).connect(url).await.unwrap();
    store.migrate().await.unwrap();
    common::conforms(&store).await;
    common::settles_races(store, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_nodes_start_at_once_on_postgres_whatever_its_default_isolation() {
    let Some(server) = Postgres::start() else {
        return;
    };
    for isolation in ["serializable", "repeatable read"] {
        let set = "ALTER DATABASE cloakroom SET default_transaction_isolation";
        server.query(&format!("{set} = '{isolation}'")).unwrap();
        serves(&server.url(), SqlStore::builder()).await;
        serves(&server.url(), SqlStore::builder().behind_pooler(true)).await;
        let table = table();
        start_at_once(async || {
            let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
            let builder = SqlStore::builder().table(&*table);
            builder.from_pg_pool(pool).unwrap()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_nodes_start_at_once_on_mariadb_whatever_its_default_isolation() {
    for isolation in ["SERIALIZABLE", "REPEATABLE-READ", "READ-COMMITTED"] {
        let isolation = format!("--transaction-isolation={isolation}");
        let Some(server) = Mariadb::start_with(&[&isolation]) else {
            return;
        };
        serves(&server.url(), SqlStore::builder()).await;
        let table = table();
        start_at_once(async || {
            let pool = sqlx::MySqlPool::connect(&server.url()).await.unwrap();
            let builder = SqlStore::builder().table(&*table);
            builder.from_mysql_pool(pool).unwrap()
        })
        .await;
    }
}
