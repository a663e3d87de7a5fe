//! W1 load, W2 save, W3 create and W6 memory: the store alone.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;

use crate::contender::{Contender, REPETITIONS, Run, operations};
use crate::profile::{Profile, Rng, next_stamp};

const POPULATION: usize = 100_000;
const CHUNK: usize = 256;
const LOADS_MAX: usize = 400_000;
const CREATES_MAX: usize = 20_000;
/// Sessions by whose number the growth of memory is divided.
const MEASURED: usize = 200_000;

pub(super) fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}

/// Stores the first `n` sessions and looks at some of them; their keys in random order.
pub(super) async fn fill<C: Contender>(contender: &Arc<C>, n: usize) -> Vec<C::Key> {
    let tasks = contender.fillers();
    let fillers: Vec<_> = (0..tasks)
        .map(|first| {
            let contender = contender.clone();
            tokio::spawn(async move {
                let mut keys = Vec::with_capacity(n / tasks + 1);
                for i in (first..n).step_by(tasks) {
                    let profile = Profile::new(i as u64);
                    let key = contender.create(contender.encode(&profile)).await;
                    if i % 997 == 0 {
                        let rec = contender.load(&key).await.expect("it was just created");
                        assert_eq!(contender.decode(rec), profile);
                    }
                    keys.push(key);
                }
                keys
            })
        })
        .collect();
    let mut keys = Vec::with_capacity(n);
    for filler in fillers {
        keys.append(&mut filler.await.unwrap());
    }
    Rng::new(1).shuffle(&mut keys);
    keys
}

pub(super) fn draw<K: Clone>(keys: &[K], seed: u64, n: usize) -> Vec<K> {
    let mut rng = Rng::new(seed);
    (0..n)
        .map(|_| keys[rng.below(keys.len())].clone())
        .collect()
}

/// Bytes of this process that are in memory.
pub(super) fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux system");
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

impl Run {
    /// Runs the store's works; `open` gives a new, empty store.
    pub fn store<C: Contender>(&self, open: impl AsyncFn() -> C) {
        for threads in [1, 2] {
            if !["w1", "w2", "w3"].iter().any(|work| self.wants(work)) {
                break;
            }
            let runtime = runtime(threads);
            let contender = Arc::new(runtime.block_on(open()));
            let keys = runtime.block_on(fill(&contender, POPULATION));
            let (on, filled) = ((&runtime, threads), (&contender, &keys[..]));
            if self.wants("w1") {
                self.loads(("W1", &threads_named(threads)), on, filled, false);
            }
            if self.wants("w1") && threads == 1 {
                self.loads(("W1", "decoded"), on, filled, true);
            }
            if self.wants("w2") {
                self.saves(&runtime, threads, &contender, &keys);
            }
            if self.wants("w3") && threads == 1 {
                self.creates(&runtime, &contender);
            }
        }
        if self.wants("w6") {
            assert_eq!(
                self.works,
                ["w6"],
                "memory is measured in a process of its own"
            );
            self.memory(&open);
        }
        if let Some(population) = self.number("growth") {
            self.growth(population, &open);
        }
        if self.wants("durable") {
            self.durable_creates(&open);
        }
    }

    /// Starts `job(seed, operations)` on every thread at once, several times; a job says how
    /// long its operations took. The job's call prepares, its future is measured.
    fn measure<J: Future<Output = Duration> + Send + 'static>(
        &self,
        (runtime, threads): (&Runtime, usize),
        max: usize,
        (work, variant): (&str, &str),
        job: impl Fn(u64, usize) -> J,
    ) {
        let run = |seed: u64, n: usize| {
            let gate = Arc::new(Barrier::new(threads));
            let tasks = (0..threads as u64).map(|thread| {
                let (job, gate) = (job(seed * 16 + thread, n), gate.clone());
                runtime.spawn(async move {
                    gate.wait();
                    unconstrained(job).await
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let took = tasks
                .into_iter()
                .map(|task| runtime.block_on(task).unwrap());
            took.sum::<Duration>().as_nanos() as f64 / (n * threads) as f64
        };
        let n = operations(run(1, 500), max);
        run(2, n);
        for repetition in 0..REPETITIONS {
            self.emit(work, variant, run(repetition + 3, n), "ns");
        }
    }

    /// Loads of sessions drawn evenly; `decodes` has all six values read too.
    pub(super) fn loads<C: Contender>(
        &self,
        (work, variant): (&str, &str),
        (runtime, threads): (&Runtime, usize),
        (contender, keys): (&Arc<C>, &[C::Key]),
        decodes: bool,
    ) {
        self.measure((runtime, threads), LOADS_MAX, (work, variant), |seed, n| {
            let (contender, keys) = (contender.clone(), draw(keys, seed, n));
            async move {
                let start = Instant::now();
                for key in &keys {
                    let rec = contender.load(key).await.expect("a stored session");
                    if decodes {
                        black_box(contender.decode(rec));
                    } else {
                        black_box(rec);
                    }
                }
                start.elapsed()
            }
        });
    }

    fn saves<C: Contender>(
        &self,
        runtime: &Runtime,
        threads: usize,
        contender: &Arc<C>,
        keys: &[C::Key],
    ) {
        let variant = threads_named(threads);
        self.measure(
            (runtime, threads),
            LOADS_MAX,
            ("W2", &variant),
            |seed, n| {
                let (contender, keys) = (contender.clone(), draw(keys, seed, n));
                async move {
                    let mut took = Duration::ZERO;
                    for chunk in keys.chunks(CHUNK) {
                        let mut recs = Vec::with_capacity(CHUNK);
                        for key in chunk {
                            let mut rec = contender.load(key).await.expect("a stored session");
                            contender.touch(&mut rec, next_stamp());
                            recs.push(rec);
                        }
                        let start = Instant::now();
                        for (key, rec) in chunk.iter().zip(recs) {
                            contender.save(key, rec).await;
                        }
                        took += start.elapsed();
                    }
                    took
                }
            },
        );
    }

    fn creates<C: Contender>(&self, runtime: &Runtime, contender: &Arc<C>) {
        self.measure((runtime, 1), CREATES_MAX, ("W3", "1 thread"), |seed, n| {
            let contender = contender.clone();
            async move {
                let mut took = Duration::ZERO;
                for first in (0..n).step_by(CHUNK) {
                    let numbers = (first..n.min(first + CHUNK)).map(|i| seed << 32 | i as u64);
                    let recs: Vec<_> = numbers
                        .map(|number| contender.encode(&Profile::new(number)))
                        .collect();
                    let start = Instant::now();
                    for rec in recs {
                        black_box(contender.create(rec).await);
                    }
                    took += start.elapsed();
                }
                took
            }
        });
    }

    fn memory<C: Contender>(&self, open: impl AsyncFn() -> C) {
        let runtime = runtime(1);
        let contender = Arc::new(runtime.block_on(open()));
        // What a store allocates once is there before the first look.
        runtime.block_on(fill(&contender, 1));
        let before = resident();
        let filling = contender.clone();
        let filled = runtime.spawn(async move {
            for i in 1..=MEASURED {
                filling
                    .create(filling.encode(&Profile::new(i as u64)))
                    .await;
            }
        });
        runtime.block_on(filled).unwrap();
        let per_session = (resident() - before) / MEASURED as f64;
        self.emit("W6", "in the process", per_session, "B");
    }
}

fn threads_named(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}
