//! Nothing is measured.

use cloakroom_keyring::KeyId;

pub(crate) struct OpenedUnder;

impl OpenedUnder {
    pub(crate) fn key(_: KeyId) -> Self {
        Self
    }

    pub(crate) fn count(&self) {}
}
