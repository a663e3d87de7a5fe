//! `cloakroom export`: all that is stored of one user.

use std::fmt;
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::store::{AnySessionStore, KeyDigest, Record, Stored, SubjectDigest, Tombstone};
use serde::Serialize;

use crate::content::Content;
use crate::failure::{Code, Failure};
use crate::output::{Utc, counted};
use crate::scan;
use crate::session::{SessionHeader, SiteArgument};
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom export 42 --store redb:./sessions.redb > sessions-of-42.json

It prints one JSON document with or without --json: the user's sessions with all their values,
and what is remembered of those that have ended. Data that is sealed under the visitor's own key
is nobody else's to read: it is said to be there.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The user, as the application names its users
    #[arg(value_name = "SUBJECT")]
    subject: String,
    #[command(flatten)]
    site: SiteArgument,
    #[command(flatten)]
    store: StoreArguments,
}

/// All that a store holds of a subject.
#[derive(Default)]
pub(crate) struct Traces {
    pub(crate) sessions: Vec<(KeyDigest, Record)>,
    pub(crate) tombstones: Vec<(KeyDigest, Tombstone)>,
    /// Which sessions of identity providers lead to the subject, by a digest of its name.
    pub(crate) pointers: Vec<(KeyDigest, Record)>,
    /// Records that cannot be read: nobody knows whose they are.
    pub(crate) unreadable: u64,
}

impl Traces {
    /// Where all of them stand.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &KeyDigest> {
        let records = self.sessions.iter().chain(&self.pointers);
        let tombstones = self.tombstones.iter().map(|(digest, _)| digest);
        records.map(|(digest, _)| digest).chain(tombstones)
    }

    /// Reads the store through, since what is remembered of ended sessions is in no list.
    pub(crate) async fn of(
        subject: &SubjectDigest,
        store: &AnySessionStore,
    ) -> Result<Self, Failure> {
        let mut traces = Self::default();
        let digest = subject.to_hex();
        let is_pointer = |record: &Record| {
            let label = record.label.as_ref();
            record.site.is_internal() && label.is_some_and(|label| label.as_str() == digest)
        };
        scan::each(store, |item| {
            match item.stored {
                Ok(Stored::Record(record)) if is_pointer(&record) => {
                    traces.pointers.push((item.digest, record));
                }
                Ok(Stored::Record(record)) if record.subject_digest() == Some(*subject) => {
                    traces.sessions.push((item.digest, record));
                }
                Ok(Stored::Ended(tombstone)) if tombstone.subject == Some(*subject) => {
                    traces.tombstones.push((item.digest, tombstone));
                }
                Ok(_) => {}
                Err(_) => traces.unreadable += 1,
            }
            ControlFlow::Continue(())
        })
        .await?;
        // What moves while the store is read may come twice.
        for records in [&mut traces.sessions, &mut traces.pointers] {
            records.sort_by_key(|(digest, _)| *digest);
            records.dedup_by_key(|(digest, _)| *digest);
        }
        Ok(traces)
    }
}

#[derive(Serialize)]
struct Export {
    subject: String,
    sessions: Vec<Content>,
    ended: Vec<EndedSession>,
    /// What leads from the session of an identity provider to this user.
    pointers: Vec<Pointer>,
    /// Records of the store that cannot be read; nobody knows whose they are.
    unreadable: u64,
}

#[derive(Serialize)]
struct EndedSession {
    digest: String,
    because: &'static str,
    ended_at: Utc,
    remembered_until: Utc,
    note: Option<String>,
}

#[derive(Serialize)]
struct Pointer {
    digest: String,
    expires_at: Utc,
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let subject = arguments.site.subject(&arguments.subject)?;
    let traces = arguments
        .store
        .with_store(async |store| Traces::of(&subject, store).await)
        .await?;
    let sessions = traces.sessions.iter();
    let ended = traces.tombstones.iter();
    let pointers = traces.pointers.iter();
    if traces.digests().next().is_none() {
        let unreadable = traces.unreadable;
        return Err(arguments
            .site
            .holds_nothing_of(&arguments.subject, unreadable));
    }
    arguments.store.output.show(&Export {
        subject: arguments.subject,
        sessions: sessions
            .map(|(digest, record)| Content::new(SessionHeader::new(digest, record), record, true))
            .collect(),
        ended: ended
            .map(|(digest, tombstone)| EndedSession {
                digest: digest.to_hex(),
                because: tombstone.because.as_str(),
                ended_at: Utc(tombstone.at),
                remembered_until: Utc(tombstone.until),
                note: tombstone.note.as_ref().map(|note| note.as_str().to_owned()),
            })
            .collect(),
        pointers: pointers
            .map(|(digest, record)| Pointer {
                digest: digest.to_hex(),
                expires_at: Utc(record.expires_at),
            })
            .collect(),
        unreadable: traces.unreadable,
    })?;
    all_was_read(traces.unreadable)
}

/// What an answer to a user leaves open: where a record cannot be read, it may be theirs.
pub(crate) fn all_was_read(unreadable: u64) -> Result<(), Failure> {
    match unreadable {
        0 => Ok(()),
        some => Err(Failure::new(
            Code::NotAll,
            format!(
                "{} of the store cannot be read, and nobody knows whose: if a newer version of \
                 the site wrote them, use that version's command",
                counted(some, "record")
            ),
        )),
    }
}
