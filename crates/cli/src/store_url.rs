//! A store's URL in its parts, and which of them the command leaves out or puts in.

use std::path::Path;

use cloakroom::store::AnySessionStore;

use crate::failure::Failure;

/// Stores in a file or folder of this machine.
const LOCAL: [&str; 4] = ["file", "redb", "sled", "sqlite"];
/// Stores whose table somebody makes.
const WITH_TABLE: [&str; 5] = ["sqlite", "postgres", "postgresql", "mysql", "mariadb"];
const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
/// Options whose value is another store's URL, up to the end and whatever it holds.
const REST: [&str; 3] = ["revocation", "migrating_from", "prepared_from"];
/// Those of them that name the store which sessions move from.
const FORMER: [&str; 2] = ["migrating_from", "prepared_from"];
/// Options of a cache or a seal in front of the store.
const LAYERS: [&str; 5] = ["cache", "stale", "on_disconnect", "sealed", "seal_key_file"];

/// A store's URL. It may hold a password, so it is never printed.
#[derive(Clone)]
pub(crate) struct StoreUrl {
    /// In lower case.
    pub(crate) scheme: String,
    /// What stands between the scheme and the options: a path, or a server's address.
    pub(crate) place: String,
    options: Vec<(String, String)>,
}

impl StoreUrl {
    /// Takes the text apart. Whether it names a store is seen when it is opened.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Failure::usage(
                "a store's URL begins with its scheme and a colon, such as redb:./sessions.redb",
            ));
        };
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let before = options.split_inclusive('&');
        let before =
            before.take_while(|part| !part.split_once('=').is_some_and(|(name, _)| is_rest(name)));
        let before = before.map(str::len).sum();
        let (options, last) = options.split_at(before);
        let parts = options.split('&').chain([last]);
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), value.to_owned())
        });
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            place: place.to_owned(),
            options: pairs.collect(),
        })
    }

    pub(crate) fn is_local(&self) -> bool {
        LOCAL.contains(&self.scheme.as_str())
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|(name, _)| name == option)
    }

    /// Whether it names two stores, the former one of which sessions are leaving.
    pub(crate) fn has_former(&self) -> bool {
        FORMER.iter().any(|option| self.has(option))
    }

    /// The new store alone, where it names two.
    #[must_use]
    pub(crate) fn without_former(self) -> Self {
        self.without(&FORMER)
    }

    /// Whether a password stands in it. What cannot be told apart counts as one.
    pub(crate) fn has_password(&self) -> bool {
        let in_address = |address: &str| {
            let user = address.rsplit_once('@').map(|(user, _)| user);
            user.is_some_and(|user| user.trim_start_matches('/').contains(':'))
        };
        let other = self.options.iter().find(|(name, _)| is_rest(name));
        let other = other.and_then(|(_, url)| Self::parse(url).ok());
        if other.is_some_and(|other| other.has_password()) {
            return true;
        }
        let own = self.clone().without(&REST).text();
        match self.scheme.as_str() {
            "memory" | "cookie" => false,
            _ if self.is_local() => false,
            _ => self.has("pass") || in_address(&own[self.scheme.len() + 1..]),
        }
    }

    /// With an option, in place of one of the same name.
    #[must_use]
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut url = self.without(&[name]);
        let ends_at = url.options.iter().position(|(name, _)| is_rest(name));
        let at = ends_at.unwrap_or(url.options.len());
        url.options.insert(at, (name.to_owned(), value.to_owned()));
        url
    }

    #[must_use]
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.options
            .retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    /// The URL as text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}:{}", self.scheme, self.place);
        for (at, (name, value)) in self.options.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }

    /// The same store without a cache or a seal in front: the command reads headers, which
    /// are never sealed, and reads each once. Caches on other nodes still hear of what it
    /// ends.
    #[must_use]
    pub(crate) fn bare(self) -> Self {
        // A cookie has a seal of its own.
        if self.scheme == "cookie" {
            return self;
        }
        let announces =
            POSTGRES.contains(&self.scheme.as_str()) && self.has("cache") && !self.has("notify");
        let bare = self.without(&LAYERS);
        match announces {
            true => bare.with("notify", "true"),
            false => bare,
        }
    }

    /// The same of a store that is there already: no table is made, and where sessions are
    /// moving, none moves but what the command ends.
    fn existing(self) -> Self {
        let bare = self.bare();
        let mut url = match WITH_TABLE.contains(&bare.scheme.as_str()) {
            true => bare.with("migrate", "false"),
            false => bare,
        };
        for (name, value) in &mut url.options {
            if FORMER.contains(&name.as_str())
                && let Ok(former) = Self::parse(value)
            {
                *name = "prepared_from".to_owned();
                *value = former.existing().text();
            }
        }
        url
    }

    /// Opens a store that is there already, and makes none.
    pub(crate) async fn open_existing(self) -> Result<AnySessionStore, Failure> {
        match self.scheme.as_str() {
            "memory" => {
                return Err(Failure::usage(
                    "memory: is the memory of the site's own process, and no other can look into \
                     it: ask the site itself, or give it another store",
                ));
            }
            "cookie" => {
                return Err(Failure::usage(
                    "cookie: leaves each session with its visitor, so there is nothing to look \
                     into: `cloakroom open-cookie` reads one cookie, and with `revocation=` \
                     `cloakroom revoke --subject` ends a user's sessions",
                ));
            }
            _ => {}
        }
        if self.is_local() && !Path::new(&self.place).exists() {
            return Err(Failure::usage(format!(
                "there is no {} store at {}: check the path, which is relative to the folder that \
                 the command runs in",
                self.scheme, self.place
            )));
        }
        Ok(cloakroom::open_session_store(&self.existing().text()).await?)
    }

    /// Opens a store, and makes it where there is none.
    pub(crate) async fn open_or_make(self) -> Result<AnySessionStore, Failure> {
        if self.scheme == "memory" {
            return Err(Failure::usage(
                "memory: forgets when this command ends: give a store that keeps",
            ));
        }
        Ok(cloakroom::open_session_store(&self.bare().text()).await?)
    }
}

/// Whether an option of this name is the last one.
fn is_rest(name: &str) -> bool {
    REST.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StoreUrl {
        StoreUrl::parse(text).unwrap()
    }

    #[test]
    fn a_url_comes_back_as_it_was() {
        for text in [
            "redb:./a b.redb",
            "postgres://ada@host/db?table=t&pool=3",
            "cookie:?key_file=ring&revocation=postgres://a:b@h/d?table=e&pool=2",
            "redb:./a?migrating_from=redis://h?cluster=true&prefix=x",
        ] {
            assert_eq!(url(text).text(), text);
        }
        assert_eq!(url("REDB:./A").text(), "redb:./A");
    }

    #[test]
    fn a_password_is_seen_wherever_it_stands() {
        for with in [
            "redis://:secret@host",
            "postgres://ada:secret@host/db",
            "postgres://ada:se?cret@host/db",
            "redis+unix:///socket?user=ada&pass=secret",
            "cookie:?key_file=ring&revocation=redis://:secret@host",
            "redb:./a?migrating_from=postgres://ada:secret@host/db",
            "sqlite:./a?table=t&prepared_from=redis://:secret@host",
            "postgres://ada:secret@host/db?migrating_from=redb:./a",
        ] {
            assert!(url(with).has_password(), "{with}");
        }
        for without in [
            "redis://host:6379/0",
            "postgres://ada@host:5432/db",
            "redb:./a:b@c",
            "cookie:?key_file=a:b@c",
            "postgres://ada@host/db?migrating_from=redb:./a:b@c",
        ] {
            assert!(!url(without).has_password(), "{without}");
        }
    }

    #[test]
    fn the_bare_store_still_tells_the_caches_of_other_nodes() {
        let bare = |text: &str| url(text).bare().text();
        assert_eq!(
            bare("redis://h?cache=1MiB&stale=5s&sealed=true&prefix=p:"),
            "redis://h?prefix=p:"
        );
        assert_eq!(
            bare("postgres://h/d?cache=1MiB&stale=5s"),
            "postgres://h/d?notify=true"
        );
        assert_eq!(
            bare("postgres://h/d?cache=1MiB&stale=5s&notify=false"),
            "postgres://h/d?notify=false"
        );
        assert_eq!(bare("postgres://h/d"), "postgres://h/d");
    }

    /// What the command adds is for the new store, whatever the URL of the former one holds.
    #[test]
    fn of_two_stores_each_keeps_its_options_and_nothing_moves_by_a_look() {
        let both = "postgres://h/d?cache=1MiB&stale=5s&migrating_from=sqlite:./a?table=t";
        assert_eq!(
            url(both).existing().text(),
            "postgres://h/d?notify=true&migrate=false&prepared_from=sqlite:./a?table=t&migrate=false"
        );
        let prepared = "redis://h?sealed=true&prefix=p:&prepared_from=redis://h?prefix=q:";
        assert_eq!(
            url(prepared).existing().text(),
            "redis://h?prefix=p:&prepared_from=redis://h?prefix=q:"
        );
        assert_eq!(
            url(prepared).without_former().with("prefix", "x:").text(),
            "redis://h?sealed=true&prefix=x:"
        );
        assert!(url(both).has_former() && !url("redis://h").has_former());
    }
}
