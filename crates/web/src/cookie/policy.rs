//! The cookie that carries the token: its text, and its place among others.

use std::fmt::Write as _;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind, Token};

use super::{COOKIE_AGE_MAX, COOKIE_BYTES_MAX, CookiePolicyBuilder, SameSite};
use crate::Presented;

/// How the session cookie is named, set and removed.
///
/// The default is as strict as a session cookie can be:
///
/// ```
/// use cloakroom_web::CookiePolicy;
///
/// let policy = CookiePolicy::default();
/// assert_eq!(policy.name(), "__Host-session");
/// assert_eq!(
///     policy.removal(),
///     "__Host-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
/// );
/// ```
///
/// Attributes are written in this order: Path, Domain, Max-Age, Secure,
/// HttpOnly, SameSite, Partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) domain: Option<String>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) same_site: SameSite,
    pub(super) partitioned: bool,
    pub(super) bytes_max: usize,
}

impl Default for CookiePolicy {
    /// `__Host-session`, Secure, HttpOnly, SameSite=Lax, Path=/.
    fn default() -> Self {
        Self {
            name: "__Host-session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
            bytes_max: COOKIE_BYTES_MAX,
        }
    }
}

impl CookiePolicy {
    /// A policy of one's own, beginning with the default.
    #[must_use]
    pub fn builder() -> CookiePolicyBuilder {
        CookiePolicyBuilder::new()
    }

    /// For http on this machine alone, while developing: neither Secure nor a
    /// prefix. Browsers drop Secure cookies that come over plain http from most
    /// addresses, so the default does not work there. An engine built with it
    /// logs a warning.
    #[must_use]
    pub fn loopback_http() -> Self {
        Self {
            name: "session".to_owned(),
            secure: false,
            ..Self::default()
        }
    }

    /// The full name, with its prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the cookie travels over https alone.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The `Set-Cookie` value that hands out a token. Without an age the
    /// cookie ends with the browser; ages are whole seconds, one at least.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where the value would be longer than the
    /// policy's [`bytes_max`](CookiePolicyBuilder::bytes_max), [`ErrorKind::Corrupt`] where the token holds
    /// characters that a cookie cannot.
    pub fn set(&self, token: &Token, age: Option<Duration>) -> Result<String, Error> {
        if !token.expose().bytes().all(is_cookie_octet) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store made a token that does not fit into a cookie",
            ));
        }
        let age = age.map(|age| age.clamp(Duration::from_secs(1), COOKIE_AGE_MAX).as_secs());
        let text = self.format(token.expose(), age);
        if text.len() > self.bytes_max {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the cookie is {} bytes on the wire, its bytes_max is {}",
                    text.len(),
                    self.bytes_max
                ),
            ));
        }
        Ok(text)
    }

    /// The `Set-Cookie` value that removes the cookie: the same name, path,
    /// domain and flags, or browsers would keep it.
    #[must_use]
    pub fn removal(&self) -> String {
        self.format("", Some(0))
    }

    pub(super) fn format(&self, value: &str, age_secs: Option<u64>) -> String {
        let mut text = format!("{}={value}; Path={}", self.name, self.path);
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        if let Some(secs) = age_secs {
            let _ = write!(text, "; Max-Age={secs}");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        if self.partitioned {
            text.push_str("; Partitioned");
        }
        text
    }

    /// What the `Cookie` headers of a request hold for this policy. A value may
    /// hold any bytes; only a token that `is_well_formed` says could be one is
    /// taken, the first where there are several.
    pub fn find<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        is_well_formed: impl Fn(&str) -> bool,
    ) -> Presented {
        let mut presented = Presented::default();
        let pairs = headers.flat_map(|header| header.split(|byte| *byte == b';'));
        for pair in pairs {
            let pair = pair.trim_ascii();
            let Some(value) = pair
                .strip_prefix(self.name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            presented.count += 1;
            if presented.token.is_some() {
                continue;
            }
            let value = value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""))
                .unwrap_or(value);
            presented.token = std::str::from_utf8(value)
                .ok()
                .filter(|value| is_well_formed(value))
                .map(Token::new);
        }
        presented
    }
}

/// RFC 6265: printable ASCII without quotes, comma, semicolon, backslash.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prefix;

    fn found(header: &[u8]) -> (Option<String>, usize) {
        let policy = CookiePolicy::loopback_http();
        let presented = policy.find([header].into_iter(), |token| token.starts_with("ok"));
        let token = presented.token.map(|token| token.expose().to_owned());
        (token, presented.count)
    }

    #[test]
    fn the_first_well_formed_cookie_of_the_name_is_found() {
        for (header, token, count) in [
            (&b""[..], None, 0),
            (b"session=ok1", Some("ok1"), 1),
            (b"a=b; session=ok1;c=d", Some("ok1"), 1),
            (b" session=\"ok1\" ", Some("ok1"), 1),
            (b"session=bad; session=ok2; session=ok3", Some("ok2"), 3),
            (b"session=", None, 1),
            (b"session", None, 0),
            (b"Session=ok1; xsession=ok1; session2=ok1", None, 0),
            (b"session=ok\xff", None, 1),
            (b";;;=;session=ok=1;", Some("ok=1"), 1),
        ] {
            assert_eq!(
                found(header),
                (token.map(str::to_owned), count),
                "{header:?}"
            );
        }
    }

    #[test]
    fn set_cookie_is_this_text_byte_for_byte() {
        let token = Token::new("TOKEN");
        let hour = Some(Duration::from_millis(3_600_999));
        let build = |builder: CookiePolicyBuilder| builder.build().unwrap();
        let b = CookiePolicy::builder;
        for (policy, age, text) in [
            (
                CookiePolicy::default(),
                hour,
                "__Host-session=TOKEN; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                CookiePolicy::default(),
                None,
                "__Host-session=TOKEN; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                CookiePolicy::loopback_http(),
                Some(Duration::ZERO),
                "session=TOKEN; Path=/; Max-Age=1; HttpOnly; SameSite=Lax",
            ),
            (
                build(
                    b().name("sid")
                        .prefix(Prefix::Secure)
                        .domain("example.org")
                        .path("/app")
                        .same_site(SameSite::None)
                        .partitioned()
                        .readable_by_scripts(),
                ),
                Some(Duration::MAX),
                "__Secure-sid=TOKEN; Path=/app; Domain=example.org; Max-Age=34560000; Secure; \
                 SameSite=None; Partitioned",
            ),
            (
                build(
                    b().prefix(Prefix::None)
                        .insecure_over_http()
                        .same_site(SameSite::Strict),
                ),
                hour,
                "session=TOKEN; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict",
            ),
        ] {
            assert_eq!(policy.set(&token, age).unwrap(), text);
            let removal = policy.removal();
            assert!(removal.contains("=; ") && removal.contains("; Max-Age=0"));
            // Everything else is the same, or the browser keeps the cookie.
            let strip = |text: &str| {
                let mut parts: Vec<_> = text.split("; ").map(str::to_owned).collect();
                let name = parts[0].split('=').next().unwrap().to_owned();
                parts[0] = name;
                parts.retain(|part| !part.starts_with("Max-Age"));
                parts
            };
            assert_eq!(strip(&removal), strip(text));
        }
    }

    #[test]
    fn the_size_limit_is_met_on_the_wire() {
        let policy = CookiePolicy::default();
        let empty = policy.set(&Token::new(""), None).unwrap().len();
        let fits = "x".repeat(COOKIE_BYTES_MAX - empty);
        assert_eq!(
            policy.set(&Token::new(&*fits), None).unwrap().len(),
            COOKIE_BYTES_MAX
        );
        let one_more = Token::new(format!("{fits}x"));
        let error = policy.set(&one_more, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let small = CookiePolicy::builder().bytes_max(200).build().unwrap();
        let fits = "x".repeat(200 - empty);
        assert!(small.set(&Token::new(&*fits), None).is_ok());
        let error = small
            .set(&Token::new(format!("{fits}x")), None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(CookiePolicy::builder().bytes_max(4_097).build().is_err());
        for bad in ["a;b", "a b", "a\"b", "a\r\nb", "é"] {
            let error = policy.set(&Token::new(bad), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
