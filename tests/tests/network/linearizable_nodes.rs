//! Eight clients at once on two nodes: some order of their calls explains every answer.
//! `CLOAKROOM_TRIALS` says how often it is tried.

use std::sync::Arc;

use cloakroom_testkit::Trial;

use crate::fresh_stores;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_each_are_linearizable_together() {
    let trials = std::env::var("CLOAKROOM_TRIALS").ok();
    let trials: u64 = trials.map_or(60, |text| text.parse().unwrap());
    for fresh in fresh_stores::all() {
        let open = async || cloakroom::open(&fresh.url).await.unwrap();
        let nodes = [open().await, open().await];
        for seed in 0..trials {
            let trial = Arc::new(Trial::new(seed));
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let (trial, store) = (trial.clone(), nodes[client % 2].clone());
                    tokio::spawn(async move { trial.client(&store, 6).await })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            trial.check();
        }
        println!("{}: {trials} trials of 48 calls", fresh.name);
    }
}
