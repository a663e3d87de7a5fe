//! The operations on one session, on a single node and in a cluster alike. In a cluster
//! the index of its subject lies elsewhere, and is written by a step of its own.

use cloakroom_core::store::{KeyDigest, Record, Revision, Stored, SubjectDigest, Touch};
use cloakroom_core::{Error, ErrorKind};

use crate::client::{Client, Reply};
use crate::errors::{NAME, error};
use crate::index;
use crate::scripts::{self, Script};
use crate::value::{self, StoredValue, digits, keep_until, subject_field, ttl};

const INDEX_MAY_END: &str = "the session is written, but the index of its subject may expire \
                             before it: write the session again, or end it";

/// Reads what stands at a digest. A moving session stands there once the mark at its old
/// digest does; who finds that mark finishes the rotation.
pub(crate) async fn load(client: &Client, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
    let (from, revision) = match read(client, digest).await? {
        Some(StoredValue::Complete(stored)) => return Ok(Some(stored)),
        None => return Ok(None),
        Some(StoredValue::Moving { from, record }) => (from, record.revision),
    };
    match read(client, &from).await? {
        Some(StoredValue::Complete(Stored::Rotated { to, .. })) if to == *digest => {}
        _ => return Ok(None),
    }
    finish_rotation(client, digest, revision).await?;
    // It may have been written to since it was read.
    match read(client, digest).await? {
        Some(StoredValue::Complete(stored)) => Ok(Some(stored)),
        _ => Ok(None),
    }
}

pub(crate) async fn read(
    client: &Client,
    digest: &KeyDigest,
) -> Result<Option<StoredValue>, Error> {
    let key = client.session_key(digest);
    let value: Option<Vec<u8>> = client.read(&key, redis::cmd("GET").arg(&key)).await?;
    let decoded = value.map(|value| value::decode(&value)).transpose();
    decoded.map_err(|error| error.in_store(NAME))
}

/// The last step of a rotation in a cluster.
pub(crate) async fn finish_rotation(
    client: &Client,
    digest: &KeyDigest,
    revision: Revision,
) -> Result<(), Error> {
    let args = [digest.to_hex().into(), revision.as_u64().to_string().into()];
    let keys = [client.session_key(digest)];
    let reply = client.run(&scripts::ROTATE_FINISH, &keys, &args).await?;
    match reply.outcome.as_str() {
        // Gone: it was ended as soon as it had arrived.
        "OK" | "GONE" => Ok(()),
        outcome => Err(client.origin.outcome_failed(outcome)),
    }
}

/// An error after the step that counts. The write was made, so no error may say that it
/// was not.
pub(crate) fn after_write(source: Error, what: &'static str) -> Error {
    match source.kind() {
        ErrorKind::Unavailable => source,
        _ => error(ErrorKind::Unavailable, what).with_source(source),
    }
}

/// In a cluster, lists a session before it is written, where it has a subject. Answers
/// the index entries that are due.
pub(crate) async fn list(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Option<(SubjectDigest, Vec<KeyDigest>)>, Error> {
    let Some(subject) = record.subject_digest().filter(|_| !client.is_single()) else {
        return Ok(None);
    };
    let due = index::add(client, &subject, digest, Touch::from(record)).await?;
    Ok(Some((subject, due)))
}

/// Puts a record or a mark where nothing stands; `false` where something does.
pub(crate) async fn put(
    client: &Client,
    digest: &KeyDigest,
    stored: &Stored,
) -> Result<bool, Error> {
    let value = value::encode(stored)?;
    let at = ttl(stored.expires_at());
    let Stored::Record(record) = stored else {
        return put_value(client, digest, value, at.clone(), None, at).await;
    };
    let listed = list(client, digest, record).await?;
    let keep = keep_until(record.last_seen_at, record.expires_at);
    let put = put_value(client, digest, value, at, record.subject_digest(), keep).await?;
    if let Some((subject, due)) = listed {
        index::check_due(client, &subject, due).await;
    }
    Ok(put)
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

pub(crate) async fn update(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let next = record.revision.next();
    let args = vec![
        digest.to_hex().into(),
        digits(record.revision.as_u64()).into(),
        value::encode(&Stored::Record(record.at_revision(next)))?,
        ttl(record.expires_at).into(),
        subject_field(record.subject_digest()).into(),
        keep_until(record.last_seen_at, record.expires_at).into(),
        digits(record.expires_at.as_millis()).into(),
        next.as_u64().to_string().into(),
    ];
    // In a cluster, an entry under a subject that the session had stays: removing it
    // could race a writer that has just put it back.
    write(client, &scripts::UPDATE, digest, args, Touch::from(record)).await?;
    Ok(next)
}

pub(crate) async fn touch(
    client: &Client,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let args = vec![
        digits(revision.as_u64()).into(),
        digits(touch.expires_at.as_millis()).into(),
        digits(touch.last_seen_at.as_millis()).into(),
        ttl(touch.expires_at).into(),
        keep_until(touch.last_seen_at, touch.expires_at).into(),
    ];
    write(client, &scripts::TOUCH, digest, args, touch).await
}

/// Runs a script that moves a session's deadline, and in a cluster extends the index:
/// afterwards, unless the script asks for it before, since the index would not outlive
/// the record.
async fn write(
    client: &Client,
    script: &Script,
    digest: &KeyDigest,
    mut args: Vec<Vec<u8>>,
    touch: Touch,
) -> Result<(), Error> {
    let keys = [client.session_key(digest)];
    let extend_index = async |reply: &Reply| match reply.subject() {
        Some(subject) if !client.is_single() => {
            index::add(client, &subject, digest, touch).await.map(drop)
        }
        _ => Ok(()),
    };
    args.push(b"0".into());
    let reply = client.run(script, &keys, &args).await?;
    match reply.outcome.as_str() {
        "INDEX" => {
            extend_index(&reply).await?;
            args.pop();
            args.push(b"1".into());
            client.run_ok(script, &keys, &args).await.map(drop)
        }
        "OK" if reply.rest.get(1).is_some_and(|moved| moved == "1") => {
            let extended = extend_index(&reply).await;
            extended.map_err(|source| after_write(source, INDEX_MAY_END))
        }
        "OK" => Ok(()),
        outcome => Err(client.origin.outcome_failed(outcome)),
    }
}
