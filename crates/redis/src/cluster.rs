//! The operations in a cluster that concern more than one key. A session lies in one
//! slot, the index of its subject in another: the steps are ordered so that a crash
//! between two of them does no harm. The crate's first page shows the order.

use std::collections::BTreeSet;

use cloakroom_core::store::{
    Ending, KeyDigest, Record, Revision, Revoke, RotationPath, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_util::future::{join, join_all};

use crate::client::Client;
use crate::errors::NAME;
use crate::session::{
    after_write, finish_rotation, list, load, message, put_value, read, tombstone_args,
};
use crate::value::{self, HEAD_BYTES, StoredValue, lifetime, record_begins};
use crate::{index, scripts};

/// Sessions of a subject that are read, or ended, at once.
pub(crate) const SESSIONS_AT_ONCE: usize = 64;

const NOT_FINISHED: &str = "the session has moved, but is not yet marked as arrived: the next \
                            request with its new key does that";

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
    if !put_value(client, new, &value, record.expires_at).await? {
        // As on a single node, an old session that is gone or changed is said first.
        return Err(match read(client, old).await? {
            Some(StoredValue::Complete(Stored::Record(there))) => {
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
        record_begins(record.revision).into(),
        client.channel().into(),
        message(old, Revision::LAST),
        value::encode(&mark)?,
        lifetime(mark_until, client.now()).into(),
    ];
    let keys = [client.session_key(old)];
    let reply = client.run(&scripts::ROTATE_MARK, &keys, &args).await?;
    if reply.outcome != "OK" {
        // The moving session opens nothing, and expires at the latest.
        let keys = [client.session_key(new)];
        if let Err(error) = client.run(&scripts::ROTATE_CANCEL, &keys, &[]).await {
            tracing::debug!(event = "refused_rotation_stays", %error, "the moving session of a refused rotation stays a while");
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
async fn end_one(
    client: &Client,
    digest: &KeyDigest,
    of: Option<(&SubjectDigest, bool)>,
    ending: Option<&Ending>,
) -> Result<Ended, Error> {
    let [tombstone, lifetime] = tombstone_args(client, ending, of.map(|(subject, _)| *subject))?;
    let args = [
        client.channel().into(),
        message(digest, Revision::LAST),
        of.map_or_else(String::new, |(subject, _)| subject.to_hex())
            .into(),
        match of {
            Some((_, true)) => b"1".into(),
            _ => b"0".into(),
        },
        tombstone,
        lifetime,
    ];
    let keys = [client.session_key(digest)];
    let reply = client.run(&scripts::END_ONE, &keys, &args).await?;
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

pub(crate) async fn end(
    client: &Client,
    digest: &KeyDigest,
    ending: Option<&Ending>,
) -> Result<(), Error> {
    let mut path = RotationPath::from(*digest);
    loop {
        match end_one(client, path.at(), None, ending).await? {
            Ended::Session(subject) => {
                index::remove(client, subject, path.at()).await;
                return Ok(());
            }
            Ended::Nothing => return Ok(()),
            Ended::Mark(to) => path.follow(to)?,
        }
    }
}

/// Entries of an index that one step of a revocation reads.
const REVOKE_STEP_MAX: usize = 1_024;

/// Ended sessions leave the index, so each step reads its first entries, until one reads
/// all that are left. One pass over those is enough: a session that moves meanwhile leaves
/// a mark at the digest that was listed, and Redis keeps marks a minute past their
/// deadline.
pub(crate) async fn revoke(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
    ending: Option<&Ending>,
) -> Result<Vec<KeyDigest>, Error> {
    if let Revoke::One(meant) = which {
        let none = BTreeSet::new();
        let ended = revoke_from(client, subject, which, ending, meant, &none).await?;
        return Ok(ended.into_iter().collect());
    }
    let (mut ended, mut failed) = (BTreeSet::new(), None);
    // Entries that were looked at and have stayed.
    let mut stayed = BTreeSet::new();
    let mut is_last = false;
    while !is_last {
        let before = ended.len();
        let max = REVOKE_STEP_MAX + stayed.len();
        let listed = match index::first(client, subject, max).await {
            Ok(listed) => BTreeSet::from_iter(listed),
            Err(error) => return Err(Revoke::cut_short(error, ended.len())),
        };
        is_last = listed.len() < max;
        let is_due = |entry: &&KeyDigest| is_last || !stayed.contains(*entry);
        let due: Vec<KeyDigest> = listed.iter().filter(is_due).copied().collect();
        for some in due.chunks(SESSIONS_AT_ONCE) {
            let each = some
                .iter()
                .map(|first| revoke_from(client, subject, which, ending, *first, &listed));
            for (entry, done) in some.iter().zip(join_all(each).await) {
                match done {
                    Ok(Some(at)) if at == *entry => drop(ended.insert(at)),
                    Ok(at) => {
                        ended.extend(at);
                        stayed.insert(*entry);
                    }
                    // A session that cannot be ended spares no other.
                    Err(error) => {
                        stayed.insert(*entry);
                        failed = Some(error);
                    }
                }
            }
        }
        if ended.len() == before && failed.is_some() {
            break;
        }
        // The last step asks all that have stayed once more.
        if !is_last {
            failed = None;
        }
    }
    match failed {
        Some(error) => Err(Revoke::cut_short(error, ended.len())),
        None => Ok(ended.into_iter().collect()),
    }
}

/// Ends the session that stands at an entry or where its marks lead, and answers where.
async fn revoke_from(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
    ending: Option<&Ending>,
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
        let is_listed = match which {
            Revoke::One(_) => index::has(client, subject, &at).await?,
            Revoke::All | Revoke::AllBut(_) => listed.contains(&at),
        };
        let ended = match end_one(client, &at, Some((subject, is_listed)), ending).await {
            // A damaged mark is no session; the one that it led to is listed itself.
            Err(error)
                if error.kind() == ErrorKind::Corrupt && !matches!(which, Revoke::One(_)) =>
            {
                return Ok(None);
            }
            ended => ended?,
        };
        match ended {
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
