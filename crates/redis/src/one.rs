//! The operations on one server: each is one script, and so one step and one
//! round trip.

use cloakroom_core::store::{KeyDigest, Record, Revision, Revoke, Stored, Touch};
use cloakroom_core::{Error, Timestamp};

use crate::answer::{outcome, refused};
use crate::script;
use crate::value::{self, digits, keep_until, link_of, ttl};
use crate::wire::Caller;

/// Puts what stands nowhere yet; `false` where something stands.
pub(crate) async fn put(to: &Caller, digest: &KeyDigest, slot: &Stored) -> Result<bool, Error> {
    let value = value::encode(slot)?;
    let (subject, keep) = match slot {
        Stored::Record(record) => (
            link_of(record.subject_digest()),
            keep_until(record.last_seen_at, record.expires_at),
        ),
        Stored::Rotated { until, .. } => (value::NOBODY.to_owned(), ttl(*until)),
    };
    send_put(to, digest, &value, &ttl(slot.expires_at()), &subject, &keep).await
}

pub(crate) async fn send_put(
    to: &Caller,
    digest: &KeyDigest,
    value: &[u8],
    at: &str,
    subject: &str,
    keep: &str,
) -> Result<bool, Error> {
    let hex = digest.to_hex();
    let args = [
        hex.as_bytes(),
        value,
        at.as_bytes(),
        subject.as_bytes(),
        keep.as_bytes(),
    ];
    let words = to
        .run(&script::CREATE, &[to.session(digest)], &args)
        .await?;
    match outcome(&words)? {
        "OK" => Ok(true),
        "EXISTS" => Ok(false),
        word => Err(refused(word)),
    }
}

pub(crate) async fn update(
    to: &Caller,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let words = send_update(to, digest, record, true).await?;
    match outcome(&words)? {
        "OK" => Ok(record.revision.next()),
        word => Err(refused(word)),
    }
}

/// `is_listed` where the index, if it lies elsewhere, has been seen to.
pub(crate) async fn send_update(
    to: &Caller,
    digest: &KeyDigest,
    record: &Record,
    is_listed: bool,
) -> Result<Vec<String>, Error> {
    let next = record.revision.next();
    let value = value::encode(&Stored::Record(record.at_revision(next)))?;
    let args = [
        digest.to_hex().into_bytes(),
        digits(record.revision.as_u64()).into_bytes(),
        value,
        ttl(record.expires_at).into_bytes(),
        link_of(record.subject_digest()).into_bytes(),
        keep_until(record.last_seen_at, record.expires_at).into_bytes(),
        digits(record.expires_at.as_millis()).into_bytes(),
        next.as_u64().to_string().into_bytes(),
        flag(is_listed).into(),
    ];
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    to.run(&script::UPDATE, &[to.session(digest)], &args).await
}

fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

pub(crate) async fn touch(
    to: &Caller,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let words = send_touch(to, digest, revision, touch, true).await?;
    match outcome(&words)? {
        "OK" => Ok(()),
        word => Err(refused(word)),
    }
}

/// `is_listed` where the index, if it lies elsewhere, has been seen to.
pub(crate) async fn send_touch(
    to: &Caller,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
    is_listed: bool,
) -> Result<Vec<String>, Error> {
    let args = [
        digits(revision.as_u64()),
        digits(touch.expires_at.as_millis()),
        digits(touch.last_seen_at.as_millis()),
        ttl(touch.expires_at),
        keep_until(touch.last_seen_at, touch.expires_at),
        flag(is_listed).to_owned(),
    ];
    let args = args.each_ref().map(String::as_bytes);
    to.run(&script::TOUCH, &[to.session(digest)], &args).await
}

pub(crate) async fn rotate(
    to: &Caller,
    old: &KeyDigest,
    new: &KeyDigest,
    record: &Record,
    mark_until: Timestamp,
) -> Result<Revision, Error> {
    let next = record.revision.next();
    let mark = Stored::Rotated {
        to: *new,
        until: mark_until,
    };
    let args = [
        old.to_hex().into_bytes(),
        new.to_hex().into_bytes(),
        digits(record.revision.as_u64()).into_bytes(),
        value::encode(&Stored::Record(record.at_revision(next)))?,
        ttl(record.expires_at).into_bytes(),
        link_of(record.subject_digest()).into_bytes(),
        keep_until(record.last_seen_at, record.expires_at).into_bytes(),
        next.as_u64().to_string().into_bytes(),
        value::encode(&mark)?,
        ttl(mark_until).into_bytes(),
    ];
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let keys = [to.session(old), to.session(new)];
    let words = to.run(&script::ROTATE, &keys, &args).await?;
    match outcome(&words)? {
        "OK" => Ok(next),
        word => Err(refused(word)),
    }
}

pub(crate) async fn delete(to: &Caller, digest: &KeyDigest) -> Result<(), Error> {
    let hex = digest.to_hex();
    let keys = [to.session(digest)];
    let words = to.run(&script::DELETE, &keys, &[hex.as_bytes()]).await?;
    match outcome(&words)? {
        "OK" => Ok(()),
        word => Err(refused(word)),
    }
}

pub(crate) async fn revoke(
    to: &Caller,
    subject: &str,
    which: Revoke,
) -> Result<Vec<KeyDigest>, Error> {
    let (word, digest) = match which {
        Revoke::All => ("all", String::new()),
        Revoke::AllBut(kept) => ("but", kept.to_hex()),
        Revoke::One(meant) => ("one", meant.to_hex()),
    };
    let args = [subject.as_bytes(), word.as_bytes(), digest.as_bytes()];
    let words = to.run(&script::REVOKE, &[to.index(subject)], &args).await?;
    match outcome(&words)? {
        "OK" => {}
        word => return Err(refused(word)),
    }
    Ok(words
        .iter()
        .skip(1)
        .filter_map(|hex| KeyDigest::from_hex(hex))
        .collect())
}
