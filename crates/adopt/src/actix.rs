//! actix-session: its cookie, and the JSON in Redis or in the cookie itself.
//!
//! A session is an object of texts, each of which is the JSON of a value.

use std::collections::BTreeMap;

use cloakroom_core::{Error, Timestamp};
use cloakroom_web::{FormerSession, SameSite};

use crate::source::{Format, Place, Source, cookie, corrupt, value_of};
use crate::{CookieKey, FoundRecord, Records};

/// The sessions of a site of actix-session over Redis. `key` is the site's; it encrypts the
/// cookie, which is actix-session's default. For a site of `CookieContentSecurity::Signed`,
/// call [`signed`](Source::signed) with it.
///
/// Other defaults: the cookie `id` with `SameSite=Lax`, and no key prefix. A site whose
/// `cache_keygen` puts something before the id gives that to
/// [`key_prefix`](Source::key_prefix).
#[must_use]
pub fn actix_session(records: impl Records, key: CookieKey) -> Source {
    let place = Place::Records(Box::new(records), String::new());
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let format = Format { is_id, read };
    Source::new("actix-session", cookie("id", SameSite::Lax), place, format).private(key)
}

/// The sessions that actix-session keeps in its cookie: `CookieSessionStore`, encrypted under
/// the site's `key`. They have no deadline inside, so say `until` when they are taken: as long
/// after the move as the former site's cookies live. The engine remembers until then which
/// were adopted, so that one that was logged out does not come back, which the former site
/// could not say.
///
/// Signed ones cannot be adopted, and open nothing: two visitors with the same content have
/// the same cookie.
#[must_use]
pub fn actix_cookie(key: CookieKey, until: Timestamp) -> Source {
    let format = Format {
        is_id: |_| true,
        read,
    };
    let cookie = cookie("id", SameSite::Lax);
    Source::new("actix-cookie", cookie, Place::Cookie(until), format).private(key)
}

fn read(found: &FoundRecord, session: &mut FormerSession) -> Result<(), Error> {
    let state: BTreeMap<String, String> = serde_json::from_slice(&found.bytes)
        .map_err(|_| corrupt("this is no session of actix-session in JSON"))?;
    for (name, text) in state {
        let json = serde_json::from_str(&text).ok();
        match json.and_then(|json| value_of(json).ok()) {
            Some(value) => session.entries.push((name, value)),
            None => session.entries_lost += 1,
        }
    }
    Ok(())
}
