//! The published conformance suite of Cloakroom session stores.
//!
//! Whoever writes a store depends on `cloakroom-core` and, for tests, on this
//! crate, and writes one test:
//!
//! ```
//! use cloakroom_core::engine::AnyStore;
//! use cloakroom_testkit::{MapStore, Profile, conformance};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // MapStore::default() stands for your store.
//! conformance(&MapStore::default(), &Profile::SERVER_SIDE).await;
//! conformance(&AnyStore::new(MapStore::default()), &Profile::SERVER_SIDE).await;
//! # });
//! ```
//!
//! A [`Profile`] says what the store promises, and so which clauses it is asked.
//! Each clause of the contract is a function of its own in [`clauses`], [`sweep`],
//! [`subjects`] and [`scan`], so that one that fails can be run alone. The suite
//! needs no particular runtime, and panics where a clause is broken.
//!
//! Beside the suite:
//!
//! - [`survives_reopening`] is for stores that keep sessions when the process ends.
//! - [`sweeps_at_every_edge`] is for stores that write what a sweep leaves in SQL.
//! - [`races`] and [`races_of_subjects`] send the concurrent clauses from threads. A
//!   store that needs a runtime is wrapped by [`in_runtime`] first.
//! - [`linearizable`], or a [`Trial`] within a runtime, lets clients call what they
//!   like at once and looks for an order that explains all answers.
//! - [`MapStore`] is the model with which other stores are compared.
//! - [`ManualClock`] stands until a test moves it.
//! - [`CollectedEvents`] are the `tracing` events of a test, with their fields.
//! - [`InterceptedStore`] hands each operation of a store to a closure. Two are
//!   ready-made: [`FaultyStore`] fails or loses the answer at a chosen operation,
//!   [`RecordingStore`] remembers what was called.
//!
//! **In the book:** [Writing a store](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/writing-a-store.md).

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clauses;
mod clock;
mod durable;
pub mod endings;
mod events;
mod faulty;
mod intercepted;
mod linear;
mod map;
mod races;
mod recording;
mod sample;
pub mod scan;
pub mod subjects;
mod suite;
pub mod sweep;
mod sweep_edges;

pub use clock::ManualClock;
pub use durable::survives_reopening;
pub use events::{CollectedEvent, CollectedEvents};
pub use faulty::{Fault, Faults, FaultyStore};
pub use intercepted::{Answer, Call, Intercept, InterceptedStore, Operation, Work, in_runtime};
pub use linear::{Trial, linearizable};
pub use map::MapStore;
pub use races::{races, races_of_subjects};
pub use recording::{Recorder, RecordingStore};
pub use sample::{Sample, key, listed_as, sample, touch_until};
pub use suite::{Clause, Profile, clauses_of, conformance};
pub use sweep_edges::sweeps_at_every_edge;
