//! Only forms of these pages may change anything.
//!
//! Browsers say which site has sent a form, and what another site has sent is refused before
//! anything is loaded. A form must also bring the token that stands in the administrator's
//! session and in each form of their pages, and that no other site can read.

use axum::http::HeaderMap;
use cloakroom::Error;
use cloakroom::engine::{Entropy as _, OsEntropy};
use cloakroom::session::Session;
use cloakroom::store::KeyDigest;
use subtle::ConstantTimeEq as _;

use crate::SESSION_ENTRY as ENTRY;

/// The form's field that brings it.
pub(crate) const FIELD: &str = "token";

/// Whether the browser says that another site has sent the request. One that says nothing
/// has its token to show.
pub(crate) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none")
}

/// The token of this session; a new one where it has none.
pub(crate) fn token(session: &Session) -> Result<FormToken, Error> {
    if let Some(token) = session.get(ENTRY)? {
        return Ok(FormToken(token));
    }
    let mut bytes = [0; KeyDigest::BYTES];
    OsEntropy.fill(&mut bytes)?;
    let token = KeyDigest::from_bytes(bytes).to_hex();
    session.insert(ENTRY, &token)?;
    Ok(FormToken(token))
}

/// Whether what a form brought is the token of this session. A session without one allows
/// nothing.
pub(crate) fn allows(session: &Session, brought: &str) -> Result<bool, Error> {
    let token: String = session.get(ENTRY)?.unwrap_or_default();
    Ok(!token.is_empty() && bool::from(token.as_bytes().ct_eq(brought.as_bytes())))
}

/// The token, which only a form may show.
pub(crate) struct FormToken(String);

impl FormToken {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}
