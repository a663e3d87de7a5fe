//! `cloakroom erase`.

use std::fmt;

use clap::Args;
use cloakroom::store::{AnySessionStore, Revoke, SessionStore as _, SubjectDigest};
use serde::Serialize;

use crate::confirm::Confirmation;
use crate::export::{Traces, all_was_read};
use crate::failure::{Code, Failure};
use crate::output::{counted, plain};
use crate::session::SiteArgument;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom erase 42 --store redb:./sessions.redb

It ends all sessions of the user and removes every trace of them from the store: their data, what
is remembered of those that have ended, and what leads to them from an identity provider. It does
not reach backups, logs, nor what the application keeps elsewhere.";

/// How often traces are looked for, since a session may begin while others are removed.
const PASSES_MAX: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The user, as the application names its users
    #[arg(value_name = "SUBJECT")]
    subject: String,
    #[command(flatten)]
    site: SiteArgument,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Default, Serialize)]
struct Erased {
    sessions: u64,
    tombstones: u64,
    /// What led from sessions of identity providers to the user.
    pointers: u64,
    /// Records of the store that cannot be read; nobody knows whose they are.
    unreadable: u64,
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Erased {} and {}.",
            counted(self.sessions, "session"),
            counted(self.tombstones, "tombstone")
        )?;
        if self.pointers > 0 {
            let pointers = counted(self.pointers, "pointer");
            writeln!(f, "And {pointers} from sessions of an identity provider.")?;
        }
        if self.unreadable > 0 {
            let records = counted(self.unreadable, "record");
            writeln!(f, "{records} cannot be read: nobody knows whose they are.")?;
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let subject = arguments.site.subject(&arguments.subject)?;
    arguments.confirmation.ask(
        &format!(
            "This ends all sessions of the subject {} and removes every trace of them.",
            plain(&arguments.subject)
        ),
        "erase",
    )?;
    let erased = arguments
        .store
        .with_store(async |store| erase(&subject, store).await)
        .await?;
    match erased.sessions + erased.tombstones + erased.pointers {
        0 => Err(arguments
            .site
            .holds_nothing_of(&arguments.subject, erased.unreadable)),
        _ => {
            arguments.store.output.show(&erased)?;
            all_was_read(erased.unreadable)
        }
    }
}

async fn erase(subject: &SubjectDigest, store: &AnySessionStore) -> Result<Erased, Failure> {
    let mut erased = Erased::default();
    for _ in 0..PASSES_MAX {
        if let Some(subjects) = store.capabilities().subjects {
            let ended = subjects.revoke(subject, Revoke::All).await?;
            erased.sessions += ended.len() as u64;
        }
        let traces = Traces::of(subject, store).await?;
        if traces.digests().next().is_none() {
            erased.unreadable = traces.unreadable;
            return Ok(erased);
        }
        erased.sessions += traces.sessions.len() as u64;
        erased.tombstones += traces.tombstones.len() as u64;
        erased.pointers += traces.pointers.len() as u64;
        for digest in traces.digests() {
            store.delete(digest).await?;
        }
    }
    Err(Failure::new(
        Code::Failed,
        "new sessions of this subject begin while others are erased: keep them from logging in, \
         and run it again",
    ))
}
