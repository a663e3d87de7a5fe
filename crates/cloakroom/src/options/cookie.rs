//! The options of `cookie:`.

use cloakroom_cookie::{CookieStore, KeyRing};
use cloakroom_core::Error;
use cloakroom_core::engine::AnyStore;

use super::Query;

/// What the options of `cookie:` say.
pub(crate) struct Cookie {
    name: String,
    ring: KeyRing,
    signed: bool,
}

const OWN: &str = "key_file=PATH or key_env=NAME, name=NAME, mode=encrypted or mode=signed";

impl Cookie {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut query = Query::parse("cookie", text, OWN)?;
        let (file, variable) = (query.text("key_file"), query.text("key_env"));
        match (file, variable) {
            (Some(_), Some(_)) => {
                return Err(
                    query.refuse("key_file= and key_env= both name a key ring: give one of them")
                );
            }
            (None, None) => return Err(query.refuse(
                "cookie: needs a key ring, such as a file that `openssl rand -hex 32` wrote: give \
                     key_file= or key_env=",
            )),
            _ => {}
        }
        let signed = match query.text("mode") {
            Some("signed") => true,
            Some("encrypted") | None => false,
            Some(_) => return Err(query.refuse("mode= is encrypted or signed")),
        };
        let name = query.text("name").unwrap_or("__Host-session").to_owned();
        query.finish()?;
        let ring = match (file, variable) {
            (Some(path), _) => KeyRing::from_file(path)?,
            (_, variable) => KeyRing::from_env(variable.unwrap_or_default())?,
        };
        Ok(Self { name, ring, signed })
    }

    pub(crate) fn open(self) -> Result<AnyStore, Error> {
        let mut builder = CookieStore::builder(self.name, &self.ring);
        if self.signed {
            builder = builder.signed();
        }
        builder.build().map(AnyStore::new)
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_core::ErrorKind;

    use super::*;

    #[test]
    fn what_cookie_does_not_take_is_refused_with_what_it_does() {
        for (text, part) in [
            ("", "needs a key ring"),
            ("mode=signed", "needs a key ring"),
            ("key_env=PATH&mode=none", "mode= is encrypted or signed"),
            ("key_env=PATH&key_file=x", "give one of them"),
            ("key_env=PATH&sealed=true", "no such option"),
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
}
