//! The operations on a single node: each is one script, and so one step and one round
//! trip. Those on one session are also steps of the operations in a cluster.

use cloakroom_core::store::{KeyDigest, Record, Revision, Revoke, Stored, SubjectDigest, Touch};
use cloakroom_core::{Error, Timestamp};

use crate::client::Client;
use crate::scripts;
use crate::value::{self, digits, keep_until, subject_field, ttl};

/// Puts a record or a mark where nothing stands; `false` where something does.
pub(crate) async fn put(
    client: &Client,
    digest: &KeyDigest,
    stored: &Stored,
) -> Result<bool, Error> {
    let (subject, keep) = match stored {
        Stored::Record(record) => (
            record.subject_digest(),
            keep_until(record.last_seen_at, record.expires_at),
        ),
        Stored::Rotated { until, .. } => (None, ttl(*until)),
    };
    let value = value::encode(stored)?;
    put_value(
        client,
        digest,
        value,
        ttl(stored.expires_at()),
        subject,
        keep,
    )
    .await
}

pub(crate) async fn put_value(
    client: &Client,
    digest: &KeyDigest,
    value: Vec<u8>,
    ttl: String,
    subject: Option<SubjectDigest>,
    keep: String,
) -> Result<bool, Error> {
    let args = [
        digest.to_hex().into(),
        value,
        ttl.into(),
        subject_field(subject).into(),
        keep.into(),
    ];
    let keys = [client.session_key(digest)];
    let reply = client.run(&scripts::CREATE, &keys, &args).await?;
    match reply.outcome.as_str() {
        "OK" => Ok(true),
        "EXISTS" => Ok(false),
        outcome => Err(client.origin.outcome_failed(outcome)),
    }
}

/// The arguments of `update.lua`.
pub(crate) fn update_args(
    digest: &KeyDigest,
    record: &Record,
    is_index_extended: bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let next = record.revision.next();
    Ok(vec![
        digest.to_hex().into(),
        digits(record.revision.as_u64()).into(),
        value::encode(&Stored::Record(record.at_revision(next)))?,
        ttl(record.expires_at).into(),
        subject_field(record.subject_digest()).into(),
        keep_until(record.last_seen_at, record.expires_at).into(),
        digits(record.expires_at.as_millis()).into(),
        next.as_u64().to_string().into(),
        flag(is_index_extended),
    ])
}

/// The arguments of `touch.lua`.
pub(crate) fn touch_args(
    revision: Revision,
    touch: Touch,
    is_index_extended: bool,
) -> Vec<Vec<u8>> {
    vec![
        digits(revision.as_u64()).into(),
        digits(touch.expires_at.as_millis()).into(),
        digits(touch.last_seen_at.as_millis()).into(),
        ttl(touch.expires_at).into(),
        keep_until(touch.last_seen_at, touch.expires_at).into(),
        flag(is_index_extended),
    ]
}

pub(crate) fn flag(is_set: bool) -> Vec<u8> {
    if is_set { b"1".into() } else { b"0".into() }
}

pub(crate) async fn update(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let args = update_args(digest, record, true)?;
    let keys = [client.session_key(digest)];
    client.run_ok(&scripts::UPDATE, &keys, &args).await?;
    Ok(record.revision.next())
}

pub(crate) async fn touch(
    client: &Client,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let args = touch_args(revision, touch, true);
    let keys = [client.session_key(digest)];
    client.run_ok(&scripts::TOUCH, &keys, &args).await?;
    Ok(())
}

pub(crate) async fn rotate(
    client: &Client,
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
        old.to_hex().into(),
        new.to_hex().into(),
        digits(record.revision.as_u64()).into(),
        value::encode(&Stored::Record(record.at_revision(next)))?,
        ttl(record.expires_at).into(),
        subject_field(record.subject_digest()).into(),
        keep_until(record.last_seen_at, record.expires_at).into(),
        next.as_u64().to_string().into(),
        value::encode(&mark)?,
        ttl(mark_until).into(),
    ];
    let keys = [client.session_key(old), client.session_key(new)];
    client.run_ok(&scripts::ROTATE, &keys, &args).await?;
    Ok(next)
}

pub(crate) async fn delete(client: &Client, digest: &KeyDigest) -> Result<(), Error> {
    let keys = [client.session_key(digest)];
    let args = [digest.to_hex().into()];
    client.run_ok(&scripts::DELETE, &keys, &args).await?;
    Ok(())
}

/// One pass is enough: no rotation comes between the steps of a script.
pub(crate) async fn revoke(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
) -> Result<Vec<KeyDigest>, Error> {
    let (word, digest) = match which {
        Revoke::All => ("all", String::new()),
        Revoke::AllBut(kept) => ("but", kept.to_hex()),
        Revoke::One(meant) => ("one", meant.to_hex()),
    };
    let args = [subject.to_hex().into(), word.into(), digest.into()];
    let keys = [client.index_key(subject)];
    let reply = client.run_ok(&scripts::REVOKE, &keys, &args).await?;
    Ok(reply.digests())
}
