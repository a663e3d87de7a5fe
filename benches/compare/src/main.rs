//! Cloakroom beside its peers, by their public API, on identical work; and how it grows.
//! README.md says how to run it.

mod chart;
mod contender;
mod goals;
mod machine;
mod measure;
mod ours;
mod peers;
mod pictures;
mod profile;
mod redis;
mod report;
mod results;
mod works;

use std::error::Error;

use contender::{Entry, Run};

/// Of the last measurement, and of the last growth. Not committed.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/results.jsonl");
const GROWTH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/growth.jsonl");

const HELP: &str = "usage: compare [COMMAND] [NAME=VALUE ...]
  (none)            measures, lets grow, and writes the pages
  measure           measures all works      rounds=3 works='w1 w2 w3 w4 w5 w6 durable' only=TEXT
  grow              measures growth         sessions='1000 10000 100000 1000000' only=TEXT
  report            writes docs/speed.md, its charts and the README's figures
  one NAME WORK...  measures one contender in this process
append=yes keeps the results of before.";

/// `NAME=VALUE` arguments.
pub struct Settings(Vec<(String, String)>);

impl Settings {
    fn text<'s>(&'s self, name: &str, default: &'s str) -> &'s str {
        let given = self.0.iter().find(|(given, _)| given == name);
        given.map_or(default, |(_, value)| value)
    }
    fn has(&self, name: &str) -> bool {
        !self.text(name, "").is_empty()
    }
    fn list(&self, name: &str, default: &str) -> Vec<String> {
        self.text(name, default)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
    fn number(&self, name: &str, default: usize) -> usize {
        let given = self.text(name, "");
        if given.is_empty() {
            default
        } else {
            given.parse().expect("a number")
        }
    }
}

/// Ours stand among the peers, so that nobody is always measured first.
fn entries() -> Vec<Entry> {
    let all = [
        peers::jars::ENTRIES,
        peers::async_session::ENTRIES,
        peers::axum_session::ENTRIES,
        peers::tower_sessions::ENTRIES,
        ours::ENTRIES,
    ];
    all.concat()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let command = arguments.next_if(|argument| !argument.contains('='));
    let entries = entries();
    if command.as_deref() == Some("one") {
        let name = arguments.next().ok_or(HELP)?;
        let mut named = entries.iter().filter(|(contender, _)| *contender == name);
        let (contender, run) = named.next().ok_or("there is no such contender")?;
        let works = arguments.collect();
        run(&Run { contender, works });
        return Ok(());
    }
    let settings = arguments.map(|argument| match argument.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(HELP),
    });
    let settings = Settings(settings.collect::<Result<_, _>>()?);
    match command.as_deref() {
        None => {
            measure::measure(&entries, &settings)?;
            measure::grow(&settings)?;
            report::report()
        }
        Some("measure") => Ok(measure::measure(&entries, &settings)?),
        Some("grow") => Ok(measure::grow(&settings)?),
        Some("report") => report::report(),
        Some(_) => Err(HELP.into()),
    }
}
