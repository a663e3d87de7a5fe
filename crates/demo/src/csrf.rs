//! Only our own forms may change anything.
//!
//! Two guards, so that a visitor who has no session needs none for this. Every
//! browser says where a form was sent from, and what was sent from elsewhere is
//! refused before anything is loaded. Whoever is logged in must also send the
//! token that stands in their session and in the forms of their pages: no
//! other site can read it.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::Error;
use cloakroom::engine::{Entropy as _, OsEntropy};
use cloakroom::session::Session;
use subtle::ConstantTimeEq as _;

/// The session entry that holds the token, and the form field that brings it.
pub(crate) const NAME: &str = "csrf";

/// Whether the request was sent by one of our pages, as its browser says. What
/// says nothing at all is no browser, and carries no cookie by itself.
pub(crate) fn is_ours(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    match (headers.get(ORIGIN), headers.get(HOST)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(origin), Some(host)) => origin
            .as_bytes()
            .strip_prefix(b"http://")
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_bytes())),
    }
}

/// Gives the session a new token: at each login and change of privilege.
pub(crate) fn renew(session: &Session) -> Result<(), Error> {
    let mut bytes = [0_u8; 32];
    OsEntropy.fill(&mut bytes)?;
    session.insert(NAME, URL_SAFE_NO_PAD.encode(bytes))
}

/// The session's token, to put into a form.
pub(crate) fn token(session: &Session) -> Result<Option<String>, Error> {
    session.get(NAME)
}

/// Whether what a form brought is what the session asks for. One that nobody
/// is logged in to asks for nothing.
pub(crate) fn is_allowed(session: &Session, brought: &str) -> Result<bool, Error> {
    if session.subject().is_none() {
        return Ok(true);
    }
    let token = token(session)?.unwrap_or_default();
    Ok(!token.is_empty() && bool::from(token.as_bytes().ct_eq(brought.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        is_ours(&headers)
    }

    #[test]
    fn a_form_from_elsewhere_is_told_from_ours() {
        let host = ("host", "127.0.0.1:8000");
        for (headers, expected) in [
            (vec![host], true),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "none")], true),
            (vec![host, ("sec-fetch-site", "same-site")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "")], false),
            (vec![host, ("origin", "http://127.0.0.1:8000")], true),
            (
                vec![("host", "LOCALHOST"), ("origin", "http://localhost")],
                true,
            ),
            (vec![host, ("origin", "https://127.0.0.1:8000")], false),
            (vec![host, ("origin", "http://127.0.0.1:8001")], false),
            (
                vec![host, ("origin", "http://127.0.0.1:8000.evil.example")],
                false,
            ),
            (vec![host, ("origin", "null")], false),
            (vec![("origin", "http://127.0.0.1:8000")], false),
        ] {
            assert_eq!(ours(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn whoever_is_logged_in_must_bring_the_token() {
        let session = Session::detached();
        assert!(is_allowed(&session, "").unwrap());
        session
            .set_subject(cloakroom::Subject::new("1").unwrap())
            .unwrap();
        assert!(!is_allowed(&session, "").unwrap());
        renew(&session).unwrap();
        let first = token(&session).unwrap().unwrap();
        assert_eq!(first.len(), 43);
        assert!(is_allowed(&session, &first).unwrap());
        renew(&session).unwrap();
        assert!(!is_allowed(&session, &first).unwrap());
    }
}
