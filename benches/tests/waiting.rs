//! What 100,000 sockets cost that wait for the ends of their sessions. Bytes and wakes are
//! exact, so they are asserted.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use cloakroom::engine::{SessionKey, TokenStore as _};
use cloakroom::session::Ended;
use cloakroom::store::{BoxFuture, EndReason};
use cloakroom::{Clock as _, Engine, Expiry, SystemClock};
use cloakroom_testkit::MapStore;
use tokio::runtime::{Builder, Runtime};

const SOCKETS: u64 = 100_000;

/// Bytes that one that waits may take: its future, its entry in the map, and what the two
/// share.
const BYTES_MAX: u64 = 600;

/// Sessions that log out with and without all the others waiting.
const FIRST: u64 = 100;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn key(number: u64) -> SessionKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionKey::from_bytes(bytes)
}

/// An engine that knows so many sessions, and asks for them no more often than a test lasts.
async fn site() -> Engine {
    let engine = Engine::builder(MapStore::default()).check_ended_every(Duration::from_secs(3_600));
    let engine = engine.build().unwrap();
    let record = Expiry::default().begin(SystemClock.now());
    for number in 0..SOCKETS {
        let token = engine.token(key(number).to_token().expose());
        let key = SessionKey::from_token(&token).unwrap();
        let created = engine.store().create_token(&key, &record);
        created.await.unwrap();
    }
    engine
}

async fn socket(engine: &Engine, number: u64) -> BoxFuture<'static, Ended> {
    let exchange = engine.exchange();
    let token = engine.token(key(number).to_token().expose());
    let session = exchange.open_token(token).await.unwrap();
    let ended = session.ended();
    exchange.close(200).await;
    ended
}

/// The time that it takes to log out, half of the time.
async fn median(engine: &Engine, numbers: impl Iterator<Item = u64>) -> Duration {
    let mut times = Vec::new();
    for number in numbers {
        times.push(log_out(engine, number).await);
    }
    times.sort();
    times[times.len() / 2]
}

async fn log_out(engine: &Engine, number: u64) -> Duration {
    let exchange = engine.exchange();
    let token = engine.token(key(number).to_token().expose());
    let session = exchange.open_token(token).await.unwrap();
    session.flush().unwrap();
    let begun = Instant::now();
    exchange.close(200).await;
    begun.elapsed()
}

/// Opens a socket for each session up to a number, which waits.
fn open_up_to(
    end: u64,
    (runtime, engine): (&Runtime, &Engine),
    waker: &Waker,
) -> Vec<BoxFuture<'static, Ended>> {
    let mut sockets = Vec::with_capacity(SOCKETS as usize);
    runtime.block_on(async {
        for number in FIRST..end {
            sockets.push(socket(engine, number).await);
        }
        // The first poll begins the task that asks for them all.
        for socket in &mut sockets {
            let mut context = Context::from_waker(waker);
            assert!(socket.as_mut().poll(&mut context).is_pending());
        }
        // The first of them are asked about, until it is quiet.
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    sockets
}

#[test]
fn many_sockets_cost_an_entry_each_and_an_end_wakes_one() {
    let runtime = runtime();
    let engine = runtime.block_on(site());
    let alone = runtime.block_on(median(&engine, 0..FIRST));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let site = (&runtime, &engine);
    // What the runtime and the engine keep for the next time is no cost of a socket.
    drop(open_up_to(1_000, site, &waker));

    let mut sockets = Vec::new();
    let opened = allocation_counter::measure(|| sockets = open_up_to(SOCKETS, site, &waker));
    let taken = u64::try_from(opened.bytes_current).unwrap() / SOCKETS;
    let closed = allocation_counter::measure(|| drop(std::mem::take(&mut sockets)));
    let left = opened.bytes_current + closed.bytes_current;
    assert!(taken <= BYTES_MAX, "{taken} bytes");
    assert!(left.abs() < 16 * 1024, "{left} bytes are left");

    let mut sockets = open_up_to(SOCKETS, site, &waker);
    let crowded = runtime.block_on(median(&engine, FIRST..2 * FIRST));
    println!(
        "{SOCKETS} that wait: {taken} bytes each; a logout takes {alone:?} with none, and \
         {crowded:?} with all"
    );
    assert_eq!(wakes.0.load(Ordering::SeqCst), FIRST as usize);
    let mut context = Context::from_waker(&waker);
    for socket in &mut sockets[..FIRST as usize] {
        match socket.as_mut().poll(&mut context) {
            Poll::Ready(ended) => assert_eq!(ended.because, EndReason::LoggedOut),
            Poll::Pending => panic!("it has ended"),
        }
    }
}
