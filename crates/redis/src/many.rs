//! The operations in a cluster: what is of one session lies in one slot, and what
//! is of several is ordered so that a crash between two steps does no harm. The
//! crate's first page says how.

use std::collections::BTreeSet;

use cloakroom_core::store::{KeyDigest, Record, Revision, Revoke, RotationPath, Stored, Touch};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_util::future::{join, join_all};

use crate::answer::{outcome, refused};
use crate::script;
use crate::subjects::{AT_ONCE, entries, tidy};
use crate::trouble::error;
use crate::value::{self, Found, HEAD_BYTES, NOBODY, digits, keep_until, link_of, ttl};
use crate::wire::{Caller, strange};
use crate::{NAME, one};

/// What `PTTL` says of a key that is not there.
const GONE: i64 = -2;

const LIST_MAY_END: &str = "the session is written, but its subject's list may end before it does";

const NOT_ARRIVED: &str =
    "the session has moved, but is not written as arrived: the next one to load it must do that";

/// Reads what stands there; what is moving there stands there once the mark at
/// its old key does.
pub(crate) async fn load(to: &Caller, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
    match find(to, digest).await? {
        Some(Found::Stored(slot)) => Ok(Some(slot)),
        None => Ok(None),
        Some(Found::Moving { from, record }) => {
            let mark = find(to, &from).await?;
            let arrived = matches!(
                mark,
                Some(Found::Stored(Stored::Rotated { to, .. })) if to == *digest
            );
            if !arrived {
                return Ok(None);
            }
            settle(to, digest, record.revision).await?;
            // It may have been written to since it was read.
            match find(to, digest).await? {
                Some(Found::Stored(slot)) => Ok(Some(slot)),
                _ => Ok(None),
            }
        }
    }
}

/// One read.
pub(crate) async fn find(to: &Caller, digest: &KeyDigest) -> Result<Option<Found>, Error> {
    let key = to.session(digest);
    let value = to.read(&key, redis::cmd("GET").arg(&key)).await?;
    let value: Option<Vec<u8>> = redis::from_redis_value(value).map_err(|_| strange())?;
    let found = value.map(|value| value::decode(&value)).transpose();
    found.map_err(|error| error.in_store(NAME))
}

async fn settle(to: &Caller, digest: &KeyDigest, revision: Revision) -> Result<(), Error> {
    let args = [digest.to_hex(), revision.as_u64().to_string()];
    let args = args.each_ref().map(String::as_bytes);
    let words = to
        .run(&script::SETTLE, &[to.session(digest)], &args)
        .await?;
    match outcome(&words)? {
        // Gone: it was ended as soon as it had arrived.
        "OK" | "GONE" => Ok(()),
        word => Err(refused(word)),
    }
}

/// An error after the step that counts: the write was made, so that none may say
/// that it was not.
fn unfinished(source: Error, what: &'static str) -> Error {
    match source.kind() {
        ErrorKind::Unavailable => source,
        _ => error(ErrorKind::Unavailable, what).with_source(source),
    }
}

/// An entry of an index that is being written, and what was found beside it.
struct Entry {
    subject: String,
    due: Vec<KeyDigest>,
}

/// Lists a session under its subject, before it is written.
async fn enlist(
    to: &Caller,
    subject: &str,
    digest: &KeyDigest,
    touch: Touch,
) -> Result<Option<Entry>, Error> {
    if subject == NOBODY {
        return Ok(None);
    }
    let args = [
        digest.to_hex(),
        ttl(touch.expires_at),
        keep_until(touch.last_seen_at, touch.expires_at),
    ];
    let args = args.each_ref().map(String::as_bytes);
    let words = to.run(&script::ENLIST, &[to.index(subject)], &args).await?;
    let due = words.iter().skip(1);
    Ok(Some(Entry {
        subject: subject.to_owned(),
        due: due.filter_map(|hex| KeyDigest::from_hex(hex)).collect(),
    }))
}

/// Looks at the old entries that were found beside a new one.
async fn look_at_old(to: &Caller, entry: Option<Entry>) {
    let Some(entry) = entry.filter(|entry| !entry.due.is_empty()) else {
        return;
    };
    let mut seen = Vec::with_capacity(entry.due.len());
    for digest in entry.due {
        let key = to.session(&digest);
        let Ok(left) = to.read(&key, redis::cmd("PTTL").arg(&key)).await else {
            return;
        };
        match redis::from_redis_value::<i64>(left) {
            Ok(GONE) => seen.push((digest, None)),
            // Without a TTL it stands for as long as it likes, and so does its entry.
            Ok(left) => seen.extend(u64::try_from(left).map(|left| (digest, Some(left)))),
            Err(_) => return,
        }
    }
    tidy(to, &entry.subject, &seen).await;
}

async fn unlist(to: &Caller, subject: &str, digest: &KeyDigest) {
    if subject == NOBODY {
        return;
    }
    let key = to.index(subject);
    let hex = digest.to_hex();
    let mut call = redis::cmd("ZREM");
    call.arg(&key).arg(hex);
    // To take it out twice does no harm, so it may be tried like a read; what stays
    // is passed over, and goes when it is due.
    if let Err(error) = to.read(&key, &call).await {
        tracing::debug!(%error, "an entry without a session stays in an index");
    }
}

pub(crate) async fn put(to: &Caller, digest: &KeyDigest, slot: &Stored) -> Result<bool, Error> {
    let entry = match slot {
        Stored::Record(record) => {
            let subject = link_of(record.subject_digest());
            enlist(to, &subject, digest, Touch::from(record)).await?
        }
        Stored::Rotated { .. } => None,
    };
    let put = one::put(to, digest, slot).await?;
    look_at_old(to, entry).await;
    Ok(put)
}

pub(crate) async fn update(
    to: &Caller,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let subject = link_of(record.subject_digest());
    let touch = Touch::from(record);
    let mut words = one::send_update(to, digest, record, false).await?;
    if outcome(&words)? == "INDEX" {
        enlist(to, &subject, digest, touch).await?;
        words = one::send_update(to, digest, record, true).await?;
    } else if outcome(&words)? == "OK" && words.get(2).is_some_and(|moved| moved == "1") {
        let kept = enlist(to, &subject, digest, touch).await;
        kept.map_err(|source| unfinished(source, LIST_MAY_END))?;
    }
    match outcome(&words)? {
        // An entry under a subject it had stays: to take it out could race a
        // writer that has just put it back.
        "OK" => Ok(record.revision.next()),
        word => Err(refused(word)),
    }
}

pub(crate) async fn touch(
    to: &Caller,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let mut words = one::send_touch(to, digest, revision, touch, false).await?;
    let link = words.get(1).cloned().unwrap_or_default();
    if outcome(&words)? == "INDEX" {
        enlist(to, &link, digest, touch).await?;
        words = one::send_touch(to, digest, revision, touch, true).await?;
    } else if outcome(&words)? == "OK" && words.get(2).is_some_and(|moved| moved == "1") {
        let kept = enlist(to, &link, digest, touch).await;
        kept.map_err(|source| unfinished(source, LIST_MAY_END))?;
    }
    match outcome(&words)? {
        "OK" => Ok(()),
        word => Err(refused(word)),
    }
}

pub(crate) async fn rotate(
    to: &Caller,
    old: &KeyDigest,
    new: &KeyDigest,
    record: &Record,
    mark_until: Timestamp,
) -> Result<Revision, Error> {
    let next = record.revision.next();
    let moved = record.at_revision(next);
    let subject = link_of(record.subject_digest());
    // Encoded before anything is sent: a record too large leaves nothing behind.
    let value = value::encode_moving(&moved, old)?;
    let entry = enlist(to, &subject, new, Touch::from(record)).await?;
    let at = ttl(record.expires_at);
    match one::send_put(to, new, &value, &at, NOBODY, &at).await? {
        true => {}
        // As on a single server, a session that is gone or another is said first.
        false => {
            return match find(to, old).await? {
                Some(Found::Stored(Stored::Record(there))) if there.revision == record.revision => {
                    Err(ErrorKind::Exists.into())
                }
                Some(Found::Stored(Stored::Record(_))) => Err(ErrorKind::Conflict.into()),
                _ => Err(ErrorKind::Gone.into()),
            };
        }
    }
    let mark = Stored::Rotated {
        to: *new,
        until: mark_until,
    };
    let mark = value::encode(&mark)?;
    let (hex, based_on, at) = (
        old.to_hex(),
        digits(record.revision.as_u64()),
        ttl(mark_until),
    );
    let args = [hex.as_bytes(), based_on.as_bytes(), &mark, at.as_bytes()];
    let words = to.run(&script::MARK, &[to.session(old)], &args).await?;
    match outcome(&words)? {
        "OK" => {
            let link = words.get(1).map_or(NOBODY, String::as_str);
            let tidy = async {
                unlist(to, link, old).await;
                look_at_old(to, entry).await;
            };
            let (settled, ()) = join(settle(to, new, next), tidy).await;
            let settled = settled.map_err(|source| unfinished(source, NOT_ARRIVED));
            settled.map(|()| next)
        }
        word => {
            // What was moving opens nothing, and ends by itself at the latest.
            let dropped = to.run(&script::DROP, &[to.session(new)], &[]).await;
            if let Err(error) = dropped {
                tracing::debug!(%error, "what a refused rotation wrote stays a while");
            }
            Err(refused(word))
        }
    }
}

/// What one step of ending a session met.
enum Ended {
    Yes { subject: String },
    No,
    Moved(KeyDigest),
}

async fn end(
    to: &Caller,
    digest: &KeyDigest,
    subject: &str,
    is_listed: bool,
) -> Result<Ended, Error> {
    let hex = digest.to_hex();
    let listed = if is_listed { "1" } else { "0" };
    let args = [hex.as_bytes(), subject.as_bytes(), listed.as_bytes()];
    let words = to.run(&script::END, &[to.session(digest)], &args).await?;
    let second = words.get(1).map_or("", String::as_str);
    match outcome(&words)? {
        "OK" => Ok(Ended::Yes {
            subject: second.to_owned(),
        }),
        "NONE" => Ok(Ended::No),
        "MARK" => match KeyDigest::from_hex(second) {
            Some(to) => Ok(Ended::Moved(to)),
            None => Err(refused("CORRUPT")),
        },
        word => Err(refused(word)),
    }
}

pub(crate) async fn delete(to: &Caller, digest: &KeyDigest) -> Result<(), Error> {
    let mut path = RotationPath::from(*digest);
    loop {
        match end(to, path.at(), "", false).await? {
            Ended::Yes { subject } => {
                unlist(to, &subject, path.at()).await;
                return Ok(());
            }
            Ended::No => return Ok(()),
            Ended::Moved(next) => path.follow(next)?,
        }
    }
}

pub(crate) async fn revoke(
    to: &Caller,
    subject: &str,
    which: Revoke,
) -> Result<Vec<KeyDigest>, Error> {
    let listed = entries(to, subject).await?;
    let begin = match which {
        Revoke::One(meant) => vec![meant],
        Revoke::All | Revoke::AllBut(_) => listed.clone(),
    };
    let listed: BTreeSet<KeyDigest> = listed.into_iter().collect();
    let (mut ended, mut failed) = (Vec::new(), None);
    for some in begin.chunks(AT_ONCE) {
        let each = some.iter();
        let each = each.map(|first| revoke_from(to, subject, which, *first, &listed));
        for done in join_all(each).await {
            match done {
                Ok(at) => ended.extend(at),
                // One that fails spares no other.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    ended.sort();
    ended.dedup();
    Ok(ended)
}

/// Ends the session that stands at an entry or where its marks lead, and says where.
async fn revoke_from(
    to: &Caller,
    subject: &str,
    which: Revoke,
    first: KeyDigest,
    listed: &BTreeSet<KeyDigest>,
) -> Result<Option<KeyDigest>, Error> {
    let mut path = RotationPath::from(first);
    // Whether the mark that led here says that what is moving has arrived.
    let mut by_mark = false;
    loop {
        let at = *path.at();
        if !by_mark && !has_arrived(to, &at).await? {
            // On its way: the old key, listed too, is where it is ended.
            return Ok(None);
        }
        // Asked after it was seen here: a session that was spared at its old key is
        // not ended at its new one.
        if let Revoke::AllBut(kept) = which
            && is_where(to, kept, &at).await?
        {
            return Ok(None);
        }
        match end(to, &at, subject, listed.contains(&at)).await? {
            Ended::Yes { .. } => {
                unlist(to, subject, &at).await;
                return Ok(Some(at));
            }
            Ended::No => return Ok(None),
            Ended::Moved(next) => path.follow(next)?,
        }
        by_mark = true;
    }
}

/// Whether something stands here, and is not on its way. Where nothing does, the
/// first step of a rotation may have listed what comes: it could arrive between the
/// look at whether it is spared and the end of it.
async fn has_arrived(to: &Caller, digest: &KeyDigest) -> Result<bool, Error> {
    match find(to, digest).await {
        Ok(Some(Found::Moving { .. })) => Ok(load(to, digest).await?.is_some()),
        Ok(found) => Ok(found.is_some()),
        // One that cannot be read is ended like the others.
        Err(error) if error.kind() != ErrorKind::Unavailable => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether `at` is the digest `from`, or one that its session has passed.
async fn is_where(to: &Caller, from: KeyDigest, at: &KeyDigest) -> Result<bool, Error> {
    let mut path = RotationPath::from(from);
    while path.at() != at {
        match mark_at(to, path.at()).await? {
            Some(next) => path.follow(next)?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Where the rotation mark at a digest leads, by its head alone, as scripts read it.
async fn mark_at(to: &Caller, digest: &KeyDigest) -> Result<Option<KeyDigest>, Error> {
    let key = to.session(digest);
    let mut call = redis::cmd("GETRANGE");
    call.arg(&key).arg(0).arg(HEAD_BYTES - 1);
    let head = to.read(&key, &call).await?;
    let head: Vec<u8> = redis::from_redis_value(head).map_err(|_| strange())?;
    value::successor(&head).map_err(|error| error.in_store(NAME))
}
