//! Sealed stores over a map, whose records a test can look at and change.

use cloakroom_core::Error;
use cloakroom_core::engine::{Entropy, SessionKey, TokenStore};
use cloakroom_core::store::{KeyDigest, Record};
use cloakroom_sealed::Sealed;
use cloakroom_testkit::{MapStore, key, sample};

pub(crate) async fn stored(store: &Sealed<MapStore>, text: &str) -> SessionKey {
    let key = key();
    store.create_token(&key, &sample(text)).await.unwrap();
    key
}

pub(crate) async fn load(store: &Sealed<MapStore>, key: &SessionKey) -> Result<Record, Error> {
    let loaded = store.load_token(&key.to_token()).await?;
    Ok(loaded.unwrap().stored.into_record().unwrap())
}

/// What stands in the database.
pub(crate) fn kept(store: &Sealed<MapStore>, digest: &KeyDigest) -> Record {
    let stored = store.inner().snapshot().remove(digest).unwrap();
    stored.into_record().unwrap()
}

pub(crate) fn counting(from: u8) -> [u8; 32] {
    std::array::from_fn(|at| from + at as u8)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives 0x40, 0x41, ...: for the tests that must know the nonce.
#[derive(Debug)]
pub(crate) struct Counting;

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        for (byte, value) in buffer.iter_mut().zip(0x40..) {
            *byte = value;
        }
        Ok(())
    }
}
