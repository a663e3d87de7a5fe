//! XChaCha20-Poly1305 by ring, which has ChaCha20-Poly1305 alone. HChaCha20 makes a
//! subkey of the key and the first 16 bytes of the nonce, as
//! draft-irtf-cfrg-xchacha-03, section 2.3 says.

use chacha20::{R20, hchacha};
use cloakroom_core::{Error, ErrorKind};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};

/// It wipes its key when dropped. ring does not wipe what it makes of
/// a message's subkey, and that subkey opens one message.
pub(crate) struct Cipher(Zeroizing<[u8; KEY_BYTES]>);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*key))
    }

    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Error> {
        let (key, nonce) = self.message_key(nonce);
        let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(associated), buffer);
        let tag = sealed.map_err(|_| Error::from(ErrorKind::TooLarge))?;
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
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
        let (key, nonce) = self.message_key(nonce);
        key.open_in_place_separate_tag(nonce, Aad::from(associated), (*tag).into(), buffer, 0..)
            .is_ok()
    }

    /// The subkey of one message, and the nonce for use with it.
    fn message_key(&self, nonce: &[u8; NONCE_BYTES]) -> (LessSafeKey, Nonce) {
        let (first, last) = nonce.split_at(16);
        let mut input = [0; 16];
        input.copy_from_slice(first);
        let mut subkey = hchacha::<R20>((&*self.0).into(), &input.into());
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, &subkey).expect("a key of this cipher is 32 bytes");
        subkey.as_mut_slice().zeroize();
        let mut short = [0; 12];
        short[4..].copy_from_slice(last);
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(short))
    }
}
