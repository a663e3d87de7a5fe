//! XChaCha20-Poly1305 by RustCrypto, which needs no C compiler.

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use cloakroom_core::{Error, ErrorKind};

use super::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};

/// It wipes its key when dropped.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Error> {
        self.0
            .encrypt_inout_detached(&XNonce::from(*nonce), associated, buffer.into())
            .map(Into::into)
            .map_err(|_| ErrorKind::TooLarge.into())
    }

    /// Decrypts an authentic buffer; answers whether it is. One that is not is of no use
    /// after the call.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        self.0
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                associated,
                buffer.into(),
                &Tag::from(*tag),
            )
            .is_ok()
    }
}
