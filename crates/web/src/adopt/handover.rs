//! How a former session becomes one of the engine's.
//!
//! Two records take part. The **session** stands under a key that follows from the
//! visitor's former cookie and from a random nonce. The **handover** stands where the
//! former cookie alone leads, at a site that no token reaches, and holds the nonce. The
//! order is:
//!
//! 1. Create the session, under a nonce of this request's own.
//! 2. Create the handover. This is the one step that decides: of requests that run at once
//!    one creates it, and the others delete the session that they have created and open
//!    that of the handover. It is never removed before the former session would have
//!    ended, so a request that has read the former record long ago adopts nothing, and a
//!    session that was ended here does not come back; nor before the session would go
//!    unused, since that visitor may have no other cookie yet.
//! 3. Delete the former record.
//! 4. Answer with the session's token.
//!
//! A crash before 2 leaves the former session as it was, and a session that nobody holds a
//! key to; after 2, the former cookie leads to the session, and the deletion is made up
//! for.
//!
//! Until the visitor has come back with the engine's own token, the former cookie must open
//! the session, since the answer may be lost. Then the two are **parted**: the handover
//! loses its nonce. From there on it says only that the former session was adopted, and the
//! key can be made from nothing that an old copy of the former store holds. The session has
//! an entry, [`HANDOVER_ENTRY`], for as long as it is not parted.

use cloakroom_core::engine::{KEY_BYTES, SessionKey, Token, TokenStore as _};
use cloakroom_core::session::{Ended, Entries, Limits, Value};
use cloakroom_core::store::{Data, EndReason, Record, Stored};
use cloakroom_core::{Error, ErrorKind, SessionExpiry, Timestamp};
use zeroize::Zeroizing;

use super::{FormerId, FormerSession, FormerSessions};
use crate::Cost;
use crate::shared::Shared;

/// The name of the entry that an adopted session has until it is parted from its former
/// cookie: the key of its handover.
pub(super) const HANDOVER_ENTRY: &str = "cloakroom.adopted";

const NONCE: &str = "nonce";

/// How often another request may be found to have been faster.
const ATTEMPTS_MAX: u32 = 4;

/// What a former cookie leads to.
pub(crate) enum Adopted {
    /// A session, under this token.
    Session(Token, Record),
    /// A session that has moved to another key; its mark is at this token.
    Moved(Token),
    /// A session that the visitor holds a token of the engine for, or did.
    Parted,
    /// Nothing any more: it was ended, here or there, or has expired.
    Ended(Ended),
    /// A former record that cannot be read, or what this engine has made of it.
    Unreadable(Error),
}

/// Where the engine notes what became of a former session.
struct Handover {
    /// Where it stands. The store knows this key, by [`HANDOVER_ENTRY`].
    key: SessionKey,
    /// What the session's key follows from, beside the nonce. The store never sees it.
    secret: SessionKey,
    id: FormerId,
}

impl Handover {
    fn new(engine: &Shared, source: &dyn FormerSessions, id: FormerId) -> Self {
        let derive = |what: &str| {
            let domain = format!("adopt/{what}/{}", source.name());
            SessionKey::derive(&domain, id.proof())
        };
        Self {
            key: derive("note").of_site(&engine.sources.site),
            secret: derive("secret"),
            id,
        }
    }

    /// The key of the session of this nonce.
    fn session_key(&self, engine: &Shared, nonce: &[u8]) -> SessionKey {
        let nonce = SessionKey::derive("adopt/nonce", nonce);
        let mut both = Zeroizing::new([0; 2 * KEY_BYTES]);
        both[..KEY_BYTES].copy_from_slice(self.secret.expose_bytes());
        both[KEY_BYTES..].copy_from_slice(nonce.expose_bytes());
        SessionKey::derive("adopt/session", both.as_slice()).of_site(&engine.site)
    }
}

/// Opens the session of a former cookie, and adopts it where that was not done yet.
///
/// # Errors
/// Where the store or the source does not answer. The visitor keeps the former cookie, and
/// the next request goes on.
pub(crate) async fn adopt(
    engine: &Shared,
    source: &dyn FormerSessions,
    id: FormerId,
    now: Timestamp,
    cost: &mut Cost,
) -> Result<Adopted, Error> {
    let handover = Handover::new(engine, source, id);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(adopted) = open(engine, source, &handover, now, cost).await? {
            return Ok(adopted);
        }
        let former = match source.load(&handover.id, now).await {
            Ok(former) => former,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Ok(Adopted::Unreadable(error));
            }
            Err(error) => return Err(error),
        };
        let Some(former) = former.filter(|former| former.expires_at > now) else {
            // Another request may have adopted it between the two looks.
            let adopted = open(engine, source, &handover, now, cost).await?;
            return Ok(adopted.unwrap_or_else(ended_unknown));
        };
        if let Some((token, record)) = create(engine, source, &handover, former, now, cost).await? {
            source.delete(&handover.id).await?;
            return Ok(Adopted::Session(token, record));
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "a session to adopt is being adopted by other requests again and again",
    ))
}

/// What the handover leads to; `None` where there is none. What this server cannot read
/// opens nothing, as under a token of ours.
async fn open(
    engine: &Shared,
    source: &dyn FormerSessions,
    handover: &Handover,
    now: Timestamp,
    cost: &mut Cost,
) -> Result<Option<Adopted>, Error> {
    use ErrorKind::{Corrupt, TooLarge, UnknownKey};
    match follow(engine, source, handover, now, cost).await {
        Err(error) if matches!(error.kind(), Corrupt | TooLarge | UnknownKey) => {
            Ok(Some(Adopted::Unreadable(error)))
        }
        opened => opened,
    }
}

async fn follow(
    engine: &Shared,
    source: &dyn FormerSessions,
    handover: &Handover,
    now: Timestamp,
    cost: &mut Cost,
) -> Result<Option<Adopted>, Error> {
    let Some(note) = load(engine, &handover.key.to_token(), cost).await? else {
        return Ok(None);
    };
    let Stored::Record(note) = note else {
        return Ok(Some(ended_unknown()));
    };
    let Some(nonce) = bytes_of(&note, NONCE) else {
        return Ok(Some(Adopted::Parted));
    };
    // A request that was cut off after the handover has left the former record.
    source.delete(&handover.id).await?;
    let token = handover.session_key(engine, &nonce).to_token();
    let adopted = match load(engine, &token, cost).await? {
        Some(Stored::Record(record)) if !engine.expiry.is_expired(&record, now) => {
            Adopted::Session(token, record)
        }
        Some(Stored::Rotated { until, .. }) if until > now => Adopted::Moved(token),
        Some(Stored::Record(record)) => Adopted::Ended(engine.expiry.ended_unused(&record)),
        Some(Stored::Ended(tombstone)) if tombstone.until > now => Adopted::Ended(tombstone.into()),
        _ => ended_unknown(),
    };
    Ok(Some(adopted))
}

fn ended_unknown() -> Adopted {
    Adopted::Ended(Ended::new(EndReason::Unknown))
}

/// Creates session and handover; `None` where another request was faster.
async fn create(
    engine: &Shared,
    source: &dyn FormerSessions,
    handover: &Handover,
    former: FormerSession,
    now: Timestamp,
    cost: &mut Cost,
) -> Result<Option<(Token, Record)>, Error> {
    let mut nonce = [0; KEY_BYTES];
    engine.entropy.fill(&mut nonce)?;
    let key = handover.session_key(engine, &nonce);
    let token = key.to_token();
    // A request whose clock is behind must not find the handover gone while it still
    // takes the former session for a live one.
    let used_until = begun(engine, former.expiry, now).expires_at;
    let note_until = former
        .expires_at
        .max(used_until)
        .max(engine.expiry.begin(now).expires_at)
        .saturating_add(engine.rotation_mark);
    let mut record = record_of(engine, source, handover, former, now, &token)?;
    let store = &engine.store;
    record.revision = store.create_token(&key, &record).await?.revision;
    cost.write(&record);

    let mut note = Record::new(now, note_until);
    note.site = engine.sources.site.clone();
    let nonce = Value::Bytes(nonce.to_vec());
    note.data = Data::from_values([(NONCE, nonce)], &Limits::default())?;
    let noted = store.create_token(&handover.key, &note).await;
    cost.write(&note);
    match noted {
        Ok(_) => {
            engine.created(&token, &record);
            Ok(Some((token, record)))
        }
        Err(error) if error.kind() == ErrorKind::Exists => {
            cost.touch();
            store.delete_token(&token).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An empty record that has chosen its lifetime, and is used now.
fn begun(engine: &Shared, expiry: SessionExpiry, now: Timestamp) -> Record {
    let mut record = engine.expiry.begin(now);
    engine.expiry.apply(expiry, &mut record);
    engine.expiry.slide(&mut record, now);
    record
}

/// The former session as a record of the engine's.
fn record_of(
    engine: &Shared,
    source: &dyn FormerSessions,
    handover: &Handover,
    former: FormerSession,
    now: Timestamp,
    token: &Token,
) -> Result<Record, Error> {
    let mut record = begun(engine, former.expiry, now);
    record.expires_at = record.expires_at.min(former.expires_at);
    record.site = engine.site.clone();
    record.subject = former.subject;
    let limits = &engine.limits;
    let found = former.entries.len();
    let mut entries = within_limits(former.entries, limits);
    let lost = former.entries_lost + (found - entries.len());
    if lost > 0 {
        engine.adoption_lost_entries(source.name(), token, lost);
    }
    // The entry of the engine's own is no matter of the limits.
    let room = limits
        .with_record_bytes_max(limits.record_bytes_max.saturating_add(256))
        .with_entries_max(limits.entries_max.saturating_add(1))
        .with_name_bytes_max(limits.name_bytes_max.max(HANDOVER_ENTRY.len()));
    let key = Value::Bytes(handover.key.expose_bytes().to_vec());
    entries.push((HANDOVER_ENTRY.to_owned(), key));
    record.data = Data::from_values(entries, &room)?;
    Ok(record)
}

/// The entries that are carried over: each that fits beside those before it.
fn within_limits(entries: Vec<(String, Value)>, limits: &Limits) -> Vec<(String, Value)> {
    let (mut bytes, mut kept) = (0, Vec::new());
    for (name, value) in entries {
        let alone = Data::from_values([(name.as_str(), value.clone())], limits);
        let with_it = alone.map_or(usize::MAX, |alone| bytes + alone.as_bytes().len());
        if with_it <= limits.record_bytes_max
            && kept.len() < limits.entries_max
            && name != HANDOVER_ENTRY
        {
            bytes = with_it;
            kept.push((name, value));
        }
    }
    kept
}

/// Whether a session is to be parted from the former cookie that it was adopted by, since the
/// visitor has come with the engine's own token.
///
/// It waits for the length of a rotation mark after the adoption: requests that were sent
/// with the former cookie alone may still be on their way.
pub(crate) fn is_to_part(engine: &Shared, record: &Record, now: Timestamp) -> bool {
    !engine.sources.is_empty()
        && now.saturating_since(record.created_at) >= engine.rotation_mark
        && bytes_of(record, HANDOVER_ENTRY).is_some()
}

/// Parts a session from its former cookie. Where the store cannot do it now, the record stays as it
/// is, and a later request does it.
pub(crate) async fn part(engine: &Shared, token: &Token, record: &mut Record, cost: &mut Cost) {
    match part_now(engine, token, record, cost).await {
        Ok(parted) => *record = parted,
        // Another request was faster, or the session has moved: both are as well.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Gone) => {}
        Err(error) => engine.not_parted(token, &error),
    }
}

async fn part_now(
    engine: &Shared,
    token: &Token,
    record: &Record,
    cost: &mut Cost,
) -> Result<Record, Error> {
    let store = &engine.store;
    let key = bytes_of(record, HANDOVER_ENTRY);
    if let Some(Ok(key)) = key.map(<[u8; 32]>::try_from) {
        let at = SessionKey::from_bytes(key)
            .of_site(&engine.sources.site)
            .to_token();
        if let Some(Stored::Record(mut note)) = load(engine, &at, cost).await?
            && bytes_of(&note, NONCE).is_some()
        {
            note.data = Data::empty();
            cost.write(&note);
            store.update_token(&at, &note).await?;
        }
    }
    let mut values = record.values()?;
    values.remove(HANDOVER_ENTRY);
    let mut parted = record.clone();
    let stored_limits = engine
        .limits
        .with_record_bytes_max(usize::MAX)
        .with_entries_max(usize::MAX)
        .with_name_bytes_max(usize::MAX)
        .with_nesting_depth_max(usize::MAX);
    parted.data = Data::from_values(values, &stored_limits)?;
    cost.write(&parted);
    parted.revision = store.update_token(token, &parted).await?.revision;
    Ok(parted)
}

async fn load(engine: &Shared, token: &Token, cost: &mut Cost) -> Result<Option<Stored>, Error> {
    let loaded = engine.load(token).await?;
    cost.load(&loaded);
    Ok(loaded.map(|loaded| loaded.stored))
}

/// The bytes under a name of a record's data.
fn bytes_of(record: &Record, name: &str) -> Option<Vec<u8>> {
    let entries = Entries::open(record.data.clone()).ok()?;
    match Value::decode(entries.get(name)?).ok()? {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_too_large_takes_no_other_with_it() {
        let limits = Limits::default();
        let text = |bytes| Value::Str("x".repeat(bytes));
        let entries = [
            ("cart", text(40_000)),
            ("history", text(40_000)),
            ("huge", text(70_000)),
            (HANDOVER_ENTRY, text(1)),
            ("user_id", text(10)),
        ];
        let entries = entries.map(|(name, value)| (name.to_owned(), value));
        let kept = within_limits(entries.into(), &limits);
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cart", "user_id"]);
    }
}
