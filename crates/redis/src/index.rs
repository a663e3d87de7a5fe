//! The index of a subject: a sorted set of the digests of its sessions, each by the
//! instant from which Redis may have collected the record.

use cloakroom_core::Error;
use cloakroom_core::store::{KeyDigest, SubjectDigest, Touch};

use crate::client::Client;
use crate::scripts;
use crate::value::{keep_until, ttl};

/// What `PTTL` says of a key that is not there.
const PTTL_NO_KEY: i64 = -2;

pub(crate) async fn entries(
    client: &Client,
    subject: &SubjectDigest,
) -> Result<Vec<KeyDigest>, Error> {
    let key = client.index_key(subject);
    let call = redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).to_owned();
    let found: Vec<String> = client.read(&key, &call).await?;
    let digests = found.iter().filter_map(|hex| KeyDigest::from_hex(hex));
    Ok(digests.collect())
}

/// Removes entries that are due, or moves them on, by the milliseconds that their
/// sessions have left. Only the length of the index depends on it, so an error is no
/// more than an event.
pub(crate) async fn remove_orphans(
    client: &Client,
    subject: &SubjectDigest,
    seen: &[(KeyDigest, Option<u64>)],
) {
    if seen.is_empty() {
        return;
    }
    let args: Vec<Vec<u8>> = seen
        .iter()
        .flat_map(|(digest, left)| {
            let left = left.map_or_else(|| "-1".to_owned(), |left| left.to_string());
            [digest.to_hex().into(), left.into()]
        })
        .collect();
    let keys = [client.index_key(subject)];
    let removed = client.run(&scripts::REMOVE_ORPHANS, &keys, &args);
    if let Err(error) = removed.await {
        tracing::debug!(%error, "orphans stay in the index of a subject");
    }
}

/// In a cluster: lists a session under its subject, before the session is written.
/// Answers entries that are due, for [`check_due`].
pub(crate) async fn add(
    client: &Client,
    subject: &SubjectDigest,
    digest: &KeyDigest,
    touch: Touch,
) -> Result<Vec<KeyDigest>, Error> {
    let args = [
        digest.to_hex().into(),
        ttl(touch.expires_at).into(),
        keep_until(touch.last_seen_at, touch.expires_at).into(),
    ];
    let keys = [client.index_key(subject)];
    let reply = client.run_ok(&scripts::INDEX_ADD, &keys, &args).await?;
    Ok(reply.digests())
}

/// In a cluster: looks whether the sessions of entries that are due still stand.
pub(crate) async fn check_due(client: &Client, subject: &SubjectDigest, due: Vec<KeyDigest>) {
    let mut seen = Vec::with_capacity(due.len());
    for digest in due {
        let key = client.session_key(&digest);
        match client.read(&key, redis::cmd("PTTL").arg(&key)).await {
            Ok(PTTL_NO_KEY) => seen.push((digest, None)),
            // A record without a TTL stands for good, and so does its entry.
            Ok(left) => seen.extend(u64::try_from(left).map(|left| (digest, Some(left)))),
            Err(_) => return,
        }
    }
    remove_orphans(client, subject, &seen).await;
}

/// In a cluster: removes the entry of a session that is gone. An entry that stays is an
/// orphan: lists pass it over, and it is removed when it is due.
pub(crate) async fn remove(client: &Client, subject: Option<SubjectDigest>, digest: &KeyDigest) {
    let Some(subject) = subject else { return };
    let key = client.index_key(&subject);
    let mut call = redis::cmd("ZREM");
    call.arg(&key).arg(digest.to_hex());
    // Removing it twice does no harm, so the call may be retried like a read.
    if let Err(error) = client.read::<i64>(&key, &call).await {
        tracing::debug!(%error, "an orphan stays in the index of a subject");
    }
}
