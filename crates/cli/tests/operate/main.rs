//! The operator's subcommands from outside, over real stores: what they print as text and
//! as JSON, how they fail, and what they never print.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod cookies;
mod endings;
mod failures;
mod help;
mod keys;
#[cfg(unix)]
mod live;
mod migrate;
mod privacy;
mod reports;
mod scratch;
mod servers;
mod support;
