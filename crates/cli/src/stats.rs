//! `cloakroom stats`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::store::{Record, Stored};
use cloakroom::{Clock as _, SystemClock, Timestamp};
use serde::Serialize;

use crate::failure::Failure;
use crate::histogram::Histogram;
use crate::output::{bytes, count, plain, span};
use crate::scan;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom stats --store redb:./sessions.redb
  cloakroom stats --store @/etc/shop/store --json | jq .live

It reads all that the store holds, and no value of it. Sessions that move while it reads may
be counted twice.";

/// Sites that are counted by name. An application has one; more is a store full of rubbish.
const SITES_MAX: usize = 100;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const BYTES: &[u64] = &[
    64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536,
];
const AGE_SECS: &[u64] = &[
    MINUTE,
    10 * MINUTE,
    HOUR,
    6 * HOUR,
    DAY,
    7 * DAY,
    30 * DAY,
    90 * DAY,
    365 * DAY,
];
const PER_SUBJECT: &[u64] = &[1, 2, 3, 5, 10, 30, 100, 1_000];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Serialize)]
struct Stats {
    /// Sessions that open.
    live: u64,
    /// Sessions past their deadline that nobody has swept yet.
    expired: u64,
    rotation_marks: u64,
    /// Records that engines keep of their own, such as of which sessions were adopted.
    internal: u64,
    /// Sessions that have ended and are remembered, by the reason.
    ended: BTreeMap<&'static str, u64>,
    /// Records that no build can read, or this one cannot.
    unreadable: u64,
    /// Live sessions by site.
    sites: BTreeMap<String, u64>,
    /// Live sessions of somebody who has logged in.
    logged_in: u64,
    /// How many have logged in.
    subjects: u64,
    /// Bytes of data in live sessions.
    data_bytes: u64,
    /// Live sessions by the bytes of their data.
    by_data_bytes: Histogram,
    /// Live sessions by the time since they began.
    by_age_secs: Histogram,
    /// Live sessions by the time since their last use.
    by_unused_secs: Histogram,
    /// Subjects by the number of their live sessions.
    by_sessions_of_subject: Histogram,
}

impl Stats {
    fn new() -> Self {
        Self {
            live: 0,
            expired: 0,
            rotation_marks: 0,
            internal: 0,
            ended: BTreeMap::new(),
            unreadable: 0,
            sites: BTreeMap::new(),
            logged_in: 0,
            subjects: 0,
            data_bytes: 0,
            by_data_bytes: Histogram::new(BYTES),
            by_age_secs: Histogram::new(AGE_SECS),
            by_unused_secs: Histogram::new(AGE_SECS),
            by_sessions_of_subject: Histogram::new(PER_SUBJECT),
        }
    }

    fn add(&mut self, record: &Record, now: Timestamp) {
        self.live += 1;
        let site = record.site.as_str();
        if self.sites.len() < SITES_MAX || self.sites.contains_key(site) {
            *self.sites.entry(site.to_owned()).or_default() += 1;
        }
        let data_bytes = record.data.as_bytes().len() as u64;
        self.data_bytes += data_bytes;
        self.by_data_bytes.add(data_bytes);
        let secs_since = |at| now.saturating_since(at).as_secs();
        self.by_age_secs.add(secs_since(record.created_at));
        self.by_unused_secs.add(secs_since(record.last_seen_at));
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, what: &str, number: u64| {
            writeln!(f, "{what:<32} {:>12}", count(number))
        };
        line(f, "live sessions", self.live)?;
        line(f, "  logged in", self.logged_in)?;
        line(f, "  of so many subjects", self.subjects)?;
        line(f, "expired, not swept yet", self.expired)?;
        line(f, "rotation marks", self.rotation_marks)?;
        line(f, "records of the engine's own", self.internal)?;
        line(f, "unreadable", self.unreadable)?;
        for (because, sessions) in &self.ended {
            line(f, &format!("ended: {because}"), *sessions)?;
        }
        writeln!(f, "{:<32} {:>12}", "data", bytes(self.data_bytes))?;
        for (site, sessions) in &self.sites {
            let site = match site.as_str() {
                "" => "the default site".to_owned(),
                site => plain(site),
            };
            writeln!(f, "site {site:<27} {:>12}", count(*sessions))?;
        }
        let since = |secs| span(std::time::Duration::from_secs(secs));
        writeln!(f, "\nlive sessions by bytes of data")?;
        self.by_data_bytes.draw(f, bytes)?;
        writeln!(f, "\nlive sessions by age")?;
        self.by_age_secs.draw(f, since)?;
        writeln!(f, "\nlive sessions by time since their last use")?;
        self.by_unused_secs.draw(f, since)?;
        writeln!(f, "\nsubjects by the number of their sessions")?;
        self.by_sessions_of_subject.draw(f, count)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let stats = arguments
        .store
        .with_store(async |store| {
            let now = SystemClock.now();
            let mut stats = Stats::new();
            // The first 8 bytes of a subject's digest tell subjects apart well enough to
            // count them, and millions of them fit into memory.
            let mut subjects: HashMap<[u8; 8], u32> = HashMap::new();
            scan::each(store, |item| {
                match item.stored {
                    Ok(Stored::Record(record)) if record.site.is_internal() => stats.internal += 1,
                    Ok(Stored::Record(record)) if record.is_expired(now) => stats.expired += 1,
                    Ok(Stored::Record(record)) => {
                        stats.add(&record, now);
                        if let Some(subject) = record.subject_digest() {
                            stats.logged_in += 1;
                            let first = subject.as_bytes().first_chunk().copied();
                            let sessions = subjects.entry(first.unwrap_or_default()).or_default();
                            *sessions = sessions.saturating_add(1);
                        }
                    }
                    Ok(Stored::Rotated { .. }) => stats.rotation_marks += 1,
                    Ok(Stored::Ended(tombstone)) => {
                        let because = tombstone.because.as_str();
                        *stats.ended.entry(because).or_default() += 1;
                    }
                    Err(_) => stats.unreadable += 1,
                }
                ControlFlow::Continue(())
            })
            .await?;
            stats.subjects = subjects.len() as u64;
            for sessions in subjects.into_values() {
                stats.by_sessions_of_subject.add(u64::from(sessions));
            }
            Ok(stats)
        })
        .await?;
    arguments.store.output.show(&stats)
}
