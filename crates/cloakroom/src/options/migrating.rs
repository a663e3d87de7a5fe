//! A URL with the store that its sessions come from: `NEW?…&migrating_from=FORMER`.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::Path;

use cloakroom_core::store::{AnySessionStore, SessionStore};
use cloakroom_core::{Error, ErrorKind};

use super::{Layers, of_option};
use crate::layers::FromStore;
#[cfg(feature = "migrating")]
use crate::open::open_one;

/// The options, and whether nodes without the new store may still run.
const OPTIONS: [(&str, bool); 2] = [("migrating_from=", false), ("prepared_from=", true)];

/// Where sessions move from and to, as a URL says it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Move<'u> {
    /// The URL without its last option.
    to: &'u str,
    /// What follows that option: all the rest, so that nothing of it has to be escaped.
    from: &'u str,
    option: &'static str,
    is_prepared: bool,
}

impl<'u> Move<'u> {
    /// `None` for the URL of one store.
    ///
    /// # Errors
    /// `Misconfigured` where it cannot be told which is which, or the former store cannot be
    /// one.
    pub(crate) fn parse(url: &'u str) -> Result<Option<Self>, Error> {
        let options_at = url.find('?').map_or(url.len(), |at| at + 1);
        let (address, options) = url.split_at(options_at);
        for (option, _) in OPTIONS {
            if address
                .split('&')
                .skip(1)
                .any(|part| part.starts_with(option))
            {
                let why = "it stands in the address of the new store: the first option follows a ?";
                return Err(refuse(option, why));
            }
        }
        let mut at = 0;
        for part in options.split_inclusive('&') {
            if let Some((option, is_prepared)) = OPTIONS
                .into_iter()
                .find(|(option, _)| part.starts_with(option))
            {
                let found = Self {
                    to: url[..options_at + at].trim_end_matches(['?', '&']),
                    from: &options[at + option.len()..],
                    option,
                    is_prepared,
                };
                found.check()?;
                return Ok(Some(found));
            }
            at += part.len();
        }
        Ok(None)
    }

    /// Refuses what cannot be a former store, before anything is opened.
    fn check(&self) -> Result<(), Error> {
        let refuse = |why| Err(refuse(self.option, why));
        let (scheme, rest) = self.from.split_once(':').unwrap_or((self.from, ""));
        let path = rest.split('?').next().unwrap_or_default();
        if OPTIONS.iter().any(|(option, _)| self.from.contains(option)) {
            return refuse("sessions move from one store at a time");
        }
        if self.from == self.to {
            return refuse("it is the new store itself");
        }
        match scheme.to_ascii_lowercase().as_str() {
            "cookie" => refuse(
                "cookie: keeps nothing on the server that could be moved: for a while, let the \
                 cookie policy of the new store replace its name",
            ),
            "memory" => refuse("memory: is empty when the process begins"),
            "file" | "sled" | "redb" | "sqlite" if !Path::new(path).exists() => refuse(
                "there is nothing at its path. If all sessions have moved and you have removed \
                 it, take this option out",
            ),
            _ => Ok(()),
        }
    }

    #[cfg(feature = "migrating")]
    pub(crate) async fn open<T: FromStore>(self) -> Result<T, Error> {
        use std::num::NonZeroU32;
        use std::sync::Arc;

        use cloakroom_migrating::Migrating;

        const SESSIONS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("it is not zero");

        let from = open_one::<Former>(self.from).await;
        let from = from.map_err(|error| of_option(self.option, error))?.0;
        let to: New<T> = open_one(self.to).await?;
        let store = match self.is_prepared {
            true => Migrating::prepared(from, to.store)?,
            false => Migrating::new(from, to.store)?,
        };
        let store = Arc::new(store);
        if !self.is_prepared {
            store.copy_in_background(SESSIONS_PER_SECOND)?;
        }
        T::over(store, &to.layers)
    }

    #[cfg(not(feature = "migrating"))]
    pub(crate) async fn open<T>(self) -> Result<T, Error> {
        Err(super::not_built("migrating"))
    }
}

fn refuse(option: &str, why: &'static str) -> Error {
    of_option(option, Error::new(ErrorKind::Misconfigured, why))
}

/// The former store, in front of which nothing may stand alone.
struct Former(AnySessionStore);

impl FromStore for Former {
    fn refuse(layers: &Layers) -> Result<(), &'static str> {
        match layers {
            Layers {
                cache: None,
                seal: None,
            } => Ok(()),
            _ => Err(
                "cache= and sealed= stand in front of both stores: write them, and what belongs \
                 to them, into the options of the new one",
            ),
        }
    }

    fn over<S: SessionStore + Debug>(store: S, _: &Layers) -> Result<Self, Error> {
        Ok(Self(AnySessionStore::new(store)))
    }
}

/// The new store, and the layers that are to stand in front of both, of which a `T` is made.
struct New<T> {
    store: AnySessionStore,
    layers: Layers,
    made: PhantomData<T>,
}

impl<T: FromStore> FromStore for New<T> {
    fn refuse(layers: &Layers) -> Result<(), &'static str> {
        T::refuse(layers)
    }

    fn over<S: SessionStore + Debug>(store: S, layers: &Layers) -> Result<Self, Error> {
        Ok(Self {
            store: AnySessionStore::new(store),
            layers: layers.clone(),
            made: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_after_the_option_is_the_url_of_the_former_store() {
        let moves = |url| {
            Move::parse(url)
                .unwrap()
                .map(|found| (found.to, found.from))
        };
        assert_eq!(moves("redb:./a"), None);
        assert_eq!(moves("redb:./a?sealed=true"), None);
        // A path is taken as it stands, and so is a value.
        assert_eq!(moves("redb:./migrating_from=b"), None);
        assert_eq!(moves("redb:./a?x=migrating_from=redis://h"), None);
        for (url, to, from) in [
            (
                "postgres://h/db?migrating_from=redis://a:1,b:2?cluster=true&prefix=x",
                "postgres://h/db",
                "redis://a:1,b:2?cluster=true&prefix=x",
            ),
            (
                "postgres://h/db?table=t&sealed=true&prepared_from=mysql://u:p?w@h/db",
                "postgres://h/db?table=t&sealed=true",
                "mysql://u:p?w@h/db",
            ),
        ] {
            assert_eq!(moves(url), Some((to, from)), "{url}");
        }
        let is_prepared = |url| Move::parse(url).unwrap().unwrap().is_prepared;
        assert!(is_prepared("redb:a?prepared_from=redis://h"));
        assert!(!is_prepared("redb:a?migrating_from=redis://h"));
    }

    #[test]
    fn a_former_store_that_cannot_be_one_is_refused_with_the_reason() {
        for (url, part) in [
            ("redb:a&migrating_from=redis://hunter2@h", "follows a ?"),
            (
                "redis://h?migrating_from=redb:a?migrating_from=redis://hunter2@h",
                "one store at a time",
            ),
            (
                "redis://h?migrating_from=redb:hunter2&prepared_from=redb:b",
                "one store at a time",
            ),
            (
                "redis://hunter2@h?migrating_from=redis://hunter2@h",
                "itself",
            ),
            (
                "redis://h?migrating_from=Cookie:?key_file=hunter2",
                "cookie policy",
            ),
            ("redis://h?prepared_from=memory:", "is empty"),
            (
                "redis://h?migrating_from=redb:./no/hunter2",
                "nothing at its path",
            ),
            // Read to its end: so this is the name of no file.
            (
                "redis://h?migrating_from=redb:Cargo.toml&cache=1MiB",
                "write the other options before it",
            ),
        ] {
            let error = Move::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(part), "{url}: {text}");
            assert!(text.contains("_from=: "), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
