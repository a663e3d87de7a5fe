//! One script of requests on each framework: the same answers.

use cloakroom::stores::MemoryStore;
use cloakroom::{AnyStore, Engine};
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::{Site, script};

use crate::fresh_stores;

async fn on_axum(engine: Engine) -> Site {
    Site::serve(script::on_axum::router(engine)).await
}

async fn on_hyper(engine: Engine) -> Site {
    Site::serve_by(|listener| script::on_hyper::serve(engine, listener)).await
}

fn memory() -> AnyStore {
    AnyStore::new(MemoryStore::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_gives_the_answers_of_the_script() {
    let site = on_axum(script::engine(memory())).await;
    script::run(site.addr).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_gives_the_answers_of_the_script() {
    let site = on_hyper(script::engine(memory())).await;
    script::run(site.addr).await;
}

/// All of them have loaded their session before the first one writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_each_framework_and_store_each_of_128_increments_counts() {
    let folder = tempfile::tempdir().unwrap();
    let redb = Embedded::Redb.open(folder.path()).await;
    let mut stores = vec![("memory", memory()), ("redb", redb)];
    let fresh = fresh_stores::all();
    for fresh in &fresh {
        stores.push((fresh.name, cloakroom::open(&fresh.url).await.unwrap()));
    }
    for (name, store) in stores {
        let engine = script::engine(store);
        for (framework, site) in [
            ("axum", on_axum(engine.clone()).await),
            ("hyper", on_hyper(engine.clone()).await),
        ] {
            let start = std::time::Instant::now();
            script::increments(site.addr).await;
            println!(
                "{framework}, {name}: 128 increments in {:?}",
                start.elapsed()
            );
        }
    }
}
