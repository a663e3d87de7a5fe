//! The token in headers instead of a cookie, for APIs.

use cloakroom_core::engine::Token;
use cloakroom_core::{Error, ErrorKind};

use crate::cookie::is_name_octet;
use crate::{HeaderEdit, Presented};

/// The token travels in headers of its own: the client sends
/// `Authorization: Bearer TOKEN`, and learns its token, or a new one, from a
/// response header. An empty value of that header tells it to forget the token.
///
/// There is no cookie, so no other site can make a browser send it along; and
/// nothing keeps it but the client's own code.
///
/// ```
/// use cloakroom_core::engine::Token;
/// use cloakroom_web::BearerPolicy;
///
/// let policy = BearerPolicy::default();
/// let header = policy.set(&Token::new("TOKEN"))?;
/// assert_eq!((header.name(), header.value()), ("x-session-token", "TOKEN"));
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerPolicy {
    response_header: String,
}

impl Default for BearerPolicy {
    /// Hands tokens out in `x-session-token`.
    fn default() -> Self {
        Self {
            response_header: "x-session-token".to_owned(),
        }
    }
}

impl BearerPolicy {
    /// Hands tokens out in another response header.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where that is no header name.
    pub fn with_response_header(name: &str) -> Result<Self, Error> {
        if name.is_empty() || !name.bytes().all(is_name_octet) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a header name is one or more letters, digits or !#$%&'*+-.^_`|~",
            ));
        }
        Ok(Self {
            response_header: name.to_ascii_lowercase(),
        })
    }

    /// The response header that hands out a token.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the token holds what a header cannot.
    pub fn set(&self, token: &Token) -> Result<HeaderEdit, Error> {
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store made a token that does not fit into a header",
            ));
        }
        Ok(HeaderEdit::append_secret(
            self.response_header.clone(),
            token.expose(),
        ))
    }

    /// The response header that takes the token away: the same, empty.
    #[must_use]
    pub fn removal(&self) -> HeaderEdit {
        HeaderEdit::append_secret(self.response_header.clone(), "")
    }

    /// What the `Authorization` headers of a request hold. Other schemes than
    /// `Bearer` are somebody else's.
    pub fn find<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        is_well_formed: impl Fn(&str) -> bool,
    ) -> Presented {
        let mut presented = Presented::default();
        for header in headers {
            let header = header.trim_ascii();
            let Some((scheme, value)) = header.split_at_checked(7) else {
                continue;
            };
            if !scheme.eq_ignore_ascii_case(b"bearer ") {
                continue;
            }
            presented.count += 1;
            let value = std::str::from_utf8(value.trim_ascii()).ok();
            if let Some(value) = value.filter(|value| is_well_formed(value)) {
                presented.keep(Token::copied(value));
            }
        }
        presented
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_the_bearer_scheme_is_found() {
        for (headers, token, count) in [
            (&[&b"Bearer ok1"[..]][..], Some("ok1"), 1),
            (&[b"bearer   ok1 "], Some("ok1"), 1),
            (&[b"Basic b2sx", b"BEARER ok2"], Some("ok2"), 1),
            (&[b"Bearer bad", b"Bearer ok3"], Some("ok3"), 2),
            (&[b"Bearer"], None, 0),
            (&[b"Bearer "], None, 0),
            (&[b"Bearer \xff"], None, 1),
            (&[b"Bearerok1"], None, 0),
        ] {
            let policy = BearerPolicy::default();
            let found = policy.find(headers.iter().copied(), |token| token.starts_with("ok"));
            let text = found.token.map(|token| token.expose().to_owned());
            assert_eq!(
                (text.as_deref(), found.count),
                (token, count),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused() {
        for name in ["", "a b", "a:b", "é"] {
            let error = BearerPolicy::with_response_header(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
        }
        let error = BearerPolicy::default()
            .set(&Token::new("a\r\nb"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
