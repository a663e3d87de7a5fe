//! TLS by a certificate that the demo makes for itself, and forgets when it stops.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, PublicKeyData as _, generate_simple_self_signed};
use ring::digest::{SHA256, digest};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::DemoError;

/// For whom the certificate is.
const NAMES: [&str; 4] = ["localhost", "site.example.com", "127.0.0.1", "::1"];

/// What takes connections, and the digest of its key, by which a browser can be told to
/// believe it: SHA-256 of the `SubjectPublicKeyInfo`, in Base64.
pub(crate) fn acceptor() -> Result<(TlsAcceptor, String), DemoError> {
    let names = NAMES.map(str::to_owned);
    let made = generate_simple_self_signed(names);
    let CertifiedKey { cert, signing_key } = made.map_err(|error| refused(&error))?;
    let key_digest = STANDARD.encode(digest(&SHA256, &signing_key.subject_public_key_info()));
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![cert.der().clone()], key.into());
    let config = config.map_err(|error| refused(&error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), key_digest))
}

fn refused(why: &dyn std::fmt::Display) -> DemoError {
    DemoError::Certificate(why.to_string())
}
