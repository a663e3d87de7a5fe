//! The choices of a policy, checked against each other.

use std::borrow::Cow;

use cloakroom_core::{Error, ErrorKind};

use super::{
    COOKIE_AGE_MAX, COOKIE_BYTES_MAX, COOKIE_CHUNKS_MAX, COOKIE_NAME_BYTES_MAX, CookiePolicy,
    Prefix, SameSite, is_name_octet,
};

/// Builds a [`CookiePolicy`]; combinations that browsers refuse, or that would
/// be insecure without a word, fail at [`build`](Self::build).
#[derive(Clone, Debug)]
pub struct CookiePolicyBuilder {
    policy: CookiePolicy,
    base_name: String,
    prefix: Prefix,
}

impl CookiePolicyBuilder {
    pub(super) fn new() -> Self {
        Self {
            policy: CookiePolicy::default(),
            base_name: "session".to_owned(),
            prefix: Prefix::Host,
        }
    }

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

    /// Sends the cookie to a domain and all its subdomains. Needs
    /// [`Prefix::Secure`] or [`Prefix::None`].
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.policy.domain = Some(domain.into());
        self
    }

    /// Sends the cookie only below a path. Needs [`Prefix::Secure`] or
    /// [`Prefix::None`].
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

    /// Limits the cookie to what passes proxies with their default settings: its
    /// `Set-Cookie` value to 3 KiB, which leaves 1 KiB for the other headers. nginx takes
    /// 4 KiB of response headers in all (`proxy_buffer_size`), and answers a longer
    /// response with a 502 that no log of the site explains. Raise that to 16k, and this
    /// is not needed. For a store whose token is the whole session.
    #[must_use]
    pub fn behind_default_proxies(self) -> Self {
        self.bytes_max(3 * 1024).chunks_max(1)
    }

    /// How many cookies a token may be cut into where it does not fit into one.
    /// Default 1: never; most: [`COOKIE_CHUNKS_MAX`]. For a store whose token is
    /// the whole session.
    ///
    /// The chunks are named `NAME.1` to `NAME.4`, and no other cookie may be.
    /// They make headers of up to 16 KiB both ways, and the server and each proxy
    /// in front of it must let those through: over HTTP/2 hyper takes 16 KiB of
    /// headers in all unless told otherwise, which three full chunks leave room in
    /// and four do not. To give chunks up, go down to 2 first: chunks
    /// of any number are read and removed then, but under 1 they are left to age.
    #[must_use]
    pub fn chunks_max(mut self, cookies: usize) -> Self {
        self.policy.chunks_max = cookies;
        self
    }

    /// Makes the browser forget more than the cookie when a session ends: each answer that
    /// ends one or removes its cookie says `Clear-Site-Data: "cache", "storage"`. That is the
    /// browser's cache of this origin, what scripts have stored there (local storage,
    /// IndexedDB, service workers), and the pages behind the Back button. Default off: it
    /// also clears what a site keeps for whoever is not logged in, and over plain http,
    /// except on this machine, browsers ignore it.
    #[must_use]
    pub fn clear_site_data(mut self) -> Self {
        self.policy.clears_site_data = true;
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
        let prefixed = ["__host-", "__secure-", "__http-"];
        // Browsers read `__Host-` before `Http-` as the one prefix of both.
        if prefixed.iter().any(|prefix| lower.starts_with(prefix))
            || (prefix == Prefix::Host && lower.starts_with("http-"))
        {
            return refuse(
                "give the cookie's name without its prefix, and the prefix apart".into(),
            );
        }
        if !policy.path.starts_with('/') || !policy.path.bytes().all(is_attribute_octet) {
            return refuse(
                "a cookie path begins with / and holds no ; or control character".into(),
            );
        }
        let domain_bytes = policy.domain.as_ref().map_or(0, String::len);
        if policy.path.len().max(domain_bytes) > ATTRIBUTE_BYTES_MAX {
            return refuse(
                "browsers ignore a cookie path or domain of more than 1024 bytes, and the \
                 cookie is another one then"
                    .into(),
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
        let of_one_host = matches!(prefix, Prefix::Host | Prefix::HostHttp);
        if of_one_host && (policy.domain.is_some() || policy.path != "/") {
            return refuse(
                "the __Host- prefix allows no Domain and only Path=/; take another prefix".into(),
            );
        }
        if prefix == Prefix::HostHttp && !policy.http_only {
            return refuse("the __Host-Http- prefix needs HttpOnly: browsers refuse it".into());
        }
        policy.name = match prefix {
            Prefix::Host => format!("__Host-{base_name}"),
            Prefix::HostHttp => format!("__Host-Http-{base_name}"),
            Prefix::Secure => format!("__Secure-{base_name}"),
            Prefix::None => base_name,
        };
        if policy.name.len() > COOKIE_NAME_BYTES_MAX {
            return refuse("a cookie name is 256 bytes at most, its prefix included".into());
        }
        if policy.bytes_max > COOKIE_BYTES_MAX {
            return refuse("browsers refuse a cookie over COOKIE_BYTES_MAX = 4096 bytes".into());
        }
        if !(1..=COOKIE_CHUNKS_MAX).contains(&policy.chunks_max) {
            return refuse("chunks_max is 1 to COOKIE_CHUNKS_MAX = 4 cookies".into());
        }
        // Beside the attributes there must be room for a key.
        if policy.attributes_bytes(Some(COOKIE_AGE_MAX.as_secs())) + 64 > policy.bytes_max {
            return refuse("the cookie's name, path and domain leave no room for a token".into());
        }
        policy.measure();
        Ok(policy)
    }
}

/// RFC 6265bis, section 5.6: a longer value of an attribute is ignored.
const ATTRIBUTE_BYTES_MAX: usize = 1024;

fn is_attribute_octet(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b';'
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (b().name("__HTTP-x"), "without its prefix"),
            (b().name("hTTp-x"), "without its prefix"),
            (
                b().prefix(Prefix::None).name("__Host-Http-x"),
                "without its prefix",
            ),
            (
                b().prefix(Prefix::HostHttp).readable_by_scripts(),
                "needs HttpOnly",
            ),
            (
                b().prefix(Prefix::HostHttp).insecure_over_http(),
                "prefix needs Secure",
            ),
            (b().prefix(Prefix::HostHttp).path("/app"), "only Path=/"),
            (
                b().prefix(Prefix::None)
                    .path(format!("/{}", "x".repeat(1_024))),
                "1024 bytes",
            ),
            (
                b().prefix(Prefix::None)
                    .domain(format!("{}org", "example.".repeat(128))),
                "1024 bytes",
            ),
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
                    .path(format!("/{}", "x".repeat(1_000)))
                    .bytes_max(1_100),
                "no room",
            ),
            (b().chunks_max(0), "chunks_max"),
            (b().chunks_max(5), "chunks_max"),
        ] {
            let error = builder.clone().build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{builder:?}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
