//! `cloakroom list`.

use std::fmt;
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::store::{SessionStore as _, Stored};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{count, plain};
use crate::scan;
use crate::session::{SessionHeader, SiteArgument, session_table};
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom list --store redb:./sessions.redb --subject 42
  cloakroom list --json --limit 1000000 | jq -r '.sessions[] | [.digest, .subject] | @tsv'

Text has the first 8 characters of each digest, as logs have them; JSON has it whole. A digest
opens nothing.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Only the sessions of this user, as the application names its users; those last used
    /// come first
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    site: SiteArgument,
    /// List so many sessions at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct List {
    sessions: Vec<SessionHeader>,
    /// Whether there are more than the limit.
    more: bool,
    /// Whose sessions were asked for, where not everybody's.
    #[serde(skip)]
    of: Option<String>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sessions.is_empty() {
            return match &self.of {
                Some(of) => writeln!(
                    f,
                    "No sessions {of}; `cloakroom stats` names the sites of the store.",
                ),
                None => writeln!(f, "No sessions."),
            };
        }
        session_table(f, &self.sessions)?;
        if self.more {
            let shown = count(self.sessions.len() as u64);
            writeln!(f, "There are more than these {shown}: see --limit.")?;
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let one_more = arguments.limit.saturating_add(1);
    // A site that cannot be one is a slip, and no empty answer.
    arguments.site.site()?;
    let site = arguments.site.named();
    let mut sessions = arguments
        .store
        .with_store(async |store| {
            let Some(subject) = &arguments.subject else {
                let mut sessions = Vec::new();
                scan::each(store, |item| {
                    if let Ok(Stored::Record(record)) = item.stored
                        && !record.site.is_internal()
                        && site.is_none_or(|site| record.site.as_str() == site)
                    {
                        sessions.push(SessionHeader::new(&item.digest, &record));
                    }
                    match sessions.len() < one_more {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                })
                .await?;
                return Ok(sessions);
            };
            let subject = arguments.site.subject(subject)?;
            let subjects = store.capabilities().required_subjects()?;
            // In no order: of a few, the one that was used last may be none.
            let listed = subjects.sessions_of(&subject, usize::MAX).await?;
            let mut sessions: Vec<SessionHeader> = listed
                .iter()
                .map(|listed| SessionHeader::new(&listed.digest, &listed.record))
                .collect();
            sessions.sort_by_key(|session| std::cmp::Reverse(session.last_seen_at.0));
            Ok(sessions)
        })
        .await?;
    let more = sessions.len() > arguments.limit;
    sessions.truncate(arguments.limit);
    let of = match (&arguments.subject, site) {
        (Some(_), _) => {
            let site = plain(arguments.site.name());
            Some(format!("of this subject at the site {site}"))
        }
        (None, Some(site)) => Some(format!("at the site {}", plain(site))),
        (None, None) => None,
    };
    arguments.store.output.show(&List { sessions, more, of })
}
