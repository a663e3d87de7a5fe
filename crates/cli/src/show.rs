//! `cloakroom show`.

use std::fmt;

use clap::Args;
use cloakroom::store::Stored;
use serde::Serialize;

use crate::content::Content;
use crate::failure::{Code, Failure};
use crate::output::Utc;
use crate::scan::DigestPrefix;
use crate::session::SessionHeader;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom show 0a1b2c3d --store redb:./sessions.redb
  cloakroom show 0a1b2c3d --reveal --json | jq .values.cart

DIGEST8 is what logs and `cloakroom list` print of a session. The store is read through to
find it.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The first 8 characters of the session's digest, or more
    #[arg(value_name = "DIGEST8")]
    digest: DigestPrefix,
    /// Print the values too. They are the visitor's data
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    store: StoreArguments,
}

/// What stands at a digest.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "stands")]
enum Shown {
    Session(Box<Content>),
    /// The session has moved to another key.
    RotationMark {
        digest: String,
        to: String,
        until: Utc,
    },
    /// The session has ended, and is remembered.
    Ended {
        digest: String,
        because: &'static str,
        ended_at: Utc,
    },
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = match self {
            Self::Ended {
                digest, because, ..
            } => {
                return writeln!(
                    f,
                    "The session {} has ended ({because}); `cloakroom why` says more.",
                    &digest[..8]
                );
            }
            Self::Session(session) => session,
            Self::RotationMark { digest, to, until } => {
                return writeln!(
                    f,
                    "{} is the former key of a session that has moved to {}; this rotation mark \
                     stands until {until}, and opens nothing.",
                    &digest[..8],
                    &to[..8]
                );
            }
        };
        session.fmt(f)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (digest, stored) = arguments
        .store
        .with_store(async |store| arguments.digest.find(store).await)
        .await?;
    let shown = match stored {
        Ok(Stored::Record(record)) => {
            let header = SessionHeader::new(&digest, &record);
            Shown::Session(Box::new(Content::new(header, &record, arguments.reveal)))
        }
        Ok(Stored::Rotated { to, until }) => Shown::RotationMark {
            digest: digest.to_hex(),
            to: to.to_hex(),
            until: Utc(until),
        },
        Ok(Stored::Ended(tombstone)) => Shown::Ended {
            digest: digest.to_hex(),
            because: tombstone.because.as_str(),
            ended_at: Utc(tombstone.at),
        },
        Err(error) => {
            return Err(Failure::new(
                Code::NotAll,
                format!(
                    "what stands at {} cannot be read: {error}; it opens nothing, and is removed \
                     when it is revoked or swept",
                    digest.short()
                ),
            ));
        }
    };
    arguments.store.output.show(&shown)
}
