//! One store, and workers with a runtime each, as actix-web has them: what a worker has
//! opened or begun does not end with it for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cloakroom::Engine;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::fresh_stores;

/// Saves new sessions without end, eight at a time.
struct Worker {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    saved: AtomicU64,
    failed: AtomicU64,
}

impl Worker {
    fn start(engine: &Engine) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let counts = Arc::new(Counts::default());
        let (engine, counted) = (engine.clone(), counts.clone());
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                for _ in 0..8 {
                    tokio::spawn(save_without_end(engine.clone(), counted.clone()));
                }
                let _ = stopped.await;
            });
        });
        Self {
            stop,
            thread,
            counts,
        }
    }

    async fn has_saved(&self, more: u64) {
        let saved = || self.counts.saved.load(Ordering::Relaxed);
        let goal = saved() + more;
        let reached = async {
            while saved() < goal {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(Duration::from_secs(60), reached).await;
        reached.expect("the worker goes on saving");
    }

    fn end(self) -> u64 {
        let _ = self.stop.send(());
        self.thread.join().unwrap();
        self.counts.failed.load(Ordering::Relaxed)
    }
}

async fn save_without_end(engine: Engine, counts: Arc<Counts>) {
    loop {
        let exchange = engine.exchange();
        let opened = exchange.open(std::iter::empty()).await;
        opened.unwrap().insert("n", 1).unwrap();
        let count = match exchange.close(200).await.failure {
            None => &counts.saved,
            Some(error) => {
                println!("a save failed: {error:?}");
                &counts.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_worker_that_ends_fails_no_save_of_another() {
    for fresh in fresh_stores::all() {
        let store = cloakroom::open(&fresh.url).await.unwrap();
        let engine = Engine::new(store);
        // Whoever comes first opens the connections.
        let mut present = Worker::start(&engine);
        present.has_saved(50).await;
        for _ in 0..3 {
            let next = Worker::start(&engine);
            next.has_saved(50).await;
            present.end();
            next.has_saved(100).await;
            let failed = next.counts.failed.load(Ordering::Relaxed);
            assert_eq!(failed, 0, "{}", fresh.name);
            present = next;
        }
        present.end();
    }
}
