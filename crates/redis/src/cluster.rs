//! The operations in a cluster. A session lies in one slot, the index of its subject in
//! another: the steps are ordered so that a crash between two of them does no harm. The
//! crate's first page shows the order.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    KeyDigest, Record, Revision, Revoke, RotationPath, Stored, SubjectDigest, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_util::future::{join, join_all};

use crate::client::{Client, Reply};
use crate::errors::{NAME, error};
use crate::index;
use crate::scripts::{self, Script};
use crate::single_node::{self, flag};
use crate::value::{self, HEAD_BYTES, StoredValue, digits, ttl};

/// Sessions of a subject that are read, or ended, at once.
pub(crate) const SESSIONS_AT_ONCE: usize = 64;

const INDEX_MAY_END: &str = "the session is written, but the index of its subject may expire \
                             before it: write the session again, or end it";

const NOT_FINISHED: &str = "the session has moved, but is not yet marked as arrived: the next \
                            request with its new key does that";

/// Reads what stands at a digest. A moving session stands there once the mark at its old
/// digest does; who finds that mark finishes the rotation. A single node reads so too.
pub(crate) async fn load(client: &Client, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
    let (from, revision) = match read(client, digest).await? {
        Some(StoredValue::Settled(stored)) => return Ok(Some(stored)),
        None => return Ok(None),
        Some(StoredValue::Moving { from, record }) => (from, record.revision),
    };
    match read(client, &from).await? {
        Some(StoredValue::Settled(Stored::Rotated { to, .. })) if to == *digest => {}
        _ => return Ok(None),
    }
    finish_rotation(client, digest, revision).await?;
    // It may have been written to since it was read.
    match read(client, digest).await? {
        Some(StoredValue::Settled(stored)) => Ok(Some(stored)),
        _ => Ok(None),
    }
}

async fn read(client: &Client, digest: &KeyDigest) -> Result<Option<StoredValue>, Error> {
    let key = client.session_key(digest);
    let value: Option<Vec<u8>> = client.read(&key, redis::cmd("GET").arg(&key)).await?;
    let decoded = value.map(|value| value::decode(&value)).transpose();
    decoded.map_err(|error| error.in_store(NAME))
}

async fn finish_rotation(
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
fn after_write(source: Error, what: &'static str) -> Error {
    match source.kind() {
        ErrorKind::Unavailable => source,
        _ => error(ErrorKind::Unavailable, what).with_source(source),
    }
}

/// Lists a session before it is written, where it has a subject. Answers the entries
/// that are due.
async fn list(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Option<(SubjectDigest, Vec<KeyDigest>)>, Error> {
    let Some(subject) = record.subject_digest() else {
        return Ok(None);
    };
    let due = index::add(client, &subject, digest, Touch::from(record)).await?;
    Ok(Some((subject, due)))
}

pub(crate) async fn put(
    client: &Client,
    digest: &KeyDigest,
    stored: &Stored,
) -> Result<bool, Error> {
    let listed = match stored {
        Stored::Record(record) => list(client, digest, record).await?,
        Stored::Rotated { .. } => None,
    };
    let put = single_node::put(client, digest, stored).await?;
    if let Some((subject, due)) = listed {
        index::check_due(client, &subject, due).await;
    }
    Ok(put)
}

pub(crate) async fn update(
    client: &Client,
    digest: &KeyDigest,
    record: &Record,
) -> Result<Revision, Error> {
    let args = single_node::update_args(digest, record, false)?;
    // An entry under a subject that the session had stays: removing it could race a
    // writer that has just put it back.
    write(client, &scripts::UPDATE, digest, args, Touch::from(record)).await?;
    Ok(record.revision.next())
}

pub(crate) async fn touch(
    client: &Client,
    digest: &KeyDigest,
    revision: Revision,
    touch: Touch,
) -> Result<(), Error> {
    let args = single_node::touch_args(revision, touch, false);
    write(client, &scripts::TOUCH, digest, args, touch).await
}

/// Runs a script that moves a session's deadline, and extends the index: afterwards,
/// unless the script asks for it before, since the index would not outlive the record.
async fn write(
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
    let reply = client.run(script, &keys, &args).await?;
    match reply.outcome.as_str() {
        "INDEX" => {
            extend_index(&reply).await?;
            args.pop();
            args.push(flag(true));
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

pub(crate) async fn rotate(
    client: &Client,
    old: &KeyDigest,
    new: &KeyDigest,
    record: &Record,
    mark_until: Timestamp,
) -> Result<Revision, Error> {
    let next = record.revision.next();
    // Encoded before anything is sent: a record that is too large leaves nothing behind.
    let value = value::encode_moving(&record.at_revision(next), old)?;
    let listed = list(client, new, record).await?;
    let at = ttl(record.expires_at);
    if !single_node::put_value(client, new, value, at.clone(), None, at).await? {
        // As on a single node, an old session that is gone or changed is said first.
        return Err(match read(client, old).await? {
            Some(StoredValue::Settled(Stored::Record(there))) => {
                match there.revision == record.revision {
                    true => ErrorKind::Exists,
                    false => ErrorKind::Conflict,
                }
            }
            _ => ErrorKind::Gone,
        }
        .into());
    }
    let mark = Stored::Rotated {
        to: *new,
        until: mark_until,
    };
    let args = [
        old.to_hex().into(),
        digits(record.revision.as_u64()).into(),
        value::encode(&mark)?,
        ttl(mark_until).into(),
    ];
    let keys = [client.session_key(old)];
    let reply = client.run(&scripts::ROTATE_MARK, &keys, &args).await?;
    if reply.outcome != "OK" {
        // The moving session opens nothing, and expires at the latest.
        let keys = [client.session_key(new)];
        if let Err(error) = client.run(&scripts::ROTATE_CANCEL, &keys, &[]).await {
            tracing::debug!(%error, "the moving session of a refused rotation stays a while");
        }
        return Err(client.origin.outcome_failed(&reply.outcome));
    }
    let update_index = async {
        index::remove(client, reply.subject(), old).await;
        if let Some((subject, due)) = listed {
            index::check_due(client, &subject, due).await;
        }
    };
    let (finished, ()) = join(finish_rotation(client, new, next), update_index).await;
    finished.map_err(|source| after_write(source, NOT_FINISHED))?;
    Ok(next)
}

/// What one step of ending a session met.
enum Ended {
    Session(Option<SubjectDigest>),
    Nothing,
    Mark(KeyDigest),
}

/// Ends the session at a digest. `of` is the subject that it must be of, and whether its
/// index lists it.
async fn end(
    client: &Client,
    digest: &KeyDigest,
    of: Option<(&SubjectDigest, bool)>,
) -> Result<Ended, Error> {
    let args = [
        digest.to_hex().into(),
        of.map_or_else(String::new, |(subject, _)| subject.to_hex())
            .into(),
        flag(of.is_some_and(|(_, is_listed)| is_listed)),
    ];
    let keys = [client.session_key(digest)];
    let reply = client.run(&scripts::DELETE_ONE, &keys, &args).await?;
    match reply.outcome.as_str() {
        "OK" => Ok(Ended::Session(reply.subject())),
        "NONE" => Ok(Ended::Nothing),
        "MARK" => match reply.digests().pop() {
            Some(to) => Ok(Ended::Mark(to)),
            None => Err(client.origin.outcome_failed("CORRUPT")),
        },
        outcome => Err(client.origin.outcome_failed(outcome)),
    }
}

pub(crate) async fn delete(client: &Client, digest: &KeyDigest) -> Result<(), Error> {
    let mut path = RotationPath::from(*digest);
    loop {
        match end(client, path.at(), None).await? {
            Ended::Session(subject) => {
                index::remove(client, subject, path.at()).await;
                return Ok(());
            }
            Ended::Nothing => return Ok(()),
            Ended::Mark(to) => path.follow(to)?,
        }
    }
}

/// One pass over the index is enough. A session that moves meanwhile leaves a mark at
/// the digest that was listed, and Redis keeps marks a minute past their deadline.
pub(crate) async fn revoke(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
) -> Result<Vec<KeyDigest>, Error> {
    let listed = index::entries(client, subject).await?;
    let begin = match which {
        Revoke::One(meant) => vec![meant],
        Revoke::All | Revoke::AllBut(_) => listed.clone(),
    };
    let listed: BTreeSet<KeyDigest> = listed.into_iter().collect();
    let (mut ended, mut failed) = (BTreeSet::new(), None);
    for some in begin.chunks(SESSIONS_AT_ONCE) {
        let each = some
            .iter()
            .map(|first| revoke_from(client, subject, which, *first, &listed));
        for done in join_all(each).await {
            match done {
                Ok(at) => ended.extend(at),
                // A session that cannot be ended spares no other.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(ended.into_iter().collect()),
    }
}

/// Ends the session that stands at an entry or where its marks lead, and answers where.
async fn revoke_from(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
    first: KeyDigest,
    listed: &BTreeSet<KeyDigest>,
) -> Result<Option<KeyDigest>, Error> {
    if !has_settled(client, &first).await? {
        // On its way: it is ended at its old digest, which is listed too.
        return Ok(None);
    }
    let mut path = RotationPath::from(first);
    loop {
        let at = *path.at();
        // Asked after the session was seen here, so that one that was spared at its old
        // digest is not ended at its new one.
        if let Revoke::AllBut(kept) = which
            && is_on_path(client, kept, &at).await?
        {
            return Ok(None);
        }
        match end(client, &at, Some((subject, listed.contains(&at)))).await? {
            Ended::Session(_) => {
                index::remove(client, Some(*subject), &at).await;
                return Ok(Some(at));
            }
            Ended::Nothing => return Ok(None),
            // A session that a mark leads to has arrived.
            Ended::Mark(to) => path.follow(to)?,
        }
    }
}

/// Whether something stands here and is not moving. Where nothing stands, the first step
/// of a rotation may have listed the session: it could arrive between the look whether
/// it is spared and its end.
async fn has_settled(client: &Client, digest: &KeyDigest) -> Result<bool, Error> {
    match read(client, digest).await {
        Ok(Some(StoredValue::Moving { .. })) => Ok(load(client, digest).await?.is_some()),
        Ok(found) => Ok(found.is_some()),
        // A session that cannot be read is ended like the others.
        Err(error) if error.kind() != ErrorKind::Unavailable => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether rotation marks lead from `first` to `at`.
async fn is_on_path(client: &Client, first: KeyDigest, at: &KeyDigest) -> Result<bool, Error> {
    let mut path = RotationPath::from(first);
    while path.at() != at {
        match successor(client, path.at()).await? {
            Some(to) => path.follow(to)?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Where the rotation mark at a digest leads, by its head alone, as scripts read it.
async fn successor(client: &Client, digest: &KeyDigest) -> Result<Option<KeyDigest>, Error> {
    let key = client.session_key(digest);
    let mut call = redis::cmd("GETRANGE");
    call.arg(&key).arg(0).arg(HEAD_BYTES - 1);
    let head: Vec<u8> = client.read(&key, &call).await?;
    value::successor(&head).map_err(|error| error.in_store(NAME))
}
