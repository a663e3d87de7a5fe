//! The part of a store's URL after the `?`.

use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

/// What stands in front of a store, or how it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A near cache: its bytes, and how old its answers may be.
    pub(crate) cache: Option<(u64, Duration)>,
    /// Whether data is sealed under the session's key.
    pub(crate) sealed: bool,
}

/// The options that every store on the server takes.
pub(crate) const ALLOWED: &str = "cache=64MiB with stale=5s, sealed=true";

impl Options {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        let (mut cache, mut stale) = (None, None);
        for (name, value) in pairs(text).map_err(refuse)? {
            match name {
                "cache" => cache = Some(bytes(value)?),
                "stale" => stale = Some(duration(value)?),
                "sealed" => options.sealed = truth(value)?,
                _ => return Err(refuse("this store has no such option")),
            }
        }
        options.cache = match (cache, stale) {
            (Some(bytes), Some(stale)) => Some((bytes, stale)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(refuse(
                    "cache= needs stale=: how long may a logout elsewhere take to be heard here?",
                ));
            }
            (None, Some(_)) => {
                return Err(refuse("stale= says how old a cache may be: add cache="));
            }
        };
        Ok(options)
    }
}

/// `name=value`, joined by `&`, each name once.
pub(crate) fn pairs(text: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let pair = part
            .split_once('=')
            .ok_or("an option is a name, = and a value")?;
        if pairs.iter().any(|(name, _)| *name == pair.0) {
            return Err("an option stands there twice");
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

fn refuse(why: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{why}; options after the ? are {ALLOWED}"),
    )
}

fn truth(text: &str) -> Result<bool, Error> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(refuse("sealed= is true or false")),
    }
}

/// A whole number and its unit.
fn number<'t>(text: &'t str, why: &str) -> Result<(u64, &'t str), Error> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number.parse().map_err(|_| refuse(why))?;
    Ok((number, unit))
}

fn bytes(text: &str) -> Result<u64, Error> {
    let why = "cache= is a number of bytes, KiB, MiB or GiB, such as 64MiB";
    let (number, unit) = number(text, why)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(refuse(why)),
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(refuse(why)),
    }
}

fn duration(text: &str) -> Result<Duration, Error> {
    let why = "stale= is a number of ms, s or min, such as 5s";
    let (number, unit) = number(text, why)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        _ => return Err(refuse(why)),
    };
    match number.checked_mul(millis) {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(refuse(why)),
    }
}

/// Of a part of this library that the program was built without.
#[allow(dead_code)] // With every feature on, nothing says so.
pub(crate) fn not_built(feature: &'static str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("this program was built without cloakroom's feature `{feature}`"),
    )
}

#[cfg(feature = "cookie")]
pub(crate) use self::cookie::Cookie;

#[cfg(feature = "cookie")]
mod cookie {
    use cloakroom_cookie::{CookieStore, KeyRing};
    use cloakroom_core::{AnyStore, Error, ErrorKind};
    use cloakroom_web::{CookiePolicy, Prefix, SameSite};

    /// What `cookie:` takes after the `?`.
    pub(crate) struct Cookie {
        name: String,
        ring: KeyRing,
        signed: bool,
        chunks_max: usize,
    }

    fn refuse(why: &str) -> Error {
        Error::new(
            ErrorKind::Misconfigured,
            format!(
                "{why}; options of cookie: are key_file=PATH or key_env=NAME, name=NAME, \
                 mode=encrypted or mode=signed, chunks=1 to chunks=4"
            ),
        )
    }

    impl Cookie {
        pub(crate) fn parse(text: &str) -> Result<Self, Error> {
            let mut name = "__Host-session";
            let mut ring = None;
            let mut signed = false;
            let mut chunks_max = 1;
            for (option, value) in super::pairs(text).map_err(refuse)? {
                match option {
                    "key_file" if ring.is_none() => ring = Some(KeyRing::from_file(value)?),
                    "key_env" if ring.is_none() => ring = Some(KeyRing::from_env(value)?),
                    "key_file" | "key_env" => {
                        return Err(refuse("the key ring is said twice"));
                    }
                    "name" => name = value,
                    "mode" => {
                        signed = match value {
                            "signed" => true,
                            "encrypted" => false,
                            _ => return Err(refuse("no such mode")),
                        }
                    }
                    "chunks" => {
                        chunks_max = match value {
                            "1" => 1,
                            "2" => 2,
                            "3" => 3,
                            "4" => 4,
                            _ => return Err(refuse("a session takes 1 to 4 cookies")),
                        }
                    }
                    _ => return Err(refuse("cookie: has no such option")),
                }
            }
            Ok(Self {
                name: name.to_owned(),
                ring: ring.ok_or_else(|| refuse("cookie: needs a key ring"))?,
                signed,
                chunks_max,
            })
        }

        pub(crate) fn open(self) -> Result<AnyStore, Error> {
            let token_bytes_max = match self.chunks_max {
                1 => None,
                _ => Some(self.longest_policy()?.token_bytes_max()),
            };
            let mut builder = CookieStore::builder(self.name, &self.ring);
            if self.signed {
                builder = builder.signed();
            }
            if let Some(bytes) = token_bytes_max {
                builder = builder.token_bytes_max(bytes);
            }
            builder.build().map(AnyStore::new)
        }

        /// The policy of this name and number of chunks with all that a cookie for
        /// `/` of one host can say, as the store's own default counts it.
        fn longest_policy(&self) -> Result<CookiePolicy, Error> {
            let prefixes = [("__Host-", Prefix::Host), ("__Secure-", Prefix::Secure)];
            let (base_name, prefix) = prefixes
                .into_iter()
                .find_map(|(text, prefix)| Some((self.name.strip_prefix(text)?, prefix)))
                .unwrap_or((&self.name, Prefix::None));
            CookiePolicy::builder()
                .name(base_name)
                .prefix(prefix)
                .same_site(SameSite::Strict)
                .partitioned()
                .chunks_max(self.chunks_max)
                .build()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_cookie_does_not_take_is_refused_with_what_it_does() {
            for (text, part) in [
                ("", "needs a key ring"),
                ("mode=signed", "needs a key ring"),
                ("mode=none", "no such mode"),
                ("key=11", "no such option"),
                ("sealed=true", "no such option"),
                ("key_env", "a name, = and a value"),
                ("chunks=0", "1 to 4 cookies"),
                ("chunks=5", "1 to 4 cookies"),
            ] {
                let error = Cookie::parse(text).err().unwrap();
                assert_eq!(error.kind(), ErrorKind::Misconfigured);
                let message = error.to_string();
                assert!(
                    message.contains(part) && message.contains("key_file=PATH"),
                    "{message}"
                );
            }
            let error = Cookie::parse("key_env=CLOAKROOM_NO_SUCH_VARIABLE")
                .err()
                .unwrap();
            assert!(
                error.to_string().contains("CLOAKROOM_NO_SUCH_VARIABLE"),
                "{error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_whatever_their_order() {
        let options = Options::parse("stale=200ms&sealed=true&cache=64MiB").unwrap();
        assert_eq!(options.cache, Some((64 << 20, Duration::from_millis(200))));
        assert!(options.sealed);
        assert_eq!(Options::parse("").unwrap(), Options::default());
        assert_eq!(Options::parse("sealed=false").unwrap(), Options::default());
        let options = Options::parse("cache=1000&stale=2min").unwrap();
        assert_eq!(options.cache, Some((1_000, Duration::from_secs(120))));
    }

    #[test]
    fn what_cannot_be_an_option_is_refused_with_what_can() {
        for (text, part) in [
            ("cache=64MiB", "needs stale="),
            ("stale=5s", "add cache="),
            ("cache=64&stale=5", "ms, s or min"),
            ("cache=64MB&stale=5s", "KiB, MiB"),
            ("cache=0&stale=5s", "a number of bytes"),
            ("cache=99999999999GiB&stale=5s", "a number of bytes"),
            ("cache=&stale=5s", "a number of bytes"),
            ("cache=64MiB&stale=0s", "a number of ms"),
            ("cache=64MiB&stale=-1s", "a number of ms"),
            ("sealed=yes", "true or false"),
            ("sealed", "a name, = and a value"),
            ("sealed=true&sealed=true", "twice"),
            ("ttl=5", "no such option"),
            ("Cache=5", "no such option"),
        ] {
            let error = Options::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            let message = error.to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains(ALLOWED), "{text}: {message}");
        }
    }
}
