//! Cookie policy: which cookie carries the token, and how it is set and
//! removed.

mod builder;
mod chunks;
mod policy;

use std::time::Duration;

pub use builder::CookiePolicyBuilder;
pub use chunks::ClientState;
pub use policy::CookiePolicy;

/// Bytes of the longest `Set-Cookie` value that is sent: what every browser
/// takes (RFC 6265, section 6.1).
pub const COOKIE_BYTES_MAX: usize = 4_096;

/// Bytes of the longest name of a cookie, its prefix included.
pub(crate) const COOKIE_NAME_BYTES_MAX: usize = 256;

/// The most cookies that one token is cut into.
pub const COOKIE_CHUNKS_MAX: usize = 4;

/// The longest life of a cookie: browsers cut a longer one to 400 days
/// (RFC 6265bis, section 5.5).
pub(crate) const COOKIE_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

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
    /// `__Host-Http-`: as `__Host-`, and HttpOnly: no script of a page, of a subdomain's
    /// either, can plant the cookie. Browsers that do not know the prefix enforce
    /// `__Host-` alone. Chromium 156 does not bind a cookie of this prefix to its device.
    HostHttp,
    /// `__Secure-`: Secure.
    Secure,
    /// No prefix.
    None,
}

/// RFC 6265 and RFC 9110: the characters of a token.
pub(crate) fn is_name_octet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
