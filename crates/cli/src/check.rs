//! `cloakroom check`.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::task::Poll;

use clap::Args;
use cloakroom::store::BoxFuture;
use cloakroom_testkit::{Profile, clauses_of};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Output, count};
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::store::StoreName;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom check redis://cache:6379
  cloakroom check env:STAGING_STORE --json | jq '.clauses[] | select(.holds | not)'

It asks a real store about each clause of the contract of Cloakroom's stores: whether of two
writers one is told of the conflict, whether what was ended stays ended, and so on. For a server
of another make or version than the tests know.";

/// Lines of text that say why a clause does not hold; JSON has all of them.
const WHY_LINES_MAX: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store: its URL, @FILE or env:NAME
    #[arg(value_name = "STORE")]
    store: StoreName,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Report {
    /// Where the store was asked.
    place: String,
    held: u64,
    broken: u64,
    clauses: Vec<Asked>,
}

#[derive(Serialize)]
struct Asked {
    name: &'static str,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Asked in {}.", self.place)?;
        for asked in self.clauses.iter().filter(|asked| !asked.holds) {
            writeln!(f, "does not hold: {}", asked.name.replace('_', " "))?;
            let why = asked.why.iter().flat_map(|why| why.lines());
            for line in why.take(WHY_LINES_MAX) {
                writeln!(f, "  {line}")?;
            }
        }
        let (held, broken) = (count(self.held), count(self.broken));
        match self.broken {
            0 => writeln!(f, "All {held} clauses hold."),
            _ => writeln!(f, "{held} clauses hold, {broken} do not."),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let scratch = Scratch::beside(arguments.store.read()?)?;
    let profile = match scratch.scheme() {
        "cookie" => Profile::CLIENT_SIDE,
        "memory" => Profile::SERVER_SIDE,
        _ => Profile::DURABLE,
    };
    let clauses = scratch
        .with_store(async |store| {
            let clauses = clauses_of(store, &profile);
            let progress = Progress::up_to(clauses.len() as u64, "clauses");
            // A broken clause panics: that is the report's to tell.
            let hook = take_hook();
            set_hook(Box::new(|_| {}));
            let mut asked = Vec::new();
            for clause in clauses {
                let why = broken(clause.asked).await;
                asked.push(Asked {
                    name: clause.name,
                    holds: why.is_none(),
                    why,
                });
                progress.add(1);
            }
            set_hook(hook);
            Ok(asked)
        })
        .await?;
    let held = clauses.iter().filter(|asked| asked.holds).count() as u64;
    let report = Report {
        place: scratch.place.clone(),
        held,
        broken: clauses.len() as u64 - held,
        clauses,
    };
    arguments.output.show(&report)?;
    match report.broken {
        0 => Ok(()),
        broken => Err(Failure::new(
            Code::NotAll,
            format!(
                "{} of the clauses of the store's contract do not hold: keep no sessions in it before you know \
                 why",
                count(broken)
            ),
        )),
    }
}

/// Why a clause does not hold, if so.
async fn broken(mut asked: BoxFuture<'_, ()>) -> Option<String> {
    poll_fn(|context| {
        // Nothing of the future is looked at once it has panicked.
        let poll = catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(context)));
        match poll {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(None),
            Err(panic) => Poll::Ready(Some(said(&*panic))),
        }
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clause_that_does_not_hold_says_why() {
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        assert_eq!(broken(Box::pin(async {})).await, None);
        let fixed = broken(Box::pin(async { panic!("no answer") })).await;
        assert_eq!(fixed.as_deref(), Some("no answer"));
        let written = broken(Box::pin(async { panic!("{} of 3", 2) })).await;
        assert_eq!(written.as_deref(), Some("2 of 3"));
        set_hook(hook);
    }
}
