//! Requests through the engine, in this process or over HTTP on this machine: what the
//! browser is told, what the store is asked, and what becomes of faults and bad input.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod adopting;
mod after_the_end;
mod announced_ends;
mod audit;
mod bad_input;
mod browser_storage;
mod concurrent_requests;
mod cookie_chunks;
mod cookie_store;
mod dead_cookies;
mod device_bound;
mod django;
mod ended;
mod endings;
mod engine_options;
mod everybody;
mod extractors;
mod in_the_field;
mod late_changes;
mod peer_defects;
mod reasons;
mod renewal;
mod request_cost;
mod sessions_of_a_subject;
mod sites;
mod step_up;
mod store_faults;
mod workers;
