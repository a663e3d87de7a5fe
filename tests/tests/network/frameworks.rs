//! One script of requests on each framework: the same answers.

use cloakroom::AnyStore;
use cloakroom::stores::MemoryStore;
use cloakroom_tests::{Site, script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_gives_the_answers_of_the_script() {
    let engine = script::engine(AnyStore::new(MemoryStore::default()));
    let site = Site::serve(script::on_axum::router(engine)).await;
    script::run(site.addr).await;
}
