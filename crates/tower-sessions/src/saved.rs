//! What requests have saved while they go on.

use std::sync::{Mutex, PoisonError};

use cloakroom_core::store::{Data, Revision};

/// How many saves are remembered. A record is 64 KiB at most unless the limits say
/// otherwise, so this is 16 MiB where all of them are as large as that.
const SAVES_MAX: usize = 256;

/// A save of a request that may save again.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// What the store answered; [`Revision::NONE`] where more was written than the
    /// request has seen, so that its next save is replayed as well.
    pub(crate) revision: Revision,
    /// The entries as the request saw them.
    pub(crate) data: Data,
}

/// The last save of each record that was handed out, by its nonce.
///
/// A foreign `save` cannot write into the record that it is given, so what a handler has
/// saved itself must be known from elsewhere when the response saves it again. Where a
/// save is remembered no more, the next one is replayed from what the request had loaded.
#[derive(Debug)]
pub(crate) struct Saves(Mutex<Vec<Option<(u64, Saved)>>>);

impl Default for Saves {
    fn default() -> Self {
        Self(Mutex::new(vec![None; SAVES_MAX]))
    }
}

/// Each nonce has one index, which a later nonce of the same remainder takes over.
fn index_of(nonce: u64) -> usize {
    usize::try_from(nonce % SAVES_MAX as u64).unwrap_or_default()
}

impl Saves {
    pub(crate) fn get(&self, nonce: u64) -> Option<Saved> {
        let saves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, saved) = saves[index_of(nonce)].as_ref()?;
        (*of == nonce).then(|| saved.clone())
    }

    pub(crate) fn put(&self, nonce: u64, saved: Saved) {
        let mut saves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        saves[index_of(nonce)] = Some((nonce, saved));
    }
}
