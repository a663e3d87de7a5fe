//! What `cookie:` takes.

use cloakroom_cookie::{CookieStore, KeyRing};
use cloakroom_core::{AnyStore, Error};
use cloakroom_web::{CookiePolicy, Prefix, SameSite};

use super::Query;

/// What `cookie:` takes after the `?`.
pub(crate) struct Cookie {
    name: String,
    ring: KeyRing,
    signed: bool,
    chunks_max: usize,
}

const OWN: &str = "key_file=PATH or key_env=NAME, name=NAME, mode=encrypted or mode=signed, \
                   chunks=1 to chunks=4";

impl Cookie {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut query = Query::parse("cookie", text, OWN)?;
        let (file, variable) = (query.text("key_file"), query.text("key_env"));
        match (file, variable) {
            (Some(_), Some(_)) => return Err(query.refuse("the key ring is said twice")),
            (None, None) => return Err(query.refuse("cookie: needs a key ring")),
            _ => {}
        }
        let signed = match query.text("mode") {
            Some("signed") => true,
            Some("encrypted") | None => false,
            Some(_) => return Err(query.refuse("no such mode")),
        };
        let chunks_max = match query.text("chunks") {
            Some("1") | None => 1,
            Some("2") => 2,
            Some("3") => 3,
            Some("4") => 4,
            Some(_) => return Err(query.refuse("a session takes 1 to 4 cookies")),
        };
        let name = query.text("name").unwrap_or("__Host-session").to_owned();
        query.finish()?;
        let ring = match (file, variable) {
            (Some(path), _) => KeyRing::from_file(path)?,
            (_, variable) => KeyRing::from_env(variable.unwrap_or_default())?,
        };
        Ok(Self {
            name,
            ring,
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
    use cloakroom_core::ErrorKind;

    use super::*;

    #[test]
    fn what_cookie_does_not_take_is_refused_with_what_it_does() {
        for (text, part) in [
            ("", "needs a key ring"),
            ("mode=signed", "needs a key ring"),
            ("key_env=PATH&mode=none", "no such mode"),
            ("key_env=PATH&key_file=x", "said twice"),
            ("key_env=PATH&sealed=true", "no such option"),
            ("key_env", "a name, = and a value"),
            ("key_env=PATH&chunks=0", "1 to 4 cookies"),
            ("key_env=PATH&chunks=5", "1 to 4 cookies"),
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
