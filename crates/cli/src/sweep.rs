//! `cloakroom sweep`.

use std::fmt;
use std::time::Duration;

use clap::Args;
use cloakroom::store::SessionStore as _;
use cloakroom::{AnyStore, Sweeper};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{counted, span};
use crate::progress::Progress;
use crate::store::StoreArguments;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom sweep --store sqlite:./sessions.sqlite
  CLOAKROOM_STORE=postgres://… cloakroom sweep --every 10m";

/// How often a sweep in a rhythm looks whether a pass is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Go on sweeping in this rhythm, such as 30s, 10m or 1h, and print each pass
    #[arg(long, value_name = "TIME", value_parser = rhythm)]
    every: Option<Duration>,
}

/// A number of seconds, minutes or hours.
fn rhythm(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let secs = match unit {
        "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
    match number.zip(secs) {
        Some((number, secs)) => Ok(Duration::from_secs(number.saturating_mul(secs))),
        None => Err("a time is a number of s, m or h, such as 10m".to_owned()),
    }
}

#[derive(Serialize)]
struct Swept {
    /// Records and rotation marks.
    removed: u64,
    /// Whether the store forgets what has expired by itself, so that there is nothing to do.
    forgets_by_itself: bool,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgets_by_itself {
            return writeln!(f, "This store forgets expired sessions by itself.");
        }
        writeln!(f, "Removed {}.", counted(self.removed, "expired record"))
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    arguments
        .store
        .with_store(async |store| {
            if store.capabilities().sweep.is_none() {
                return arguments.store.output.show(&Swept {
                    removed: 0,
                    forgets_by_itself: true,
                });
            }
            let store = AnyStore::new(store.clone());
            match arguments.every {
                Some(every) => sweep_for_ever(&store, every, &arguments.store).await,
                None => {
                    let progress = Progress::counting("removed");
                    let removed = Sweeper::once(&store, |removed| progress.set(removed)).await?;
                    drop(progress);
                    arguments.store.output.show(&Swept {
                        removed,
                        forgets_by_itself: false,
                    })
                }
            }
        })
        .await
}

/// Ends by a signal alone: an error is logged by the sweeper, which tries again.
async fn sweep_for_ever(
    store: &AnyStore,
    every: Duration,
    arguments: &StoreArguments,
) -> Result<(), Failure> {
    eprintln!("Sweeping every {}; Ctrl-C ends it.", span(every));
    let sweeper = Sweeper::spawn(store.clone(), every);
    let (mut passes, mut removed) = (0, 0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let report = sweeper.report();
        if report.passes > passes {
            arguments.output.show(&Swept {
                removed: report.removed - removed,
                forgets_by_itself: false,
            })?;
            (passes, removed) = (report.passes, report.removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rhythm_is_a_number_and_its_unit() {
        assert_eq!(rhythm("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(rhythm("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(rhythm("1h"), Ok(Duration::from_secs(3_600)));
        for bad in ["", "10", "m", "0s", "1d", "-1s", "99999999999999999999s"] {
            assert!(rhythm(bad).is_err(), "{bad}");
        }
    }
}
