//! Cookie policy: which cookie carries the token, and how it is set and
//! removed.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind, Token};

use crate::Presented;

/// Bytes of the longest `Set-Cookie` value that is sent: what every browser
/// takes (RFC 6265, section 6.1).
pub const COOKIE_BYTES_MAX: usize = 4_096;

/// The longest life of a cookie: browsers cut a longer one to 400 days
/// (RFC 6265bis, section 5.5).
pub const COOKIE_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// When a browser sends the cookie along with requests that another site
/// caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// On top-level navigation with a safe method. The default.
    Lax,
    /// Always; needs Secure.
    None,
}

/// A name prefix that browsers enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// `__Host-`: Secure, no Domain, Path=/. The default: no other host, not
    /// even a subdomain, can plant the cookie.
    Host,
    /// `__Secure-`: Secure.
    Secure,
    /// No prefix.
    None,
}

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
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
    partitioned: bool,
    bytes_max: usize,
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
        CookiePolicyBuilder {
            policy: Self::default(),
            base_name: "session".to_owned(),
            prefix: Prefix::Host,
        }
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
        // To the end, whatever is found: tokens are random, and a branch for each
        // byte would be guessed wrong.
        let bytes = token.expose().bytes();
        if !bytes.fold(true, |fits, byte| fits & is_cookie_octet(byte)) {
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

    fn format(&self, value: &str, age_secs: Option<u64>) -> String {
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

/// Builds a [`CookiePolicy`]; combinations that browsers refuse, or that would
/// be insecure without a word, fail at [`build`](Self::build).
#[derive(Clone, Debug)]
pub struct CookiePolicyBuilder {
    policy: CookiePolicy,
    base_name: String,
    prefix: Prefix,
}

impl CookiePolicyBuilder {
    /// The name without its prefix. Default `session`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.base_name = name.into();
        self
    }

    /// The prefix. Default [`Prefix::Host`].
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sends the cookie to a domain and all its subdomains. Needs another
    /// prefix than `__Host-`.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.policy.domain = Some(domain.into());
        self
    }

    /// Sends the cookie only below a path. Needs another prefix than `__Host-`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.policy.path = path.into();
        self
    }

    /// When other sites' requests carry the cookie. Default
    /// [`SameSite::Lax`].
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.policy.same_site = same_site;
        self
    }

    /// Keeps a jar of its own for each site that embeds this one (CHIPS).
    #[must_use]
    pub fn partitioned(mut self) -> Self {
        self.policy.partitioned = true;
        self
    }

    /// Sends the cookie over plain http, where anyone on the way can read it.
    /// Needs [`Prefix::None`].
    #[must_use]
    pub fn insecure_over_http(mut self) -> Self {
        self.policy.secure = false;
        self
    }

    /// Lets the page's scripts read the cookie, and with it anyone who gets a
    /// script into the page.
    #[must_use]
    pub fn readable_by_scripts(mut self) -> Self {
        self.policy.http_only = false;
        self
    }

    /// Bytes of the longest `Set-Cookie` value that is sent. Default and most:
    /// [`COOKIE_BYTES_MAX`].
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.policy.bytes_max = bytes;
        self
    }

    /// Checks the combination.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], saying what contradicts what.
    pub fn build(self) -> Result<CookiePolicy, Error> {
        let Self {
            mut policy,
            base_name,
            prefix,
        } = self;
        let refuse = |why: Cow<'static, str>| Err(Error::new(ErrorKind::Misconfigured, why));
        if base_name.is_empty() || !base_name.bytes().all(is_name_octet) {
            return refuse(
                "a cookie name is one or more letters, digits or !#$%&'*+-.^_`|~".into(),
            );
        }
        let lower = base_name.to_ascii_lowercase();
        if lower.starts_with("__host-") || lower.starts_with("__secure-") {
            return refuse(
                "give the cookie's name without its prefix, and the prefix apart".into(),
            );
        }
        if !policy.path.starts_with('/') || !policy.path.bytes().all(is_attribute_octet) {
            return refuse(
                "a cookie path begins with / and holds no ; or control character".into(),
            );
        }
        if let Some(domain) = &policy.domain {
            let label = |label: &str| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !domain.split('.').all(label) {
                return refuse("a cookie domain is host labels joined by dots".into());
            }
        }
        if !policy.secure {
            for (asked, what) in [
                (prefix != Prefix::None, "a name prefix needs Secure"),
                (
                    policy.same_site == SameSite::None,
                    "SameSite=None needs Secure",
                ),
                (policy.partitioned, "Partitioned needs Secure"),
            ] {
                if asked {
                    return refuse(format!("{what}: browsers refuse the cookie").into());
                }
            }
        }
        if prefix == Prefix::Host && (policy.domain.is_some() || policy.path != "/") {
            return refuse(
                "the __Host- prefix allows no Domain and only Path=/; take another prefix".into(),
            );
        }
        policy.name = match prefix {
            Prefix::Host => format!("__Host-{base_name}"),
            Prefix::Secure => format!("__Secure-{base_name}"),
            Prefix::None => base_name,
        };
        if policy.bytes_max > COOKIE_BYTES_MAX {
            return refuse("browsers refuse a cookie over COOKIE_BYTES_MAX = 4096 bytes".into());
        }
        // Beside the attributes there must be room for a key.
        if policy.format("", Some(COOKIE_AGE_MAX.as_secs())).len() + 64 > policy.bytes_max {
            return refuse("the cookie's name, path and domain leave no room for a token".into());
        }
        Ok(policy)
    }
}

/// RFC 6265 and RFC 9110: the characters of a token.
pub(crate) fn is_name_octet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_attribute_octet(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b';'
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_browsers_refuse_is_refused_at_build() {
        let b = CookiePolicy::builder;
        for (builder, part) in [
            (b().domain("example.org"), "no Domain"),
            (b().path("/app"), "only Path=/"),
            (b().insecure_over_http(), "prefix needs Secure"),
            (
                b().prefix(Prefix::Secure).insecure_over_http(),
                "prefix needs Secure",
            ),
            (
                b().prefix(Prefix::None)
                    .insecure_over_http()
                    .same_site(SameSite::None),
                "SameSite=None needs Secure",
            ),
            (
                b().prefix(Prefix::None).insecure_over_http().partitioned(),
                "Partitioned needs Secure",
            ),
            (b().name(""), "cookie name"),
            (b().name("a b"), "cookie name"),
            (b().name("a;b"), "cookie name"),
            (b().name("__host-x"), "without its prefix"),
            (b().prefix(Prefix::None).path("app"), "begins with /"),
            (b().prefix(Prefix::None).path("/a;b"), "begins with /"),
            (b().prefix(Prefix::None).path("/a\r\nb"), "begins with /"),
            (
                b().prefix(Prefix::None).domain(".example.org"),
                "host labels",
            ),
            (b().prefix(Prefix::None).domain("a;b"), "host labels"),
            (
                b().prefix(Prefix::None)
                    .path(format!("/{}", "x".repeat(4_000))),
                "no room",
            ),
        ] {
            let error = builder.clone().build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{builder:?}");
            assert!(error.to_string().contains(part), "{error}");
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
