//! `cloakroom open-cookie`.

use std::fmt;

use clap::Args;
use cloakroom::Site;
use cloakroom::cookie::Verdict;
use serde::Serialize;

use crate::content::Content;
use crate::cookie_input;
use crate::failure::Failure;
use crate::keys::id_text;
use crate::session::SessionHeader;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  xclip -o | cloakroom open-cookie --store 'cookie:?key_file=./session.keys'

It says what stands in a cookie that holds its whole session, and why it opens or not. A cookie
that names a session in a store on the server is looked up by `cloakroom why --cookie-stdin`.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The site that the cookie must be of [default: the name of the cookie]
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print the values too. They are the visitor's data
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Serialize)]
struct Report {
    opens: bool,
    /// The verdict as one word.
    verdict: &'static str,
    /// The verdict as a sentence.
    why: &'static str,
    sealed_under: Option<String>,
    begun_under: Option<String>,
    #[serde(flatten)]
    session: Option<Content>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opens = if self.opens { "opens" } else { "does not open" };
        writeln!(f, "This cookie {opens}: {}.", self.why)?;
        if let Some(id) = &self.sealed_under {
            writeln!(f, "names key  {id}")?;
        }
        if let Some(id) = &self.begun_under {
            writeln!(f, "began with {id}")?;
        }
        match &self.session {
            Some(session) => session.fmt(f),
            None => Ok(()),
        }
    }
}

/// A verdict as one word and as the end of a sentence.
fn said(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Opens => (
            "opens",
            "it is authentic, of this site and within its deadlines",
        ),
        Verdict::NoToken => (
            "no_token",
            "it has not the shape of a sealed session; a key of 43 characters belongs to a store \
             on the server, which `cloakroom why --cookie-stdin` looks into",
        ),
        Verdict::UnknownKey => (
            "unknown_key",
            "the key that it names is not in the key ring: another server may have that key, or \
             it was retired",
        ),
        Verdict::NotAuthentic => (
            "not_authentic",
            "it was not sealed under the key that it names for a cookie of this name and mode: it \
             was changed or cut, or `name=` or `mode=` of the store's URL are not those of the \
             site",
        ),
        Verdict::OtherSite => (
            "other_site",
            "it holds a session of another site: see --site",
        ),
        Verdict::BegunUnderUnknownKey => (
            "begun_under_unknown_key",
            "its session began under a key that has left the key ring, and ended with it",
        ),
        Verdict::Expired => ("expired", "one of its deadlines is past"),
        Verdict::Revoked => (
            "revoked",
            "the sessions of its subject from before a certain moment were ended, by a logout or \
             by whoever ended all",
        ),
        _ => ("other", "for a reason that this command does not know"),
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let url = arguments.store.url()?;
    if url.scheme != "cookie" {
        return Err(Failure::usage(
            "only cookie: keeps the session in the cookie: for a store on the server, \
             `cloakroom why --cookie-stdin` looks the session up",
        ));
    }
    let store = cloakroom::open_cookie_store(&url.text()).await?;
    let site = Site::new(arguments.site.as_deref().unwrap_or(store.cookie()))?;
    let token = cookie_input::read(store.cookie(), &site)?;
    let inspected = store.inspect(&token).await?;
    let (verdict, why) = said(inspected.verdict);
    let session = inspected.record.zip(inspected.digest);
    let opens = inspected.verdict == Verdict::Opens;
    arguments.store.output.show(&Report {
        opens,
        verdict,
        why,
        sealed_under: inspected.sealed_under.as_ref().map(id_text),
        begun_under: inspected.begun_under.as_ref().map(id_text),
        session: session.map(|(record, digest)| {
            let header = SessionHeader::new(&digest, &record);
            Content::new(header, &record, arguments.reveal)
        }),
    })
}
