//! `cloakroom why`.

use std::cmp::Reverse;
use std::fmt;

use clap::Args;
use cloakroom::store::{
    AnySessionStore, EndReason, KeyDigest, RotationPath, SessionStore as _, Stored, Tombstone,
};
use cloakroom::{Clock as _, Error, ErrorKind, SystemClock};
use serde::Serialize;

use crate::cookie_input;
use crate::ended::sentence;
use crate::export::Traces;
use crate::failure::{Code, Failure};
use crate::output::{Utc, counted, plain};
use crate::scan::DigestPrefix;
use crate::session::{SessionHeader, SiteArgument};
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom why --subject 42 --store redb:./sessions.redb
  cloakroom why 0a1b2c3d --store redb:./sessions.redb
  xclip -o | cloakroom why --cookie-stdin --store @/etc/shop/store

It answers \"why was I logged out?\": whether the session still opens, where it has moved, or
why and when it ended, as far as the store remembers. An end is remembered for a day at most. Of
a user it says that of each session, the latest first, and reads the whole store for it.";

#[derive(Debug, Args)]
#[group(
    id = "which",
    required = true,
    args = ["digest", "cookie_stdin", "subject"]
)]
pub(crate) struct Arguments {
    /// The first 8 characters of the session's digest, as logs have them, or more
    #[arg(value_name = "DIGEST8")]
    digest: Option<DigestPrefix>,
    /// Read the visitor's cookie from the standard input, and look for its session
    #[arg(long)]
    cookie_stdin: bool,
    /// All that is known of this user's sessions, as the application names its users
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    site: SiteArgument,
    #[command(flatten)]
    store: StoreArguments,
}

/// What became of a session.
#[derive(Serialize)]
struct Fate {
    digest: String,
    /// The digests it had on the way, where it has moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved_to: Vec<String>,
    opens: bool,
    /// Why it does not open, by the name that logs and metrics have too.
    because: Option<&'static str>,
    /// The same as a sentence.
    why: String,
    ended_at: Option<Utc>,
    /// What whoever ended it has noted.
    note: Option<String>,
    /// Its header, where it stands.
    session: Option<SessionHeader>,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = &self.digest[..8];
        match self.opens {
            true => writeln!(f, "Session {short} opens: {}.", self.why)?,
            false => writeln!(f, "Session {short} does not open: {}.", self.why)?,
        }
        for moved in &self.moved_to {
            writeln!(f, "moved to   {}", &moved[..8])?;
        }
        if let Some(because) = self.because {
            writeln!(f, "reason     {because}")?;
        }
        if let Some(at) = self.ended_at {
            writeln!(f, "ended      {at}")?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "note       {}", plain(note))?;
        }
        match &self.session {
            Some(session) => session.fmt(f),
            None => Ok(()),
        }
    }
}

/// What became of the sessions of one user.
#[derive(Serialize)]
struct Fates {
    subject: String,
    sessions: Vec<Fate>,
    /// Records that cannot be read; nobody knows whose they are.
    unreadable: u64,
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fate) in self.sessions.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            fate.fmt(f)?;
        }
        if self.unreadable > 0 {
            let records = counted(self.unreadable, "record");
            writeln!(
                f,
                "\n{records} of the store cannot be read; nobody knows whose."
            )?;
        }
        Ok(())
    }
}

impl Fates {
    fn new(subject: &str, traces: Traces) -> Self {
        let stand = traces.sessions.iter().map(|(digest, record)| {
            let mut fate = Fate::new(digest);
            fate.stands(digest, record);
            (record.last_seen_at, fate)
        });
        let ended = traces.tombstones.iter().map(|(digest, tombstone)| {
            let mut fate = Fate::new(digest);
            fate.ended(tombstone);
            (tombstone.at, fate)
        });
        let mut fates: Vec<_> = stand.chain(ended).collect();
        fates.sort_by_key(|(at, _)| Reverse(*at));
        Self {
            subject: subject.to_owned(),
            sessions: fates.into_iter().map(|(_, fate)| fate).collect(),
            unreadable: traces.unreadable,
        }
    }
}

impl Fate {
    fn new(digest: &KeyDigest) -> Self {
        Self {
            digest: digest.to_hex(),
            moved_to: Vec::new(),
            opens: false,
            because: None,
            why: String::new(),
            ended_at: None,
            note: None,
            session: None,
        }
    }

    fn ended(&mut self, tombstone: &Tombstone) {
        self.because = Some(tombstone.because.as_str());
        self.why = sentence(tombstone.because).to_owned();
        // Nobody knows when, where nobody asked a clock.
        self.ended_at = (tombstone.at.as_millis() > 0).then_some(Utc(tombstone.at));
        self.note = tombstone.note.as_ref().map(|note| note.as_str().to_owned());
    }

    fn stands(&mut self, digest: &KeyDigest, record: &cloakroom::store::Record) {
        let now = SystemClock.now();
        self.session = Some(SessionHeader::new(digest, record));
        if !record.is_expired(now) {
            self.opens = self.moved_to.is_empty();
            self.why = match self.opens {
                true => "it is live; where its visitor is asked to log in all the same, the \
                         cookie did not arrive, or the application decided so"
                    .to_owned(),
                false => {
                    "it has moved to another key, as at a login; the visitor's browser was given \
                     that key, and this one opens nothing any more"
                        .to_owned()
                }
            };
            return;
        }
        let because = match record.absolute_deadline {
            Some(end) if end <= now => EndReason::Absolute,
            _ => EndReason::Idle,
        };
        self.because = Some(because.as_str());
        self.why = sentence(because).to_owned();
        self.ended_at = Some(Utc(record.expires_at));
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Some(subject) = &arguments.subject {
        return of_subject(&arguments, subject).await;
    }
    let token = match arguments.cookie_stdin {
        true => {
            let site = arguments.site.site()?;
            Some(cookie_input::read(site.as_str(), &site)?)
        }
        false => None,
    };
    let fate = arguments
        .store
        .with_store(async |store| {
            let digest = match (&token, &arguments.digest) {
                (Some(token), _) => token.key_digest().ok_or_else(|| {
                    Failure::new(
                        Code::NotFound,
                        "this cookie is no session key: it was cut, or it is a session sealed in \
                         the cookie, which `cloakroom open-cookie` reads",
                    )
                })?,
                (None, Some(prefix)) => prefix.find(store).await?.0,
                (None, None) => return Err(Failure::usage("no session is named")),
            };
            fate_of(store, digest).await
        })
        .await?;
    arguments.store.output.show(&fate)
}

async fn of_subject(arguments: &Arguments, subject: &str) -> Result<(), Failure> {
    let digest = arguments.site.subject(subject)?;
    let traces = arguments
        .store
        .with_store(async |store| Traces::of(&digest, store).await)
        .await?;
    let fates = Fates::new(subject, traces);
    match fates.sessions.is_empty() {
        true => Err(arguments.site.holds_nothing_of(subject, fates.unreadable)),
        false => arguments.store.output.show(&fates),
    }
}

async fn fate_of(store: &AnySessionStore, digest: KeyDigest) -> Result<Fate, Failure> {
    let mut fate = Fate::new(&digest);
    let mut path = RotationPath::from(digest);
    loop {
        match store.load(path.at()).await {
            Ok(Some(Stored::Rotated { to, .. })) => {
                fate.moved_to.push(to.to_hex());
                path.follow(to)?;
            }
            Ok(Some(Stored::Record(record))) => fate.stands(path.at(), &record),
            Ok(Some(Stored::Ended(tombstone))) => fate.ended(&tombstone),
            Ok(None) if fate.moved_to.is_empty() => {
                return Err(Failure::new(
                    Code::NotFound,
                    format!(
                        "nothing is known of {}: it ended more than a day ago or where this store \
                         does not remember, or it is a session of another store or --site",
                        digest.short()
                    ),
                ));
            }
            Ok(None) => {
                fate.because = Some(EndReason::Unknown.as_str());
                fate.why =
                    "it moved to another key and has ended there; nobody remembers why".to_owned();
            }
            Err(error) => fate.unreadable(error)?,
        }
        if !matches!(fate.why.as_str(), "") {
            return Ok(fate);
        }
    }
}

impl Fate {
    /// What stands there cannot be read; other errors are the store's.
    fn unreadable(&mut self, error: Error) -> Result<(), Error> {
        let because = match error.kind() {
            ErrorKind::Corrupt => EndReason::Damaged,
            ErrorKind::Unsupported => EndReason::Unsupported,
            _ => return Err(error),
        };
        self.because = Some(because.as_str());
        self.why = format!("{}: {error}", sentence(because));
        Ok(())
    }
}
