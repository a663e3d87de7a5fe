//! What ties sessions to devices, as the engine sees it. The protocol is that of another crate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::{Binding, Error, ErrorKind, Timestamp};

use crate::{CookiePolicy, HeaderEdit, SameSite, Transport};

/// Ties sessions to devices, for [`EngineBuilder::device_bound`](crate::EngineBuilder::device_bound).
/// An application takes that of `cloakroom-dbsc`.
///
/// It judges by what stands in the record, and does no I/O; the engine loads and writes.
pub trait DeviceBinding: fmt::Debug + Send + Sync + 'static {
    /// The path of the endpoint that browsers register and refresh at.
    fn path(&self) -> &str;

    /// How long a bound cookie is valid.
    fn cookie_life(&self) -> Duration;

    /// Judges a request for a session that was offered to a device, or is bound to one.
    fn judge(&self, binding: &Binding, shown: &ShownDevice<'_>, now: Timestamp) -> DeviceVerdict;

    /// What a response says that offers the session to a device; `None` where it was offered
    /// too long ago, or is bound.
    fn offer(&self, binding: &Binding, now: Timestamp) -> Option<DeviceOffer>;

    /// Answers a request of the endpoint that needs no session to be answered; `None` where
    /// the session is to be loaded.
    fn answer_unread(&self, request: &DeviceRequest<'_>) -> Option<DeviceAnswer>;

    /// Whether a request of the endpoint speaks of this session: a browser may have the cookies
    /// of several.
    fn is_asked_for(&self, request: &DeviceRequest<'_>, binding: &Binding) -> bool;

    /// Answers a request of the endpoint.
    fn answer(
        &self,
        request: &DeviceRequest<'_>,
        session: DeviceSession<'_>,
        cookie: &BoundCookie,
        now: Timestamp,
    ) -> DeviceAnswer;
}

/// What a request shows of its device.
#[derive(Clone, Copy, Debug)]
pub struct ShownDevice<'r> {
    /// The values of its bound cookies.
    pub cookies: &'r [Vec<u8>],
    /// Why the browser says that it could not refresh. Nothing proves that it is true.
    pub skipped: Option<Skipped>,
    /// Whether it says that another site has led it to this page, as by a link: it does not
    /// refresh then. Nothing proves that either.
    pub is_from_elsewhere: bool,
}

/// Why a browser has sent a request without refreshing its bound cookie, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// The endpoint could not be reached.
    Unreachable,
    /// The endpoint has failed.
    ServerError,
    /// It has signed too often.
    QuotaExceeded,
    /// Any other reason.
    Other,
}

impl Skipped {
    /// From a `Secure-Session-Skipped` header.
    #[must_use]
    pub fn read(header: &[u8]) -> Self {
        let end = header.iter().position(|byte| matches!(byte, b';' | b','));
        match header[..end.unwrap_or(header.len())].trim_ascii() {
            b"unreachable" => Self::Unreachable,
            b"server_error" => Self::ServerError,
            b"quota_exceeded" => Self::QuotaExceeded,
            _ => Self::Other,
        }
    }

    /// Its name in events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ServerError => "server_error",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Other => "skipped",
        }
    }
}

/// What is to become of a request, by its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceVerdict {
    /// The device has proven itself.
    Proven,
    /// No device has answered the offer yet.
    Unbound,
    /// The device has not proven itself, and the request goes on all the same.
    Tolerated(&'static str),
    /// The device has not proven itself, and the session is not opened.
    Refused(&'static str),
    /// The session ends.
    Ended(&'static str),
}

/// What offers a session to a device.
#[derive(Clone, Debug)]
pub struct DeviceOffer {
    /// The value of a `Secure-Session-Registration` header.
    pub registration: String,
    /// The value of a bound cookie, for the time until the device has answered.
    pub bound: String,
}

/// What a request of the endpoint says, by its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceRequest<'r> {
    /// `Sec-Secure-Session-Id`.
    pub session_id: Option<&'r [u8]>,
    /// `Secure-Session-Response`.
    pub response: Option<&'r [u8]>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'r [u8]>,
}

/// The session of a request of the endpoint.
#[derive(Clone, Copy, Debug)]
pub enum DeviceSession<'s> {
    /// It opens, and the request speaks of it.
    Open(&'s Binding),
    /// There is none.
    Over,
    /// This server cannot know: it is moving to another key, another server has its key, or
    /// what a cache says may be from before it was bound.
    Unknown,
}

/// What the endpoint answers.
#[derive(Clone, Debug, Default)]
pub struct DeviceAnswer {
    /// The status.
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
    /// The value of a `Secure-Session-Challenge` header.
    pub challenge: Option<String>,
    /// The value of a new bound cookie.
    pub bound: Option<String>,
    /// What is to be done before that is said.
    pub deed: DeviceDeed,
}

/// What the endpoint does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceDeed {
    /// Nothing.
    #[default]
    Nothing,
    /// Keeps the device's key.
    Bind(Binding),
    /// Has let a device in that had proven itself.
    Refreshed,
    /// Another key has signed: somebody has the cookie, and not the device.
    WrongKey {
        /// Whether the session ends for it.
        ends: bool,
    },
}

/// The name and the attributes of the bound cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundCookie {
    name: String,
    attributes: String,
}

/// How many bound cookies of a request are looked at, and bytes of the longest.
const SHOWN_MAX: usize = 4;
const SHOWN_BYTES_MAX: usize = 128;

impl BoundCookie {
    /// That of the sessions whose cookie follows this policy.
    #[must_use]
    pub fn beside(policy: &CookiePolicy) -> Self {
        let own = policy.name();
        let prefixes = ["__Host-Http-", "__Host-", "__Http-", "__Secure-"];
        let base = prefixes.iter().find_map(|prefix| own.strip_prefix(prefix));
        let same_site = match policy.same_site() {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        Self {
            // Browsers fail a registration whose cookie has a `__Http-` prefix.
            name: format!("__Host-{}-bound", base.unwrap_or(own)),
            attributes: format!("Path=/; Secure; HttpOnly; SameSite={same_site}"),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes, without an age, as the browser is told them at the registration.
    #[must_use]
    pub fn attributes(&self) -> &str {
        &self.attributes
    }

    fn set(&self, value: &str, age_secs: u64) -> HeaderEdit {
        let Self { name, attributes } = self;
        let text = format!("{name}={value}; Max-Age={age_secs}; {attributes}");
        HeaderEdit::append_secret("set-cookie", text)
    }

    fn look(&self, header: &[u8], shown: &mut Vec<Vec<u8>>) {
        for pair in header.split(|byte| *byte == b';') {
            let value = pair.trim_ascii().strip_prefix(self.name.as_bytes());
            if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"="))
                && shown.len() < SHOWN_MAX
                && value.len() <= SHOWN_BYTES_MAX
            {
                shown.push(value.to_vec());
            }
        }
    }
}

/// What an engine knows that ties its sessions to devices.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    pub(crate) binding: Arc<dyn DeviceBinding>,
    pub(crate) cookie: BoundCookie,
}

impl Devices {
    pub(crate) fn new(binding: Arc<dyn DeviceBinding>, transport: &Transport) -> Self {
        let policy = match transport {
            Transport::Cookie(policy) => policy,
            Transport::Bearer(_) => &CookiePolicy::default(),
        };
        let cookie = BoundCookie::beside(policy);
        Self { binding, cookie }
    }

    /// # Errors
    /// [`ErrorKind::Misconfigured`] where browsers could not do it.
    pub(crate) fn check(&self, transport: &Transport) -> Result<(), Error> {
        let refuse = |why| Err(Error::new(ErrorKind::Misconfigured, why));
        let Transport::Cookie(policy) = transport else {
            return refuse(
                "device_bound is for cookies: a bearer token is bound to its client by DPoP, \
                 which is not built",
            );
        };
        if !policy.is_secure() {
            return refuse("device_bound needs https: browsers bind no session over plain http");
        }
        if policy.domain().is_some() || policy.is_partitioned() {
            return refuse(
                "device_bound needs a cookie of one host: without a Domain, and not Partitioned",
            );
        }
        let path = self.binding.path();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if !path.starts_with('/') || !path.bytes().all(is_plain) {
            return refuse("the path of device_bound begins with / and is plain ASCII");
        }
        if !is_within(path, policy.path()) {
            return refuse(
                "the endpoint of device_bound lies outside the path of the session cookie: \
                 browsers would not send the cookie to it",
            );
        }
        if self.binding.cookie_life() < Duration::from_secs(1) {
            return refuse("a bound cookie is valid for a second at least");
        }
        Ok(())
    }

    /// Keeps the values of bound cookies in a `Cookie` header.
    pub(crate) fn look(&self, header: &[u8], shown: &mut Vec<Vec<u8>>) {
        self.cookie.look(header, shown);
    }

    pub(crate) fn set(&self, value: &str) -> HeaderEdit {
        let age = self.binding.cookie_life().as_secs().max(1);
        self.cookie.set(value, age)
    }

    pub(crate) fn removal(&self) -> HeaderEdit {
        self.cookie.set("", 0)
    }
}

/// As browsers match a cookie's path (RFC 6265, section 5.1.4).
fn is_within(path: &str, of: &str) -> bool {
    let rest = path.strip_prefix(of);
    rest.is_some_and(|rest| of.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prefix;

    #[test]
    fn the_cookie_is_named_after_that_of_the_session_and_never_has_an_http_prefix() {
        let beside = |prefix| {
            let policy = CookiePolicy::builder().prefix(prefix).name("sid").build();
            BoundCookie::beside(&policy.unwrap()).name
        };
        for prefix in [Prefix::Host, Prefix::HostHttp, Prefix::Secure, Prefix::None] {
            assert_eq!(beside(prefix), "__Host-sid-bound", "{prefix:?}");
        }
    }

    #[test]
    fn a_few_short_cookies_of_the_name_are_looked_at() {
        let cookie = BoundCookie::beside(&CookiePolicy::default());
        let long = format!("__Host-session-bound={}", "x".repeat(129));
        let header = format!("a=b; __Host-session=1; __Host-session-bound=2;{long}");
        let mut shown = Vec::new();
        cookie.look(header.as_bytes(), &mut shown);
        assert_eq!(shown, [b"2"]);
        cookie.look("__Host-session-bound=3;".repeat(9).as_bytes(), &mut shown);
        assert_eq!(shown.len(), SHOWN_MAX);
    }

    #[test]
    fn what_a_browser_says_of_a_refresh_is_read() {
        for (header, name) in [
            (&b"unreachable;session_identifier=\"x\""[..], "unreachable"),
            (b"server_error", "server_error"),
            (b" quota_exceeded ;x, unreachable", "quota_exceeded"),
            (b"\xff", "skipped"),
            (b"", "skipped"),
        ] {
            assert_eq!(Skipped::read(header).as_str(), name);
        }
    }

    #[test]
    fn a_path_is_within_another_as_browsers_match_cookies() {
        for (path, of, is) in [
            ("/device", "/", true),
            ("/shop/device", "/shop", true),
            ("/shop/device", "/shop/", true),
            ("/shopping", "/shop", false),
            ("/device", "/shop", false),
        ] {
            assert_eq!(is_within(path, of), is, "{path} {of}");
        }
    }
}
