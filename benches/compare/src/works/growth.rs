//! W7: what a store costs among so many sessions. A process of its own for each number.

use std::sync::Arc;
use std::time::Instant;

use super::store::{draw, fill, resident, runtime};
use crate::contender::{Contender, Run};
use crate::profile::{Profile, next_stamp};

/// Saves whose 99th percentile is taken.
const SAVES: usize = 2_000;
const EXPIRED: usize = 1_000;

impl Run {
    pub(super) fn growth<C: Contender>(&self, population: usize, open: impl AsyncFn() -> C) {
        let emit = |figure: &str, value: f64, unit: &str| {
            self.emit("W7", &format!("{figure} at {population}"), value, unit);
        };
        let runtime = runtime(1);
        let contender = Arc::new(runtime.block_on(open()));
        let (resident_before, outside_before) = (resident(), contender.outside_bytes());
        let keys = runtime.block_on(fill(&contender, population));
        let mut held = resident() - resident_before - size_of_val(&keys[..]) as f64;
        if contender.outside_bytes() > 0 {
            held = (contender.outside_bytes() - outside_before) as f64;
        }
        emit("bytes", held / population as f64, "B");

        let variant = format!("load at {population}");
        self.loads(("W7", &variant), (&runtime, 1), (&contender, &keys), false);

        let (saving, drawn) = (contender.clone(), draw(&keys, 7, SAVES));
        let mut took = runtime.block_on(async move {
            let mut took = Vec::with_capacity(SAVES);
            for key in drawn {
                let mut rec = saving.load(&key).await.expect("a stored session");
                saving.touch(&mut rec, next_stamp());
                let start = Instant::now();
                saving.save(&key, rec).await;
                took.push(start.elapsed());
            }
            took
        });
        took.sort();
        emit("save p99", took[SAVES * 99 / 100].as_nanos() as f64, "ns");

        let sweeping = contender.clone();
        let swept = runtime.block_on(async move {
            for i in 0..EXPIRED {
                let rec = sweeping.encode(&Profile::new(i as u64));
                if !sweeping.create_expired(rec).await {
                    return None;
                }
            }
            let start = Instant::now();
            let removed = sweeping.sweep().await;
            Some((removed, start.elapsed()))
        });
        // A store that forgets by itself may have been faster.
        if let Some((EXPIRED, took)) = swept {
            emit("sweep", took.as_nanos() as f64, "ns");
        }
        if let Some(took) = runtime.block_on(contender.reopen(&keys[0])) {
            emit("open", took.as_nanos() as f64, "ns");
        }
    }
}
