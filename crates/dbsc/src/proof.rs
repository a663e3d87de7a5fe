//! The signed answer of a device to a challenge: a JWS in compact form, of which ES256 alone is
//! read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::Binding;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;

/// Bytes of the longest proof that is read. One of Chromium has some 500.
pub(crate) const PROOF_BYTES_MAX: usize = 4 * 1024;

/// A public key: a point on P-256, uncompressed. Whether it lies on the curve is judged with
/// each signature.
pub(crate) type PublicKey = [u8; Binding::KEY_BYTES];

const COORDINATE_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A proof whose form is right, and whose signature was not looked at.
#[derive(Debug)]
pub(crate) struct Proof<'t> {
    /// The challenge that it answers.
    pub(crate) challenge: String,
    /// The key that a registration brings along. No key of a proof is ever trusted for a
    /// session that is bound.
    pub(crate) key: Option<PublicKey>,
    signed: &'t [u8],
    signature: [u8; SIGNATURE_BYTES],
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    jwk: Option<Jwk>,
    /// What must be understood beyond the standard; nothing is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
}

impl<'t> Proof<'t> {
    /// Reads one. `None` where it is too long, where its form is wrong, and where it is of
    /// another algorithm than ES256.
    pub(crate) fn read(text: &'t str) -> Option<Self> {
        if text.len() > PROOF_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = json(header)?;
        let is_ours = header.alg == "ES256" && header.typ == "dbsc+jwt" && header.crit.is_none();
        let claims: Claims = json(claims)?;
        let key = match &header.jwk {
            Some(jwk) => Some(public_key(jwk)?),
            None => None,
        };
        let signature = bytes(signature)?;
        is_ours.then_some(Self {
            challenge: claims.jti,
            key,
            signed: signed.as_bytes(),
            signature,
        })
    }

    /// Whether the holder of this key has signed it.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
        key.verify(self.signed, &self.signature).is_ok()
    }
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Exactly this many bytes.
fn bytes<const N: usize>(part: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(part).ok()?.try_into().ok()
}

fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    if jwk.kty != "EC" || jwk.crv != "P-256" {
        return None;
    }
    let x: [u8; COORDINATE_BYTES] = bytes(&jwk.x)?;
    let y: [u8; COORDINATE_BYTES] = bytes(&jwk.y)?;
    let mut key = [4; Binding::KEY_BYTES];
    key[1..=COORDINATE_BYTES].copy_from_slice(&x);
    key[1 + COORDINATE_BYTES..].copy_from_slice(&y);
    Some(key)
}
