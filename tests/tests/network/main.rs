//! Stores that several processes and machines share, on real servers: what is put in
//! front of them, what many clients do at once, what a node hears of another, what a
//! request costs, and what an outage does.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod behind_nginx;
mod cached_nodes;
mod device_bound;
mod device_bound_links;
mod ended_nodes;
mod frameworks;
mod fresh_stores;
mod in_chromium;
mod layered_servers;
mod linearizable_nodes;
mod migrating_servers;
mod on_actix;
mod openid_provider;
mod outage;
mod reasons;
mod round_trips;
mod several_processes;
mod sweep_latency;
mod workers;
