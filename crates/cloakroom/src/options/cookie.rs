//! The options of `cookie:`.

use std::fmt::Debug;
use std::sync::Arc;

use cloakroom_cookie::{CookieStore, EpochStore, KeyRing, Revocation};
use cloakroom_core::store::SessionStore;
use cloakroom_core::{Error, ErrorKind};

use super::{Layers, Query, of_option};
use crate::layers::FromStore;
use crate::open::open_keyed;

/// What the options of `cookie:` say.
pub(crate) struct Cookie<'u> {
    name: String,
    former: Option<&'u str>,
    ring: KeyRing,
    signed: bool,
    /// The URL of the store of epochs.
    revocation: Option<&'u str>,
}

const OWN: &str = "key_file=PATH or key_env=NAME, name=NAME, mode=encrypted or mode=signed, \
                   replaces=NAME, and revocation=URL as the last one";

const REVOCATION: &str = "revocation=";

impl<'u> Cookie<'u> {
    pub(crate) fn parse(text: &'u str) -> Result<Self, Error> {
        let (text, revocation) = split_revocation(text);
        let mut query = Query::parse("cookie", text, OWN)?;
        let (file, variable) = (query.text("key_file"), query.text("key_env"));
        match (file, variable) {
            (Some(_), Some(_)) => {
                return Err(
                    query.refuse("key_file= and key_env= both name a key ring: give one of them")
                );
            }
            (None, None) => {
                return Err(query.refuse(
                    "cookie: needs a key ring: make a file of one with `(umask 077 && openssl \
                     rand -hex 32 > session.keys)` and give key_file=session.keys, or give \
                     key_env=",
                ));
            }
            _ => {}
        }
        let signed = match query.text("mode") {
            Some("signed") => true,
            Some("encrypted") | None => false,
            Some(_) => return Err(query.refuse("mode= is encrypted or signed")),
        };
        let name = query.text("name").unwrap_or("__Host-session").to_owned();
        let former = query.text("replaces");
        query.finish()?;
        revocation.map(check_revocation).transpose()?;
        let ring = match (file, variable) {
            (Some(path), _) => KeyRing::from_file(path)?,
            (_, variable) => KeyRing::from_env(variable.unwrap_or_default())?,
        };
        Ok(Self {
            name,
            former,
            ring,
            signed,
            revocation,
        })
    }

    pub(crate) async fn open(self) -> Result<CookieStore, Error> {
        let mut builder = CookieStore::builder(self.name, &self.ring);
        if self.signed {
            builder = builder.signed();
        }
        if let Some(former) = self.former {
            builder = builder.replaces(former);
        }
        if let Some(url) = self.revocation {
            let epochs: Arc<dyn Revocation> = open_keyed(url)
                .await
                .map_err(|error| of_option(REVOCATION, error))?;
            builder = builder.revocation(epochs).logout_ends_all();
        }
        builder.build()
    }
}

/// The options before `revocation=`, and the URL after it: all the rest, so that nothing of
/// it has to be escaped.
fn split_revocation(text: &str) -> (&str, Option<&str>) {
    match (
        text.strip_prefix(REVOCATION),
        text.split_once("&revocation="),
    ) {
        (Some(url), _) => ("", Some(url)),
        (None, Some((before, url))) => (before, Some(url)),
        (None, None) => (text, None),
    }
}

/// Refuses stores that forget, and layers under which an epoch is stale or cannot be read,
/// before anything is opened.
fn check_revocation(url: &str) -> Result<(), Error> {
    let refuse = |why: &'static str| {
        let error = Error::new(ErrorKind::Misconfigured, why);
        Err(of_option(REVOCATION, error))
    };
    let (address, options) = url.split_once('?').unwrap_or((url, ""));
    let scheme = address.split(':').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("cookie") {
        return refuse("cookie: keeps nothing on the server: give redb:PATH or another store");
    }
    if scheme.eq_ignore_ascii_case("memory") {
        return refuse(
            "memory: forgets when the process ends, and cookies that were revoked would open \
             again: give redb:PATH or another store that keeps",
        );
    }
    // A path is taken as it stands, so what follows it would be a part of its name.
    let own = ["key_file=", "key_env=", "name=", "mode=", "replaces="];
    let mut behind = address.split('&').skip(1);
    if behind.any(|part| own.iter().any(|option| part.starts_with(option))) {
        return refuse("an option of cookie: stands behind its path");
    }
    for option in options.split('&') {
        match option.split_once('=').map_or(option, |(name, _)| name) {
            "cache" | "stale" | "on_disconnect" => {
                return refuse(
                    "behind a cache, a cookie that was just revoked would open: take cache= out",
                );
            }
            "sealed" | "seal_key_file" => {
                return refuse(
                    "an epoch is of no session whose key could seal it, and names nobody: take \
                     sealed= out",
                );
            }
            "migrating_from" | "prepared_from" => {
                return refuse(
                    "epochs stay in one store: take migrating_from= or prepared_from= out",
                );
            }
            "allow_eviction" => {
                return refuse(
                    "where an epoch is evicted, revoked cookies open again: take \
                     allow_eviction= out",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// The epochs of a cookie store. [`check_revocation`] lets no layers come here.
impl FromStore for Arc<dyn Revocation> {
    fn over<S: SessionStore + Debug>(store: S, _: &Layers) -> Result<Self, Error> {
        Ok(Arc::new(EpochStore::in_non_evicting(store)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cookie_does_not_take_is_refused_with_what_it_does() {
        for (text, part) in [
            ("", "needs a key ring: make a file"),
            ("mode=signed", "openssl rand -hex 32"),
            ("revocation=redb:x", "needs a key ring"),
            ("key_env=PATH&mode=none", "mode= is encrypted or signed"),
            ("key_env=PATH&key_file=x", "give one of them"),
            ("key_env=PATH&sealed=true", "no such option"),
            (
                "key_env=PATH&revocatoin=redb:x",
                "did you mean revocation=?",
            ),
            ("key_env", "name=value"),
            ("key_env=PATH&chunks=4", "no such option"),
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

    #[test]
    fn the_rest_after_revocation_is_its_url() {
        for (text, expected) in [
            ("", ("", None)),
            ("a=b&c=d", ("a=b&c=d", None)),
            (
                "a=b&revocation=sqlite:x?timeout=2s&table=t",
                ("a=b", Some("sqlite:x?timeout=2s&table=t")),
            ),
            (
                "revocation=redb:a&revocation=b",
                ("", Some("redb:a&revocation=b")),
            ),
            ("a=b&revocation=", ("a=b", Some(""))),
        ] {
            assert_eq!(split_revocation(text), expected, "{text}");
        }
    }
}
