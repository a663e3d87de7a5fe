//! `cloakroom migrate`.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::store::Stored;
use cloakroom::stores::Migrating;
use serde::Serialize;

use crate::confirm::Confirmation;
use crate::failure::{Code, Failure};
use crate::output::{Output, count, counted};
use crate::progress::Progress;
use crate::scan;
use crate::store::{StoreName, close};

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom migrate env:CLOAKROOM_STORE env:NEW_STORE --per-second 500

It moves all sessions from one store to another while the site serves, so many in a second at
most. Nobody is logged out, and nobody who was logged out comes back, where every node runs both
stores by then (docs/migrating.md has the steps): a node that knows the former store alone does
not find what has moved. Each session is read back from the new store before the former one
forgets it. It may be killed at any moment: run it again, and it goes on. redb and sled belong
to one process: stop the site, or let the site itself move them.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store that is given up: its URL, @FILE or env:NAME
    #[arg(value_name = "FROM")]
    from: StoreName,
    /// The store that keeps the sessions from now on, which is made where there is none
    #[arg(value_name = "TO")]
    to: StoreName,
    /// Move so many sessions in a second at most
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    per_second: NonZeroU32,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Moved {
    moved: u64,
    /// Records that cannot be read, which stay in the former store and open nothing.
    unreadable: u64,
    /// Rotation marks that stay in the former store until they expire; the new one has them.
    rotation_marks: u64,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Moved {}.", counted(self.moved, "session"))?;
        if self.rotation_marks > 0 {
            let marks = counted(self.rotation_marks, "rotation mark");
            writeln!(f, "{marks} in the former store expire within a minute.")?;
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (from, to) = (arguments.from.read()?, arguments.to.read()?);
    if from.text() == to.text() {
        return Err(Failure::usage("FROM and TO are one and the same store"));
    }
    if from.has_former() || to.has_former() {
        return Err(Failure::usage(
            "FROM and TO are one store each: leave migrating_from= and prepared_from= out of \
             their URLs",
        ));
    }
    let from = from.open_existing().await?;
    let mut sessions = 0;
    scan::each(&from, |item| {
        if let Ok(Stored::Record(_)) = item.stored {
            sessions += 1;
        }
        ControlFlow::Continue(())
    })
    .await?;
    arguments.confirmation.ask(
        &format!(
            "This moves {} out of the former store. Every node of the site must run both stores \
             by now.",
            counted(sessions, "session")
        ),
        "migrate",
    )?;
    let to = to.open_or_make().await?;
    let migrating = Migrating::new(from.clone(), to.clone())?;
    let progress = Progress::up_to(sessions, "sessions moved");
    let copied = migrating
        .copy_and_tell(arguments.per_second, |moved| progress.set(moved))
        .await;
    drop(progress);
    let closed = [close(&from).await, close(&to).await];
    let copied = copied?;
    closed.into_iter().collect::<Result<(), Failure>>()?;
    arguments.output.show(&Moved {
        moved: copied.moved,
        unreadable: copied.unreadable,
        rotation_marks: copied.rotation_marks,
    })?;
    match copied.unreadable {
        0 => Ok(()),
        left => Err(Failure::new(
            Code::NotAll,
            format!(
                "{} of the former store cannot be read and stay there; nobody could open them \
                 before either: look at them before you remove that store",
                count(left)
            ),
        )),
    }
}
