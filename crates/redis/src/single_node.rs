//! The operations on a single node that concern more than one key. Each is one script,
//! and so one step.

use cloakroom_core::store::{
    Ending, KeyDigest, Record, Revision, Revoke, RevokeStep, Stored, SubjectDigest,
};
use cloakroom_core::{Error, Timestamp};

use crate::client::{Client, digests};
use crate::session::{message, tombstone_args};
use crate::value::{self, lifetime, record_begins};
use crate::{index, scripts};

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
    let mut args = index::list_args(client, new, record);
    args.extend([
        record_begins(record.revision).into(),
        client.channel().into(),
        message(old, Revision::LAST),
        message(new, next),
        value::encode(&Stored::Record(record.at_revision(next)))?,
        value::encode(&mark)?,
        lifetime(mark_until, client.now()).into(),
        old.to_hex().into(),
    ]);
    let keys = [client.session_key(old), client.session_key(new)];
    client.run_ok(&scripts::ROTATE, &keys, &args).await?;
    Ok(next)
}

pub(crate) async fn end(
    client: &Client,
    digest: &KeyDigest,
    ending: Option<&Ending>,
) -> Result<(), Error> {
    let keys = [client.session_key(digest)];
    let [tombstone, lifetime] = tombstone_args(client, ending, None)?;
    let args = [
        client.sessions().into(),
        client.indexes().into(),
        digest.to_hex().into(),
        client.channel().into(),
        tombstone,
        lifetime,
    ];
    client.run_ok(&scripts::END, &keys, &args).await?;
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
    ending: Option<&Ending>,
) -> Result<Vec<KeyDigest>, Error> {
    let step = async |which| {
        let [tombstone, lifetime] = tombstone_args(client, ending, Some(*subject))?;
        let (word, digest) = match which {
            Revoke::All => ("all", String::new()),
            Revoke::AllBut(kept) => ("but", kept.to_hex()),
            Revoke::One(meant) => ("one", meant.to_hex()),
        };
        let args = [
            client.sessions().into(),
            client.channel().into(),
            subject.to_hex().into(),
            word.into(),
            digest.into(),
            REVOKE_STEP_MAX.to_string().into(),
            tombstone,
            lifetime,
        ];
        let keys = [client.index_key(subject)];
        let mut reply = client.run_ok(&scripts::REVOKE, &keys, &args).await?;
        let ended = reply.rest.split_off(reply.rest.len().min(2));
        let more = reply.rest.first().is_some_and(|more| more == b"1");
        let named = digests(&reply.rest).pop();
        Ok(RevokeStep {
            ended: digests(&ended),
            which: which.resolved(|digest| Ok::<_, Error>(named.unwrap_or(*digest)))?,
            more,
        })
    };
    which.in_steps(step).await
}
