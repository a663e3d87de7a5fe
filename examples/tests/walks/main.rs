//! Each example is started as a user would start it, and walked through over HTTP.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod live;
mod logins;
mod moved;
#[cfg(unix)]
mod proxied;
mod shop;
mod site;
