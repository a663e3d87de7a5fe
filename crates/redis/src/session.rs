//! The operations on one session, on a single node and in a cluster alike. In a cluster
//! the index of its subject lies elsewhere, and is written by a step of its own.

use cloakroom_core::store::{
    Ending, KeyDigest, Record, Revision, Stored, SubjectDigest, Tombstone, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use redis::Value;

use crate::client::{Client, Reply};
use crate::errors::{NAME, error};
use crate::index;
use crate::scripts::{self, Script};
use crate::value::{
    self, StoredValue, digits, index_lifetime, lifetime, record_begins, subject_field,
};

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
    let args = [client.channel().into(), message(digest, revision)];
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

/// What listeners are told of a write.
pub(crate) fn message(digest: &KeyDigest, revision: Revision) -> Vec<u8> {
    format!("{} {}", digest.to_hex(), revision.as_u64()).into()
}

/// The tombstone that a script is to put in the place of a session, and its lifetime: both
/// empty where no trace is to be left. The script copies the subject of a record that it can
/// read; `of` is whose a session is otherwise.
pub(crate) fn tombstone_args(
    client: &Client,
    ending: Option<&Ending>,
    of: Option<SubjectDigest>,
) -> Result<[Vec<u8>; 2], Error> {
    let Some(ending) = ending else {
        return Ok([Vec::new(), Vec::new()]);
    };
    let tombstone = value::encode(&Stored::Ended(Tombstone::new(ending, of)))?;
    Ok([tombstone, lifetime(ending.until, client.now()).into()])
}

/// Puts a record, a mark or a tombstone where nothing stands; `false` where something does.
pub(crate) async fn put(
    client: &Client,
    digest: &KeyDigest,
    stored: &Stored,
) -> Result<bool, Error> {
    let value = value::encode(stored)?;
    match stored {
        Stored::Record(record) if client.is_single() && record.subject.is_some() => {
            let keys = [client.session_key(digest)];
            let mut args = index::list_args(client, digest, record);
            args.push(value);
            let reply = client.run(&scripts::CREATE, &keys, &args).await?;
            match reply.outcome.as_str() {
                "OK" => Ok(true),
                "EXISTS" => Ok(false),
                outcome => Err(client.origin.outcome_failed(outcome)),
            }
        }
        Stored::Record(record) => {
            let listed = list(client, digest, record).await?;
            let put = put_value(client, digest, &value, record.expires_at).await?;
            if let Some((subject, due)) = listed {
                index::check_due(client, &subject, due).await;
            }
            Ok(put)
        }
        Stored::Rotated { .. } | Stored::Ended(_) => {
            put_value(client, digest, &value, stored.expires_at()).await
        }
    }
}

/// Puts a value where nothing stands, and touches no index: that needs no script.
pub(crate) async fn put_value(
    client: &Client,
    digest: &KeyDigest,
    value: &[u8],
    deadline: Timestamp,
) -> Result<bool, Error> {
    let key = client.session_key(digest);
    let mut call = redis::cmd("SET");
    call.arg(&key).arg(value).arg("NX").arg("PX");
    call.arg(lifetime(deadline, client.now()));
    match client.write(&key, &call).await? {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        reply => Err(client.origin.unexpected(&reply, "the reply to a SET")),
    }
}

pub(crate) async fn update(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let next = record.revision.next();
    let value = value::encode(&Stored::Record(record.at_revision(next)))?;
    let begins = record_begins(record.revision).into();
    let channel = client.channel().into();
    let message = message(digest, next);
    if client.is_single() {
        let keys = [client.session_key(digest)];
        let mut args = index::list_args(client, digest, record);
        args.extend([begins, channel, message, value]);
        client.run_ok(&scripts::UPDATE, &keys, &args).await?;
        return Ok(next);
    }
    let args = vec![
        begins,
        channel,
        message,
        value,
        lifetime(record.expires_at, client.now()).into(),
        subject_field(record.subject_digest()).into(),
        digits(record.expires_at.as_millis()).into(),
    ];
    // An entry under a subject that the session had stays: removing it could race a
    // writer that has just put it back.
    let touch = Touch::from(record);
    write_in_cluster(client, &scripts::UPDATE_IN_CLUSTER, digest, args, touch).await?;
    Ok(next)
}

pub(crate) async fn touch(
    client: &Client,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let now = client.now();
    let mut args = vec![
        record_begins(revision).into(),
        digits(touch.expires_at.as_millis()).into(),
        digits(touch.last_seen_at.as_millis()).into(),
        lifetime(touch.expires_at, now).into(),
    ];
    let touched = if client.is_single() {
        args.extend([client.indexes().into(), index_lifetime(touch, now).into()]);
        let keys = [client.session_key(digest)];
        client.run_ok(&scripts::TOUCH, &keys, &args).await.map(drop)
    } else {
        write_in_cluster(client, &scripts::TOUCH_IN_CLUSTER, digest, args, touch).await
    };
    match touched {
        // Whoever has written it has chosen its deadline.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        touched => touched,
    }
}

/// Runs a script that moves a session's deadline, and extends the index: afterwards,
/// unless the script asks for it before, since the index would not outlive the record.
async fn write_in_cluster(
    client: &Client,
    script: &Script,
    digest: &KeyDigest,
    mut args: Vec<Vec<u8>>,
    touch: Touch,
) -> Result<(), Error> {
    let keys = [client.session_key(digest)];
    let extend_index = async |reply: &Reply| match reply.subject() {
        Some(subject) => index::add(client, &subject, digest, touch).await.map(drop),
        None => Ok(()),
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
        "OK" => {
            let extended = extend_index(&reply).await;
            extended.map_err(|source| after_write(source, INDEX_MAY_END))
        }
        outcome => Err(client.origin.outcome_failed(outcome)),
    }
}
