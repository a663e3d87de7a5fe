//! Stores that one process uses, without a server: alone, in front of each other, and
//! what they leave on the disk.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

#[cfg(unix)]
mod cannot_open;
mod closing;
mod data_at_rest;
mod emptied_disk;
mod full_disk;
mod layered_stores;
mod linearizability;
mod migrating_stores;
mod model;
mod provider_sessions;
mod reasons;
mod sealed_stores;
mod sweep_cost;
#[cfg(unix)]
mod unreadable_session;
