//! The part of a store's URL after the `?`.

#[cfg(feature = "cookie")]
pub(crate) mod cookie;
pub(crate) mod migrating;
mod nearest;

use std::path::PathBuf;
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};

pub(crate) use self::nearest::nearest;
use crate::layers::FromStore;

/// The options that every store on the server takes.
const COMMON: &str = "cache=64MiB with stale=5s, sealed=true, seal_key_file=PATH, \
                      migrating_from=URL or prepared_from=URL as the last one";

/// The options of one URL. Each may be given once. What is left when the store has
/// taken its own is refused, with a list of the options that exist.
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
                return Err(query.refuse("each option is written name=value, joined by &"));
            };
            if query.pairs.iter().any(|(name, _)| *name == pair.0) {
                return Err(query.refuse("an option is given twice"));
            }
            query.pairs.push(pair);
        }
        Ok(query)
    }

    /// An error that lists the options there are. It quotes no value: one of them may be
    /// a password.
    pub(crate) fn refuse(&self, why: &str) -> Error {
        let (scheme, all) = (self.scheme, self.all());
        Error::new(
            ErrorKind::Misconfigured,
            format!("{why}; the options of {scheme}: are {all}"),
        )
    }

    /// All options there are, as an error lists them.
    fn all(&self) -> String {
        match (self.scheme, self.own) {
            ("cookie", own) => own.to_owned(),
            (_, "") => COMMON.to_owned(),
            (_, own) => format!("{COMMON}, {own}"),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'u str> {
        let at = self.pairs.iter().position(|(given, _)| *given == name)?;
        Some(self.pairs.remove(at).1)
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Some((given, _)) = self.pairs.first() else {
            return Ok(());
        };
        let all = self.all();
        let names = all
            .split([' ', ','])
            .filter_map(|word| word.split_once('='));
        Err(match nearest(given, names.map(|(name, _)| name)) {
            Some(near) => self.refuse(&format!("there is no such option, did you mean {near}=?")),
            None => self.refuse("there is no such option"),
        })
    }

    pub(crate) fn truth(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.refuse(&format!("{name}= is true or false"))),
        }
    }

    /// A whole number above zero, in one of these units.
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

    /// Takes these options as they stand in the URL, for a database's driver to read.
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
    /// Whether it asks the store each time while its subscription to what other nodes
    /// write is broken.
    pub(crate) bypass_on_disconnect: bool,
}

/// A seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Where the key ring stands. Without one, the session's key alone seals.
    pub(crate) key_file: Option<PathBuf>,
}

/// What stands in front of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) cache: Option<Cache>,
    pub(crate) seal: Option<Seal>,
}

impl Layers {
    /// The layers of what a store is opened for, which may refuse them.
    pub(crate) fn take<T: FromStore>(query: &mut Query<'_>) -> Result<Self, Error> {
        let cache = match (query.bytes("cache")?, query.duration("stale")?) {
            (Some(bytes), Some(staleness_max)) => Some(Cache {
                bytes,
                staleness_max,
                bypass_on_disconnect: false,
            }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(query.refuse(
                    "cache= needs stale=: for how long may this cache go on answering for a session \
                     that another process has ended?",
                ));
            }
            (None, Some(_)) => {
                return Err(query.refuse("stale= bounds the age of a cache's answers: add cache="));
            }
        };
        let key_file = query.text("seal_key_file").map(PathBuf::from);
        let seal = match query.truth("sealed")? {
            Some(true) => Some(Seal { key_file }),
            _ if key_file.is_none() => None,
            _ => {
                return Err(query.refuse(
                    "seal_key_file= names the server's key for the seal of a store that is not \
                     sealed: add sealed=true, which ends the sessions that are stored already",
                ));
            }
        };
        let layers = Self { cache, seal };
        T::refuse(&layers).map_err(|why| query.refuse(why))?;
        Ok(layers)
    }

    /// As [`take`](Self::take), of a store that announces what is written to it.
    pub(crate) fn take_watching<T: FromStore>(query: &mut Query<'_>) -> Result<Self, Error> {
        let mut layers = Self::take::<T>(query)?;
        let bypass = match query.text("on_disconnect") {
            None => return Ok(layers),
            Some("bypass") => true,
            Some("serve_stale") => false,
            Some(_) => return Err(query.refuse("on_disconnect= is serve_stale or bypass")),
        };
        match &mut layers.cache {
            Some(cache) => cache.bypass_on_disconnect = bypass,
            None => {
                return Err(query.refuse(
                    "on_disconnect= says what a cache does while it cannot learn of other nodes' \
                     writes: add cache=",
                ));
            }
        }
        Ok(layers)
    }

    /// The layers of a store that has no options of its own.
    pub(crate) fn parse<T: FromStore>(scheme: &str, text: &str) -> Result<Self, Error> {
        let mut query = Query::parse(scheme, text, "")?;
        let layers = Self::take::<T>(&mut query)?;
        query.finish()?;
        Ok(layers)
    }
}

/// The error where a URL needs a feature that the program was built without.
#[allow(dead_code)] // With every feature on, nothing calls this.
pub(crate) fn not_built(feature: &'static str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "this program was built without the feature `{feature}` of the crate cloakroom: add \
             it to the features in Cargo.toml"
        ),
    )
}

/// Says that an error speaks of the URL that follows this option, and not of the whole.
pub(crate) fn of_option(option: &str, error: Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::Misconfigured => {
            format!(
                "; what follows {option} is read to its end as this one URL, and not escaped: \
                 write the other options before it"
            )
        }
        _ => String::new(),
    };
    let message = format!("the store of {option}: {}{hint}", error.message());
    let told = Error::new(error.kind(), message);
    let told = match error.store() {
        Some(store) => told.in_store(store),
        None => told,
    };
    told.with_source(error)
}

#[cfg(test)]
mod tests {
    use cloakroom_core::engine::AnyStore;

    use super::*;

    fn parse(text: &str) -> Result<Layers, Error> {
        Layers::parse::<AnyStore>("memory", text)
    }

    #[test]
    fn options_are_read_whatever_their_order() {
        let layers = parse("stale=200ms&sealed=true&cache=64MiB").unwrap();
        let cache = |bytes, millis| {
            Some(Cache {
                bytes,
                staleness_max: Duration::from_millis(millis),
                bypass_on_disconnect: false,
            })
        };
        assert_eq!(layers.cache, cache(64 << 20, 200));
        assert_eq!(layers.seal, Some(Seal::default()));
        assert_eq!(parse("").unwrap(), Layers::default());
        assert_eq!(parse("sealed=false").unwrap(), Layers::default());
        let layers = parse("seal_key_file=./a=b&sealed=true").unwrap();
        let key_file = Some(PathBuf::from("./a=b"));
        assert_eq!(layers.seal, Some(Seal { key_file }));
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
            ("sealed", "name=value"),
            ("seal_key_file=x", "add sealed=true"),
            ("sealed=false&seal_key_file=x", "add sealed=true"),
            ("sealed=true&sealed=true", "given twice"),
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
