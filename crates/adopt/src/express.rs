//! express-session: its signed cookie, and the JSON that connect-redis writes.

use cloakroom_core::{Error, SessionExpiry, Timestamp};
use cloakroom_web::{FormerSession, SameSite};
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::cookie::Protection;
use crate::source::{Format, Place, Source, cookie, corrupt, value_of};
use crate::{FoundRecord, Records};

/// The sessions of a site of Express: express-session over connect-redis. `secrets` are those
/// of its `secret` option, all of which verify.
///
/// Defaults: the cookie `connect.sid`, the key prefix `sess:`. Express sets its cookie
/// without `Secure` and without `SameSite` unless told so; browsers remove it all the same
/// over https.
///
/// A session whose cookie has no `maxAge` ends with the browser, and so does the adopted one.
///
/// How long one lives is what [`FoundRecord::lives_for`] says, as with express-session: it moves
/// the lifetime of the key with each request, and writes the record, `cookie.expires` included,
/// where its data has changed alone. `cookie.expires` counts where the store keeps no lifetime.
#[must_use]
pub fn express_session<S: AsRef<[u8]>>(
    records: impl Records,
    secrets: impl IntoIterator<Item = S>,
) -> Source {
    let place = Place::Records(Box::new(records), "sess:".to_owned());
    // Its ids are what the site's `genid` makes: 32 characters of base64url by default.
    let is_id = |text: &str| !text.is_empty();
    let format = Format { is_id, read };
    let cookie = cookie("connect.sid", SameSite::Lax);
    let mut source = Source::new("express-session", cookie, place, format);
    let secrets = secrets.into_iter();
    let secrets = secrets.map(|secret| Zeroizing::new(secret.as_ref().to_vec()));
    source.protection = Protection::Express(secrets.collect());
    source
}

fn read(found: &FoundRecord, session: &mut FormerSession) -> Result<(), Error> {
    let json = serde_json::from_slice(&found.bytes);
    let Ok(Json::Object(mut object)) = json else {
        return Err(corrupt("this is no session of express-session in JSON"));
    };
    let Some(Json::Object(cookie)) = object.remove("cookie") else {
        return Err(corrupt("a session of express-session has no `cookie`"));
    };
    match cookie.get("expires") {
        None | Some(Json::Null) => session.expiry = SessionExpiry::BrowserClose,
        // The record is as old as its last change, and the store knows of the last use.
        Some(_) if found.lives_for.is_some() => {}
        Some(expires) => {
            let expires = expires.as_str().and_then(instant).ok_or_else(|| {
                corrupt("`cookie.expires` of a session of express-session is no instant")
            })?;
            session.expires_at = session.expires_at.min(expires);
        }
    }
    for (name, value) in object {
        match value_of(value) {
            Ok(value) => session.entries.push((name, value)),
            Err(_) => session.entries_lost += 1,
        }
    }
    Ok(())
}

fn instant(text: &str) -> Option<Timestamp> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = instant.unix_timestamp_nanos() / 1_000_000;
    Some(Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)))
}
