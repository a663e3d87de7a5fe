//! `cloakroom revoke`.

use std::fmt;
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::engine::TokenStore as _;
use cloakroom::store::{
    AnySessionStore, EndReason, Ending, KeyDigest, Revoke, SessionStore as _, Stored,
};
use cloakroom::{Clock as _, Label, Subject, SystemClock};
use serde::Serialize;

use crate::confirm::Confirmation;
use crate::failure::{Code, Failure};
use crate::output::{count, counted, plain};
use crate::progress::Progress;
use crate::scan::{self, DigestPrefix};
use crate::session::SiteArgument;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom revoke 0a1b2c3d --note 'lost phone' --store redb:./sessions.redb
  cloakroom revoke --subject 42 --all-but 0a1b2c3d
  cloakroom revoke --everybody --note 'log in again, please'

Whoever comes back with a session that was ended so is told that an administrator ended it, and
the note, where the site shows `session.ended_because()`. It asks before it ends anything.";

/// How often everybody's sessions are looked for, since some may move while others are ended.
const PASSES_MAX: usize = 20;

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = false, args = ["digest", "subject", "everybody"])]
pub(crate) struct Arguments {
    /// End this session: the first 8 characters of its digest, or more
    #[arg(value_name = "DIGEST8")]
    digest: Option<DigestPrefix>,
    /// End the sessions of this user, as the application names its users
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// But for this one of theirs
    #[arg(long, value_name = "DIGEST8", requires = "subject")]
    all_but: Option<DigestPrefix>,
    /// End every session of the site, those of nobody included
    #[arg(long)]
    everybody: bool,
    #[command(flatten)]
    site: SiteArgument,
    /// What to tell whoever comes back with it; at most 256 bytes, and no secret
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Default, Serialize)]
struct Ended {
    /// How many sessions were ended; nothing where nobody can know.
    ended: Option<u64>,
    /// Records that this build cannot read, which were left.
    unreadable: u64,
    /// Sessions of other sites, which were left.
    of_other_sites: u64,
    /// Sessions of the site that began later, by this machine's clock, which were left.
    begun_since: u64,
}

impl Ended {
    fn so_many(ended: u64) -> Self {
        Self {
            ended: Some(ended),
            ..Self::default()
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Some(ended) => writeln!(f, "Ended {}.", counted(ended, "session"))?,
            None => writeln!(
                f,
                "Ended all cookies of this subject; how many there were, nobody knows."
            )?,
        }
        if self.of_other_sites > 0 {
            let others = counted(self.of_other_sites, "session");
            writeln!(f, "Left {others} of other sites: see --site.")?;
        }
        if self.begun_since > 0 {
            let since = counted(self.begun_since, "session");
            writeln!(
                f,
                "Left {since} that began since then by this machine's clock: if it is behind the \
                 site's, set it and run this again."
            )?;
        }
        Ok(())
    }
}

impl Arguments {
    fn ending(&self) -> Result<Ending, Failure> {
        let note = self.note.as_deref().map(Label::new).transpose()?;
        let ending = Ending::new(EndReason::EndedByAdministrator, SystemClock.now());
        Ok(ending.with_note(note))
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let ending = arguments.ending()?;
    let url = arguments.store.url()?;
    let ended = match &arguments.subject {
        Some(subject) if url.scheme == "cookie" => {
            let store = cloakroom::open(&url.text()).await?;
            end_cookies(&arguments, &store, subject, &ending).await?
        }
        _ => {
            arguments
                .store
                .with_store(async |store| end(&arguments, store, &ending).await)
                .await?
        }
    };
    arguments.store.output.show(&ended)?;
    match ended.unreadable {
        0 => Ok(()),
        left => Err(Failure::new(
            Code::NotAll,
            format!(
                "{} cannot be read by this version of the command and were left: if a newer \
                 version of the site wrote them, they may still open; use that version's command",
                counted(left, "record")
            ),
        )),
    }
}

/// Where sessions are cookies, all of a user end by an epoch.
async fn end_cookies(
    arguments: &Arguments,
    store: &cloakroom::AnyStore,
    subject: &str,
    ending: &Ending,
) -> Result<Ended, Failure> {
    if arguments.all_but.is_some() {
        return Err(Failure::usage(
            "cookies of one user end all together: leave --all-but out",
        ));
    }
    arguments.confirmation.ask(
        &format!("This ends all sessions of the subject {}.", plain(subject)),
        "yes",
    )?;
    let (site, subject) = (arguments.site.site()?, Subject::new(subject)?);
    store.end_sessions_of(&site, &subject, Some(ending)).await?;
    store.close().await?;
    Ok(Ended::default())
}

async fn end(
    arguments: &Arguments,
    store: &AnySessionStore,
    ending: &Ending,
) -> Result<Ended, Failure> {
    match (&arguments.digest, &arguments.subject) {
        (Some(digest), _) => end_one(arguments, store, digest, ending).await,
        (None, Some(subject)) => end_of_subject(arguments, store, subject, ending).await,
        (None, None) => end_everybody(arguments, store, ending).await,
    }
}

async fn end_one(
    arguments: &Arguments,
    store: &AnySessionStore,
    prefix: &DigestPrefix,
    ending: &Ending,
) -> Result<Ended, Failure> {
    let (digest, stored) = prefix.find(store).await?;
    let whose = match &stored {
        Ok(Stored::Record(record)) => match &record.subject {
            Some(subject) => format!("of the subject {}", plain(subject.as_str())),
            None => "of nobody who has logged in".to_owned(),
        },
        Ok(Stored::Rotated { to, .. }) => format!("which has moved to {}", to.short()),
        Ok(Stored::Ended(tombstone)) if tombstone.because == EndReason::Rotated => {
            return Err(Failure::new(
                Code::NotFound,
                format!(
                    "{} is the former key of a session that has moved on, and nobody remembers \
                     where: it may still open; `cloakroom list` prints what stands now, and \
                     --subject ends all of a user's",
                    digest.short()
                ),
            ));
        }
        Ok(Stored::Ended(_)) => return Ok(Ended::so_many(0)),
        Err(_) => "which cannot be read".to_owned(),
    };
    let short = digest.short();
    let what = format!("This ends the session {short}, {whose}.");
    arguments.confirmation.ask(&what, "yes")?;
    store.end(&digest, Some(ending)).await?;
    Ok(Ended::so_many(1))
}

async fn end_of_subject(
    arguments: &Arguments,
    store: &AnySessionStore,
    subject: &str,
    ending: &Ending,
) -> Result<Ended, Failure> {
    let digest = arguments.site.subject(subject)?;
    let subjects = store.capabilities().required_subjects()?;
    let sessions = subjects.sessions_of(&digest, usize::MAX).await?;
    let which = match &arguments.all_but {
        None => Revoke::All,
        Some(prefix) => {
            let theirs = sessions.iter().map(|listed| listed.digest);
            let mut meant = theirs.filter(|digest| prefix.is_of(digest));
            match (meant.next(), meant.next()) {
                (Some(kept), None) => Revoke::AllBut(kept),
                _ => {
                    return Err(Failure::new(
                        Code::NotFound,
                        "the session of --all-but is none of this subject's, or not the only \
                         one: `cloakroom list --subject` prints theirs",
                    ));
                }
            }
        }
    };
    let ends = sessions.iter().filter(|listed| which.means(&listed.digest));
    let what = format!(
        "This ends {} of the subject {}.",
        counted(ends.count() as u64, "session"),
        plain(subject)
    );
    arguments.confirmation.ask(&what, "yes")?;
    let ended = subjects.end_sessions(&digest, which, Some(ending)).await?;
    Ok(Ended::so_many(ended.len() as u64))
}

async fn end_everybody(
    arguments: &Arguments,
    store: &AnySessionStore,
    ending: &Ending,
) -> Result<Ended, Failure> {
    let site = arguments.site.site()?;
    let site_name = plain(site.as_str());
    let found = everybody(store, arguments, ending).await?;
    let what = format!(
        "This ends all {} of the site {site_name}: everybody has to log in again.",
        counted(found.digests.len() as u64, "session")
    );
    arguments.confirmation.ask(&what, "everybody")?;
    // What has begun while it asked is meant as well: nobody had been logged out by then.
    let ending = &arguments.ending()?;
    let mut found = everybody(store, arguments, ending).await?;
    let mut ended = 0;
    for _ in 0..PASSES_MAX {
        if found.digests.is_empty() {
            return Ok(Ended {
                ended: Some(ended),
                unreadable: found.unreadable,
                of_other_sites: found.of_other_sites,
                begun_since: found.begun_since,
            });
        }
        let progress = Progress::up_to(found.digests.len() as u64, "sessions ended");
        for digest in &found.digests {
            store.end(digest, Some(ending)).await?;
            ended += 1;
            progress.add(1);
        }
        drop(progress);
        // What has moved to another key meanwhile is found there.
        found = everybody(store, arguments, ending).await?;
    }
    Err(Failure::new(
        Code::Failed,
        format!(
            "ended {} sessions, and {} more have moved each time: run it again",
            count(ended),
            count(found.digests.len() as u64)
        ),
    ))
}

#[derive(Default)]
struct Everybody {
    digests: Vec<KeyDigest>,
    unreadable: u64,
    of_other_sites: u64,
    begun_since: u64,
}

/// The sessions of the site that began before the ending. Those that began after it are
/// logins of people who have been asked to.
async fn everybody(
    store: &AnySessionStore,
    arguments: &Arguments,
    ending: &Ending,
) -> Result<Everybody, Failure> {
    let site = arguments.site.site()?;
    let mut found = Everybody::default();
    scan::each(store, |item| {
        match item.stored {
            Ok(Stored::Record(record)) if record.site.is_internal() => {}
            Ok(Stored::Record(record)) if record.site != site => found.of_other_sites += 1,
            Ok(Stored::Record(record)) if record.created_at > ending.at => found.begun_since += 1,
            Ok(Stored::Record(_)) => found.digests.push(item.digest),
            Ok(Stored::Rotated { .. } | Stored::Ended(_)) => {}
            Err(_) => found.unreadable += 1,
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(found)
}
