//! `cloakroom bench`.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use cloakroom::engine::{OsEntropy, SessionKey, Token, TokenStore as _, Written};
use cloakroom::session::Limits;
use cloakroom::store::{Data, Record};
use cloakroom::{AnyStore, Clock as _, Error, Expiry, Subject, SystemClock};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Output, count, counted, table};
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::store::StoreName;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom bench sqlite:/var/lib/shop/sessions.sqlite
  cloakroom bench env:STAGING_STORE --at-once 64 --json

It makes sessions, then loads, changes, touches, rotates and ends each of them, and measures
each call from here: the way to the server is part of it.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store: its URL, @FILE or env:NAME
    #[arg(value_name = "STORE")]
    store: StoreName,
    /// How many sessions
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// How many calls at once
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_once: u32,
    /// Bytes of data in each session
    #[arg(long, value_name = "NUMBER", default_value_t = 400, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    bytes: u32,
    #[command(flatten)]
    output: Output,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Create,
    Load,
    Update,
    Touch,
    Rotate,
    Delete,
}

const CALLS: [Call; 6] = [
    Call::Create,
    Call::Load,
    Call::Update,
    Call::Touch,
    Call::Rotate,
    Call::Delete,
];

#[derive(Serialize)]
struct Report {
    place: String,
    sessions: u32,
    at_once: u32,
    bytes: u32,
    calls: Vec<Measured>,
}

#[derive(Serialize)]
struct Measured {
    call: Call,
    per_second: u64,
    median_micros: u64,
    p99_micros: u64,
    max_micros: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} bytes, {} at once, in {}.",
            counted(self.sessions.into(), "session"),
            count(self.bytes.into()),
            counted(self.at_once.into(), "call"),
            self.place
        )?;
        let rows: Vec<[String; 5]> = self
            .calls
            .iter()
            .map(|measured| {
                [
                    format!("{:?}", measured.call).to_lowercase(),
                    count(measured.per_second),
                    micros(measured.median_micros),
                    micros(measured.p99_micros),
                    micros(measured.max_micros),
                ]
            })
            .collect();
        table(f, ["CALL", "PER SECOND", "MEDIAN", "P99", "MAX"], &rows)
    }
}

fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        _ => format!("{:.1} ms", micros as f64 / 1_000.0),
    }
}

/// A session of the bench: what its client holds, and what the store does.
struct BenchSession {
    token: Option<Token>,
    record: Record,
}

impl BenchSession {
    fn new(number: u32, bytes: u32) -> Result<Self, Error> {
        let mut record = Expiry::default().begin(SystemClock.now());
        record.subject = Some(Subject::new(format!("scratch-{number}"))?);
        let text = "x".repeat(bytes as usize);
        record.data = Data::from_values([("data", text)], &Limits::default())?;
        Ok(Self {
            token: None,
            record,
        })
    }

    async fn call(&mut self, call: Call, store: &AnyStore) -> Result<(), Error> {
        let Some(token) = self.token.clone() else {
            let key = SessionKey::generate(&OsEntropy)?;
            let written = store.create_token(&key, &self.record).await?;
            self.keep(written);
            return Ok(());
        };
        let written = match call {
            Call::Create | Call::Load => {
                store.load_token(&token).await?;
                return Ok(());
            }
            Call::Delete => return store.delete_token(&token).await,
            Call::Update => store.update_token(&token, &self.record).await?,
            Call::Touch => {
                let later = Duration::from_secs(60);
                self.record.last_seen_at = self.record.last_seen_at.saturating_add(later);
                self.record.expires_at = self.record.expires_at.saturating_add(later);
                store.touch_token(&token, &self.record).await?
            }
            Call::Rotate => {
                let new = SessionKey::generate(&OsEntropy)?;
                let until = SystemClock.now().saturating_add(Duration::from_secs(60));
                store
                    .rotate_token(&token, &new, &self.record, until)
                    .await?
            }
        };
        self.keep(written);
        Ok(())
    }

    fn keep(&mut self, written: Written) {
        self.record.revision = written.revision;
        if written.token.is_some() {
            self.token = written.token;
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let scratch = Scratch::beside(arguments.store.read()?)?;
    let calls = scratch
        .with_store(async |store| {
            let progress = Progress::up_to(CALLS.len() as u64, "kinds of calls");
            let mut clients = clients(&arguments)?;
            let mut measured = Vec::new();
            for call in CALLS {
                let (done, figures) = measure(call, store, clients).await?;
                clients = done;
                measured.push(figures);
                progress.add(1);
            }
            Ok(measured)
        })
        .await?;
    arguments.output.show(&Report {
        place: scratch.place.clone(),
        sessions: arguments.sessions,
        at_once: arguments.at_once,
        bytes: arguments.bytes,
        calls,
    })
}

/// The sessions, each in the hands of one client, which makes one call after the other.
fn clients(arguments: &Arguments) -> Result<Vec<Vec<BenchSession>>, Failure> {
    let mut clients: Vec<Vec<BenchSession>> = Vec::new();
    clients.resize_with(arguments.at_once as usize, Vec::new);
    for number in 0..arguments.sessions {
        let client = (number % arguments.at_once) as usize;
        clients[client].push(BenchSession::new(number, arguments.bytes)?);
    }
    Ok(clients)
}

/// Has each client make a call for each of its sessions.
async fn measure(
    call: Call,
    store: &AnyStore,
    clients: Vec<Vec<BenchSession>>,
) -> Result<(Vec<Vec<BenchSession>>, Measured), Failure> {
    let began = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut sessions| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut took = Vec::with_capacity(sessions.len());
                for session in &mut sessions {
                    let began = Instant::now();
                    session.call(call, &store).await?;
                    took.push(began.elapsed());
                }
                Ok::<_, Error>((sessions, took))
            })
        })
        .collect();
    let (mut clients, mut took) = (Vec::new(), Vec::new());
    for task in tasks {
        let done = task.await;
        let done = done.map_err(|_| Failure::new(Code::Failed, "a call to the store panicked"))?;
        let (sessions, times) = done?;
        clients.push(sessions);
        took.extend(times);
    }
    let elapsed = began.elapsed();
    took.sort_unstable();
    let at = |share: usize| {
        let index = (took.len() * share / 100).min(took.len().saturating_sub(1));
        let time = took.get(index).copied().unwrap_or_default();
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    };
    let measured = Measured {
        call,
        per_second: (took.len() as f64 / elapsed.as_secs_f64()) as u64,
        median_micros: at(50),
        p99_micros: at(99),
        max_micros: at(100),
    };
    Ok((clients, measured))
}
