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
//! Each clause of the contract is a function of its own in [`clauses`] and
//! [`sweep`], [`subjects`] and [`scan`], so that one that fails can be run alone. A store that keeps its
//! sessions adds [`survives_reopening`], one that needs no runtime [`races`],
//! which sends the concurrent clauses from threads. [`linearizable`], or a
//! [`Trial`] within a runtime, lets clients do what they like at once and looks
//! for an order that explains all answers. The suite needs no particular runtime
//! and panics, as tests do, where a clause is broken.
//!
//! Beside it: [`MapStore`], the model that every store is compared with;
//! [`ManualClock`]; [`FaultyStore`], which fails or loses the answer at an
//! operation of one's choice; [`RecordingStore`], which counts.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clauses;
mod clock;
mod durable;
mod faulty;
mod linear;
mod map;
mod races;
mod recording;
mod sample;
pub mod scan;
pub mod subjects;
mod suite;
pub mod sweep;

pub use clock::ManualClock;
pub use durable::survives_reopening;
pub use faulty::{Fault, FaultyStore};
pub use linear::{Trial, linearizable};
pub use map::MapStore;
pub use races::{races, races_of_subjects};
pub use recording::{Call, RecordingStore};
pub use sample::{Sample, key, listed_as, sample, touch_until};
pub use suite::{Profile, conformance};
