//! The operations on a single node that concern more than one key. Each is one script,
//! and so one step.

use cloakroom_core::store::{
    KeyDigest, Record, Revision, Revoke, RevokeStep, Stored, SubjectDigest,
};
use cloakroom_core::{Error, Timestamp};

use crate::client::{Client, digests};
use crate::scripts;
use crate::value::{self, digits, keep_until, subject_field, ttl};

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

/// Sessions that one script ends: every other call to the server waits for it, two
/// milliseconds.
const REVOKE_STEP_MAX: usize = 128;

/// The last step sees the whole index, and no rotation comes between the steps of a script.
pub(crate) async fn revoke(
    client: &Client,
    subject: &SubjectDigest,
    which: Revoke,
) -> Result<Vec<KeyDigest>, Error> {
    let step = async |which| {
        let (word, digest) = match which {
            Revoke::All => ("all", String::new()),
            Revoke::AllBut(kept) => ("but", kept.to_hex()),
            Revoke::One(meant) => ("one", meant.to_hex()),
        };
        let args = [
            subject.to_hex().into(),
            word.into(),
            digest.into(),
            REVOKE_STEP_MAX.to_string().into(),
        ];
        let keys = [client.index_key(subject)];
        let mut reply = client.run_ok(&scripts::REVOKE, &keys, &args).await?;
        let ended = reply.rest.split_off(reply.rest.len().min(2));
        let named = reply.rest.get(1).and_then(|hex| KeyDigest::from_hex(hex));
        Ok(RevokeStep {
            ended: digests(&ended),
            which: which.resolved(|digest| Ok::<_, Error>(named.unwrap_or(*digest)))?,
            more: reply.rest.first().is_some_and(|more| more == "1"),
        })
    };
    which.in_steps(step).await
}
