//! Whether a token is signed by a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// How a signature is checked.
enum Check {
    Rsa(&'static RsaParameters),
    OnCurve(&'static dyn VerificationAlgorithm),
}

/// `None` for what is no algorithm of public keys: whoever can check a signature must not be
/// able to make one.
fn check_of(algorithm: Algorithm) -> Option<Check> {
    Some(match algorithm {
        Algorithm::RS256 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::OnCurve(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::OnCurve(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::OnCurve(&ED25519),
        _ => return None,
    })
}

pub(crate) fn is_by_public_key(algorithm: Algorithm) -> bool {
    check_of(algorithm).is_some()
}

/// What stands between header and signature, where this key has signed it by this algorithm.
/// A key of another kind has signed nothing.
pub(crate) fn signed_payload(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
) -> Option<Vec<u8>> {
    let (message, signature) = token.rsplit_once('.')?;
    let (_, payload) = message.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let message = message.as_bytes();
    let checked = match (check_of(algorithm)?, key.kind()) {
        (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(parameters, message, &signature)
        }
        (Check::OnCurve(curve), DecodingKeyKind::SecretOrDer(point)) => {
            UnparsedPublicKey::new(curve, point).verify(message, &signature)
        }
        _ => return None,
    };
    checked.ok()?;
    URL_SAFE_NO_PAD.decode(payload).ok()
}
