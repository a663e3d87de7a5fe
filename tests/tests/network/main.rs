//! Stores that several processes and machines share, on the real servers: what is
//! put in front of them, what many clients do at once, what a node hears of
//! another, what a request costs, and what an outage does.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod near;
mod outage;
mod places;
mod processes;
mod races;
mod stacks;
mod sweep;
mod trips;
