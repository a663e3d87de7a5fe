//! A provider of the test's own sends logouts to an engine: what ends, and what is refused.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod bad_tokens;
mod calls;
mod ends;
mod key_sets;
mod orders;
mod site;
mod ties;
