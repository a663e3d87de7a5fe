//! A session as the command shows it: its header, and no value.

use std::fmt;

use clap::Args;
use cloakroom::engine::Binding;
use cloakroom::store::{KeyDigest, Record, SubjectDigest};
use cloakroom::{Clock as _, Login, Site, Subject, SystemClock, Timestamp};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Utc, counted, plain, span, table};

/// Which of the applications over one store is meant.
#[derive(Debug, Args)]
pub(crate) struct SiteArgument {
    /// The site whose sessions are meant: an engine's default is the full name of its
    /// cookie; `stats` names those of a store [default: __Host-session; all of them for a list of
    /// all subjects]
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

const DEFAULT_SITE: &str = "__Host-session";

impl SiteArgument {
    pub(crate) fn name(&self) -> &str {
        self.site.as_deref().unwrap_or(DEFAULT_SITE)
    }

    /// The site, where the command line names one.
    pub(crate) fn named(&self) -> Option<&str> {
        self.site.as_deref()
    }

    /// That a store holds nothing of a subject at this site: a slip in either name must not
    /// pass for an answer.
    pub(crate) fn holds_nothing_of(&self, subject: &str, unreadable: u64) -> Failure {
        let but = match unreadable {
            0 => String::new(),
            some => format!(
                "; but {} cannot be read, and nobody knows whose",
                counted(some, "record")
            ),
        };
        Failure::new(
            Code::NotFound,
            format!(
                "the store holds nothing of the subject {} at the site {}: `cloakroom stats` names \
                 the sites of the store, for --site{but}",
                plain(subject),
                plain(self.name())
            ),
        )
    }

    pub(crate) fn site(&self) -> Result<Site, Failure> {
        Site::new(self.name()).map_err(|error| Failure::usage(format!("--site: {error}")))
    }

    /// The name under which a store lists a subject at this site.
    pub(crate) fn subject(&self, subject: &str) -> Result<SubjectDigest, Failure> {
        Ok(SubjectDigest::new(&self.site()?, &Subject::new(subject)?))
    }
}

/// Whether a session still opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Live,
    Expired,
}

/// How the subject proved who they are, and what the session is tied to.
#[derive(Debug, Serialize)]
pub(crate) struct LoginHeader {
    authenticated_at: Option<Utc>,
    /// The authenticator assurance level: 1 to 3.
    level: u8,
    method: Option<String>,
    provider: Option<Provider>,
    /// `bound` to a device, or `offered` to the one that answers first.
    device: Option<&'static str>,
}

/// The session at an identity provider that this one came from.
#[derive(Debug, Serialize)]
struct Provider {
    issuer: String,
    sid: String,
}

impl LoginHeader {
    fn new(login: &Login) -> Self {
        let method = login.method.as_ref();
        let device = |binding: &Binding| match binding.key() {
            Some(_) => "bound",
            None => "offered",
        };
        Self {
            authenticated_at: login.authenticated_at.map(Utc),
            level: login.level as u8,
            method: method.map(|method| method.as_str().to_owned()),
            provider: login.provider.as_ref().map(|provider| Provider {
                issuer: provider.issuer().to_owned(),
                sid: provider.sid().to_owned(),
            }),
            device: login.binding.as_deref().map(device),
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, now: Timestamp) -> fmt::Result {
        let at = match self.authenticated_at {
            Some(at) => format!("{at} ({})", ago(at.0, now)),
            None => "nobody knows when".to_owned(),
        };
        let by = self.method.as_deref().map(plain);
        let by = by.map(|method| format!(", by {method}"));
        let level = self.level;
        writeln!(
            f,
            "proved     {at}, at level {level}{}",
            by.unwrap_or_default()
        )?;
        if let Some(provider) = &self.provider {
            let (issuer, sid) = (plain(&provider.issuer), plain(&provider.sid));
            writeln!(f, "provider   {issuer}, session {sid}")?;
        }
        match self.device {
            Some(device) => writeln!(f, "device     {device}"),
            None => Ok(()),
        }
    }
}

/// A session's header.
#[derive(Debug, Serialize)]
pub(crate) struct SessionHeader {
    pub(crate) digest: String,
    pub(crate) state: State,
    pub(crate) site: String,
    pub(crate) subject: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) login: Option<LoginHeader>,
    pub(crate) created_at: Utc,
    pub(crate) last_seen_at: Utc,
    pub(crate) expires_at: Utc,
    pub(crate) absolute_deadline: Option<Utc>,
    pub(crate) revision: u64,
}

impl SessionHeader {
    pub(crate) fn new(digest: &KeyDigest, record: &Record) -> Self {
        let is_expired = record.is_expired(SystemClock.now());
        Self {
            digest: digest.to_hex(),
            state: if is_expired {
                State::Expired
            } else {
                State::Live
            },
            site: record.site.as_str().to_owned(),
            subject: record
                .subject
                .as_ref()
                .map(|subject| subject.as_str().to_owned()),
            label: record.label.as_ref().map(|label| label.as_str().to_owned()),
            login: record.login.as_deref().map(LoginHeader::new),
            created_at: Utc(record.created_at),
            last_seen_at: Utc(record.last_seen_at),
            expires_at: Utc(record.expires_at),
            absolute_deadline: record.absolute_deadline.map(Utc),
            revision: record.revision.as_u64(),
        }
    }

    /// The first 8 characters of the digest, as logs carry it.
    pub(crate) fn short(&self) -> &str {
        &self.digest[..8]
    }

    fn label(&self) -> String {
        self.label.as_deref().map(plain).unwrap_or_default()
    }

    fn subject(&self) -> String {
        self.subject.as_deref().map(plain).unwrap_or_default()
    }
}

/// The whole header, a line for each field.
impl fmt::Display for SessionHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = SystemClock.now();
        let state = match self.state {
            State::Live => "live",
            State::Expired => "expired: it opens nothing, and waits to be swept",
        };
        writeln!(f, "session    {}", self.short())?;
        writeln!(f, "state      {state}")?;
        writeln!(f, "site       {}", plain(&self.site))?;
        writeln!(f, "subject    {}", or_none(self.subject()))?;
        writeln!(f, "label      {}", or_none(self.label()))?;
        if let Some(login) = &self.login {
            login.show(f, now)?;
        }
        writeln!(
            f,
            "began      {} ({})",
            self.created_at,
            ago(self.created_at.0, now)
        )?;
        writeln!(
            f,
            "last used  {} ({})",
            self.last_seen_at,
            ago(self.last_seen_at.0, now)
        )?;
        writeln!(f, "expires    {}", self.expires_at)?;
        match self.absolute_deadline {
            Some(end) => writeln!(f, "at latest  {end}")?,
            None => writeln!(f, "at latest  no absolute deadline")?,
        }
        writeln!(f, "revision   {}", self.revision)
    }
}

fn or_none(text: String) -> String {
    match text.is_empty() {
        true => "none".to_owned(),
        false => text,
    }
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.saturating_since(at)))
}

/// Sessions as a table, a line each.
pub(crate) fn session_table(f: &mut fmt::Formatter<'_>, sessions: &[SessionHeader]) -> fmt::Result {
    let now = SystemClock.now();
    let rows: Vec<[String; 6]> = sessions
        .iter()
        .map(|session| {
            let expires = match session.state {
                State::Expired => "expired".to_owned(),
                State::Live if session.expires_at.0 == Timestamp::MAX => "never".to_owned(),
                State::Live => format!("in {}", span(session.expires_at.0.saturating_since(now))),
            };
            [
                session.short().to_owned(),
                session.subject(),
                session.label(),
                ago(session.created_at.0, now),
                ago(session.last_seen_at.0, now),
                expires,
            ]
        })
        .collect();
    table(
        f,
        [
            "DIGEST",
            "SUBJECT",
            "LABEL",
            "BEGAN",
            "LAST USED",
            "EXPIRES",
        ],
        &rows,
    )
}
