//! The index of a subject: a sorted set of the digests of its sessions, each by the
//! instant from which Redis may have collected the record.

use cloakroom_core::Error;
use cloakroom_core::store::{KeyDigest, LIST_PAGE_ITEMS_MAX, Record, SubjectDigest, Touch};

use crate::client::{Client, digests};
use crate::scripts;
use crate::value::{collect_at, index_lifetime, lifetime, subject_field};

/// What `PTTL` says of a key that is not there.
const PTTL_NO_KEY: i64 = -2;

/// Entries that a server is asked for in one page of a list. It may answer some more, since
/// it reads whole buckets of a hash table; and it answers a small index whole.
const PAGE_ENTRIES: usize = LIST_PAGE_ITEMS_MAX - 64;

/// A page of entries, and the server's cursor to the next, which is 0 at the end.
pub(crate) async fn page(
    client: &Client,
    subject: &SubjectDigest,
    cursor: u64,
) -> Result<(Vec<KeyDigest>, u64), Error> {
    let key = client.index_key(subject);
    let mut call = redis::cmd("ZSCAN");
    call.arg(&key).arg(cursor).arg("COUNT").arg(PAGE_ENTRIES);
    // Each entry is followed by its score, which is no digest.
    let (next, found): (u64, Vec<Vec<u8>>) = client.read(&key, &call).await?;
    Ok((digests(&found), next))
}

/// The first entries, at one instant.
pub(crate) async fn first(
    client: &Client,
    subject: &SubjectDigest,
    max: usize,
) -> Result<Vec<KeyDigest>, Error> {
    let key = client.index_key(subject);
    let last = max.saturating_sub(1);
    let call = redis::cmd("ZRANGE").arg(&key).arg(0).arg(last).to_owned();
    let found: Vec<Vec<u8>> = client.read(&key, &call).await?;
    Ok(digests(&found))
}

/// Whether the index has an entry of this digest.
pub(crate) async fn has(
    client: &Client,
    subject: &SubjectDigest,
    digest: &KeyDigest,
) -> Result<bool, Error> {
    let key = client.index_key(subject);
    let call = redis::cmd("ZSCORE")
        .arg(&key)
        .arg(digest.to_hex())
        .to_owned();
    let score: Option<String> = client.read(&key, &call).await?;
    Ok(score.is_some())
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
    let mut args: Vec<Vec<u8>> = vec![millis(client.now().as_millis())];
    args.extend(seen.iter().flat_map(|(digest, left)| {
        let left = left.map_or_else(|| "-1".to_owned(), |left| left.to_string());
        [digest.to_hex().into(), left.into()]
    }));
    let keys = [client.index_key(subject)];
    let removed = client.run(&scripts::REMOVE_ORPHANS, &keys, &args);
    if let Err(error) = removed.await {
        tracing::debug!(event = "orphans_stay", %error, "orphans stay in the index of a subject");
    }
}

fn millis(number: u64) -> Vec<u8> {
    number.to_string().into()
}

/// On a single node, where the script that puts a session lists it: the arguments of
/// `list.lua`, which come first.
pub(crate) fn list_args(client: &Client, digest: &KeyDigest, record: &Record) -> Vec<Vec<u8>> {
    let now = client.now();
    vec![
        client.sessions().into(),
        client.indexes().into(),
        digest.to_hex().into(),
        subject_field(record.subject_digest()).into(),
        millis(collect_at(record.expires_at)),
        lifetime(record.expires_at, now).into(),
        index_lifetime(Touch::from(record), now).into(),
        millis(now.as_millis()),
    ]
}

/// In a cluster: lists a session under its subject, before the session is written.
/// Answers entries that are due, for [`check_due`].
pub(crate) async fn add(
    client: &Client,
    subject: &SubjectDigest,
    digest: &KeyDigest,
    touch: Touch,
) -> Result<Vec<KeyDigest>, Error> {
    let now = client.now();
    let args = [
        digest.to_hex().into(),
        millis(collect_at(touch.expires_at)),
        index_lifetime(touch, now).into(),
        millis(now.as_millis()),
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
        tracing::debug!(event = "orphans_stay", %error, "an orphan stays in the index of a subject");
    }
}
