//! The part of a store's URL after the `?`.

#[cfg(feature = "cookie")]
pub(crate) mod cookie;

use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

/// The options that every store on the server takes.
const COMMON: &str = "cache=64MiB with stale=5s, sealed=true";

/// The options of one URL: each is taken once, and what nobody takes is refused
/// with what there is.
pub(crate) struct Query<'u> {
    pairs: Vec<(&'u str, &'u str)>,
    scheme: &'u str,
    /// The scheme's own options, as an error lists them.
    own: &'static str,
}

impl<'u> Query<'u> {
    pub(crate) fn parse(scheme: &'u str, text: &'u str, own: &'static str) -> Result<Self, Error> {
        let mut query = Self {
            pairs: Vec::new(),
            scheme,
            own,
        };
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let Some(pair) = part.split_once('=') else {
                return Err(query.refuse("an option is a name, = and a value"));
            };
            if query.pairs.iter().any(|(name, _)| *name == pair.0) {
                return Err(query.refuse("an option stands there twice"));
            }
            query.pairs.push(pair);
        }
        Ok(query)
    }

    /// Values are not quoted: one of them may be a password.
    pub(crate) fn refuse(&self, why: &str) -> Error {
        let (scheme, own) = (self.scheme, self.own);
        let all = match (scheme, own) {
            ("cookie", own) => own.to_owned(),
            (_, "") => COMMON.to_owned(),
            (_, own) => format!("{COMMON}, {own}"),
        };
        Error::new(
            ErrorKind::Misconfigured,
            format!("{why}; options of {scheme}: are {all}"),
        )
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'u str> {
        let at = self.pairs.iter().position(|(given, _)| *given == name)?;
        Some(self.pairs.remove(at).1)
    }

    /// Nothing may be left that nobody has taken.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.pairs.is_empty() {
            true => Ok(()),
            false => Err(self.refuse("there is no such option")),
        }
    }

    pub(crate) fn truth(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.refuse(&format!("{name}= is true or false"))),
        }
    }

    /// A whole number of a unit.
    fn number(
        &mut self,
        name: &str,
        units: &[(&str, u64)],
        what: &str,
    ) -> Result<Option<u64>, Error> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = units.iter().find(|(known, _)| *known == unit);
        let number = number.parse().ok().zip(factor);
        let number = number.and_then(|(number, (_, factor)): (u64, _)| number.checked_mul(*factor));
        match number {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(self.refuse(&format!("{name}= is {what}"))),
        }
    }

    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let units = [
            ("", 1),
            ("B", 1),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
        ];
        self.number(
            name,
            &units,
            "a number of bytes, KiB, MiB or GiB, such as 64MiB",
        )
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u32>, Error> {
        let what = "a whole number, such as 10";
        let number = self.number(name, &[("", 1)], what)?;
        let count = number.map(u32::try_from).transpose();
        count.map_err(|_| self.refuse(&format!("{name}= is {what}")))
    }

    /// What is left of these, as a URL carries it: for a driver to read.
    pub(crate) fn rest(&mut self, names: &[&str]) -> String {
        let mut rest = String::new();
        for name in names {
            if let Some(value) = self.text(name) {
                rest.push(if rest.is_empty() { '?' } else { '&' });
                rest.push_str(name);
                rest.push('=');
                rest.push_str(value);
            }
        }
        rest
    }

    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<Duration>, Error> {
        let units = [("ms", 1), ("s", 1_000), ("min", 60_000)];
        let millis = self.number(name, &units, "a number of ms, s or min, such as 5s")?;
        Ok(millis.map(Duration::from_millis))
    }
}

/// A near cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) bytes: u64,
    /// How old its answers may be.
    pub(crate) staleness_max: Duration,
    /// Whether it asks the store each time while it does not hear of other nodes.
    pub(crate) bypass_while_deaf: bool,
}

/// What stands in front of a store, or how it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) cache: Option<Cache>,
    /// Whether data is sealed under the session's key.
    pub(crate) sealed: bool,
}

impl Layers {
    pub(crate) fn take(query: &mut Query<'_>) -> Result<Self, Error> {
        let cache = match (query.bytes("cache")?, query.duration("stale")?) {
            (Some(bytes), Some(staleness_max)) => Some(Cache {
                bytes,
                staleness_max,
                bypass_while_deaf: false,
            }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(query.refuse(
                    "cache= needs stale=: how long may a logout elsewhere take to be heard here?",
                ));
            }
            (None, Some(_)) => {
                return Err(query.refuse("stale= says how old a cache may be: add cache="));
            }
        };
        Ok(Self {
            cache,
            sealed: query.truth("sealed")?.unwrap_or(false),
        })
    }

    /// As [`take`](Self::take), of a store that announces what is written to it.
    pub(crate) fn take_followed(query: &mut Query<'_>) -> Result<Self, Error> {
        let mut layers = Self::take(query)?;
        let bypass = match query.text("deaf") {
            None => return Ok(layers),
            Some("bypass") => true,
            Some("stale") => false,
            Some(_) => return Err(query.refuse("deaf= is stale or bypass")),
        };
        match &mut layers.cache {
            Some(cache) => cache.bypass_while_deaf = bypass,
            None => {
                let why = "deaf= says what a cache does while it hears of no one: add cache=";
                return Err(query.refuse(why));
            }
        }
        Ok(layers)
    }

    /// Of a store that takes nothing else.
    pub(crate) fn parse(scheme: &str, text: &str) -> Result<Self, Error> {
        let mut query = Query::parse(scheme, text, "")?;
        let layers = Self::take(&mut query)?;
        query.finish()?;
        Ok(layers)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Layers, Error> {
        Layers::parse("memory", text)
    }

    #[test]
    fn options_are_read_whatever_their_order() {
        let layers = parse("stale=200ms&sealed=true&cache=64MiB").unwrap();
        let cache = |bytes, millis| {
            Some(Cache {
                bytes,
                staleness_max: Duration::from_millis(millis),
                bypass_while_deaf: false,
            })
        };
        assert_eq!(layers.cache, cache(64 << 20, 200));
        assert!(layers.sealed);
        assert_eq!(parse("").unwrap(), Layers::default());
        assert_eq!(parse("sealed=false").unwrap(), Layers::default());
        let layers = parse("cache=1000&stale=2min").unwrap();
        assert_eq!(layers.cache, cache(1_000, 120_000));
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
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            let message = error.to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains(COMMON), "{text}: {message}");
        }
    }
}
