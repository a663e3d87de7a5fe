//! How many instructions a load, a `get`, and a seal take, counted by valgrind's callgrind.
//!
//! Times vary with the machine; these counts do not, so they can fail a change. One that is
//! more than 5 % off the figure below does. A figure is changed by hand, together with the
//! change that has moved it. Another compiler may move them all.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::task::{Poll, Waker};

use cloakroom_cookie::{CookieStore, KeyRing};
use cloakroom_core::engine::{Context, Entropy, SessionKey, Token, TokenStore as _};
use cloakroom_core::session::{Limits, Session};
use cloakroom_core::store::{KeyDigest, Record, SessionStore as _};
use cloakroom_core::{Clock, Error, Expiry, Timestamp};
use cloakroom_memory::MemoryStore;

type Work = fn(times: u32) -> Result<(), Error>;

/// What is counted, and what it took when it was last looked at, with rustc 1.95 and
/// valgrind 3.19 on x86-64.
const WORKS: [(&str, u64, Work); 4] = [
    ("load a session from memory", 303, load),
    ("get a text of a session", 659, get),
    ("seal a session into a cookie", 10_631, seal),
    ("open a sealed cookie", 7_253, open),
];

const OFF_MAX_PERCENT: u64 = 5;

/// The difference of two runs leaves out what happens once.
const RUNS: [u32; 2] = [100, 1_100];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(name), Some(times)) = (arguments.next(), arguments.next()) {
        return do_times(&name, &times);
    }
    let mut is_as_expected = true;
    for (name, expected, _) in WORKS {
        let [Ok(few), Ok(many)] = RUNS.map(|times| instructions(name, times)) else {
            eprintln!("valgrind could not count the instructions to {name}: is it installed?");
            return ExitCode::FAILURE;
        };
        let counted = many.saturating_sub(few) / u64::from(RUNS[1] - RUNS[0]);
        let is_off = counted.abs_diff(expected) * 100 > expected * OFF_MAX_PERCENT;
        let remark = if is_off { "  <- changed" } else { "" };
        println!("{counted:>8} instructions to {name}, expected {expected}{remark}");
        is_as_expected &= !is_off;
    }
    if is_as_expected {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "A count is more than {OFF_MAX_PERCENT} % off. Where the change is worth it, write the new \
         count into benches/instructions/src/main.rs."
    );
    ExitCode::FAILURE
}

/// Runs this program under valgrind, doing one work so often.
fn instructions(name: &str, times: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([name, &times.to_string()])
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    let (_, collected) = text
        .split_once("Collected : ")
        .ok_or_else(|| text.clone())?;
    Ok(collected.lines().next().unwrap_or_default().parse()?)
}

fn do_times(name: &str, times: &str) -> ExitCode {
    let work = WORKS.iter().find(|(known, ..)| *known == name);
    let (Some((_, _, work)), Ok(times)) = (work, times.parse()) else {
        eprintln!("Without arguments, all is counted.");
        return ExitCode::FAILURE;
    };
    match work(times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(times: u32) -> Result<(), Error> {
    let store = MemoryStore::builder().clock(Arc::new(Fixed)).build();
    let digests: Vec<KeyDigest> = (0..=255)
        .map(|n| SessionKey::from_bytes([n; 32]).digest())
        .collect();
    for digest in &digests {
        at_once(store.create(digest, &record()?))?;
    }
    for digest in digests.iter().cycle().take(times as usize) {
        black_box(at_once(store.load(digest))?);
    }
    Ok(())
}

fn get(times: u32) -> Result<(), Error> {
    let session = Session::open(Some(record()?), context())?;
    for _ in 0..times {
        black_box(session.get::<String>("name")?);
    }
    Ok(())
}

fn seal(times: u32) -> Result<(), Error> {
    let (store, record) = (cookie_store()?, record()?);
    for _ in 0..times {
        black_box(sealed(&store, &record)?);
    }
    Ok(())
}

fn open(times: u32) -> Result<(), Error> {
    let store = cookie_store()?;
    let token = sealed(&store, &record()?)?;
    for _ in 0..times {
        black_box(at_once(store.load_token(&token))?);
    }
    Ok(())
}

fn sealed(store: &CookieStore, record: &Record) -> Result<Token, Error> {
    let created = at_once(store.create_token(&SessionKey::from_bytes([7; 32]), record))?;
    Ok(created.token.expect("a cookie that is new is handed out"))
}

fn cookie_store() -> Result<CookieStore, Error> {
    let ring = KeyRing::parse(&"01".repeat(32))?;
    let store = CookieStore::builder("__Host-session", &ring);
    store
        .clock(Arc::new(Fixed))
        .entropy(Arc::new(Zeros))
        .build()
}

fn context() -> Context {
    Context::new(Fixed.now(), Limits::default(), Expiry::default())
}

/// Four entries of some 100 bytes.
fn record() -> Result<Record, Error> {
    let session = Session::open(None, context())?;
    session.insert("name", "Ada Lovelace")?;
    session.insert("roles", ["customer", "newsletter"])?;
    session.insert("token", "Ab3dEfGhIjKlMnOpQrStUvWxYz0123456789-_aBcDe")?;
    session.insert("visits", 17)?;
    let changeset = session.changeset()?;
    Ok(changeset.record(&Expiry::default(), Fixed.now(), 10))
}

/// Nothing here waits: the answer is there at the first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(Waker::noop());
    match pin!(future).as_mut().poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("a store in memory and a cookie answer at once"),
    }
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }
}

#[derive(Debug)]
struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(0);
        Ok(())
    }
}
