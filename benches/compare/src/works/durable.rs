//! W8: creates a second that are on the disk before they are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::runtime;
use crate::contender::{Contender, REPETITIONS, Run};
use crate::profile::Profile;

const MEASURED: Duration = Duration::from_secs(2);
pub const BATCH: usize = 64;

impl Run {
    /// By one writer, and by 64 that each wait for their own answer.
    pub(super) fn durable_creates<C: Contender>(&self, open: impl AsyncFn() -> C) {
        let runtime = runtime(2);
        let contender = Arc::new(runtime.block_on(open()));
        for repetition in 0..=REPETITIONS {
            for writers in [1, BATCH] {
                let rate = runtime.block_on(creates_a_second(&contender, writers));
                if repetition > 0 {
                    self.emit(
                        "W8",
                        &format!("{writers} writer{}", if writers == 1 { "" } else { "s" }),
                        rate,
                        "creates/s",
                    );
                }
            }
        }
    }

    /// The same beside it, by the database alone: `commit(first)` keeps 64 new sessions,
    /// numbered from `first`, by one transaction and one sync.
    pub fn durable_batch(&self, mut commit: impl FnMut(usize)) {
        if !self.wants("durable") {
            return;
        }
        let mut next = 0;
        for repetition in 0..=REPETITIONS {
            let (start, first) = (Instant::now(), next);
            while start.elapsed() < MEASURED {
                commit(next);
                next += BATCH;
            }
            let rate = (next - first) as f64 / start.elapsed().as_secs_f64();
            if repetition > 0 {
                self.emit("W8", "batches of 64", rate, "creates/s");
            }
        }
    }
}

async fn creates_a_second<C: Contender>(contender: &Arc<C>, writers: usize) -> f64 {
    let start = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let contender = contender.clone();
        tokio::spawn(async move {
            let mut created = 0;
            let profiles: Vec<_> = (0..BATCH)
                .map(|i| Profile::new((writer << 32 | i) as u64))
                .collect();
            while start.elapsed() < MEASURED {
                let rec = contender.encode(&profiles[created % BATCH]);
                contender.create(rec).await;
                created += 1;
            }
            created
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.unwrap();
    }
    created as f64 / start.elapsed().as_secs_f64()
}
