//! Lists by subject: a sorted set of digests for each, by the instant from which
//! the server may have dropped the record.

use std::collections::BTreeSet;

use cloakroom_core::Error;
use cloakroom_core::store::{
    BoxFuture, KeyDigest, Listed, Record, Revoke, RotationPath, Stored, SubjectDigest, Subjects,
};
use futures_util::future::join_all;

use crate::wire::{Caller, strange};
use crate::{RedisStore, many, one, script};

/// Sessions of a list that are asked for, or ended, at once.
pub(crate) const AT_ONCE: usize = 64;

/// The digests in an index.
pub(crate) async fn entries(caller: &Caller, subject: &str) -> Result<Vec<KeyDigest>, Error> {
    let key = caller.index(subject);
    let call = redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).to_owned();
    let found = caller.read(&key, &call).await?;
    let found: Vec<String> = redis::from_redis_value(found).map_err(|_| strange())?;
    Ok(found
        .iter()
        .filter_map(|hex| KeyDigest::from_hex(hex))
        .collect())
}

/// Takes old entries out of an index, or moves them on, by the milliseconds that
/// their sessions have left. Nothing depends on it but the length of the index.
pub(crate) async fn tidy(caller: &Caller, subject: &str, seen: &[(KeyDigest, Option<u64>)]) {
    if seen.is_empty() {
        return;
    }
    let words: Vec<String> = seen
        .iter()
        .flat_map(|(digest, left)| {
            let left = left.map_or_else(|| "-1".to_owned(), |left| left.to_string());
            [digest.to_hex(), left]
        })
        .collect();
    let args: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let keys = [caller.index(subject)];
    let done = caller.run(&script::TIDY, &keys, &args);
    if let Err(error) = done.await {
        tracing::debug!(%error, "old entries stay in an index");
    }
}

/// What an entry of an index leads to.
enum Standing {
    Nothing,
    /// Something that cannot be read: it is listed nowhere, and keeps its entry,
    /// since a revocation ends it on the word of that.
    Unreadable,
    Session(KeyDigest, Box<Record>),
}

impl RedisStore {
    /// The session that stands at a digest now, or where it has moved.
    async fn standing(&self, digest: KeyDigest) -> Result<Standing, Error> {
        use cloakroom_core::store::SessionStore as _;
        let mut path = RotationPath::from(digest);
        loop {
            match self.load(path.at()).await {
                Ok(Some(Stored::Record(record))) => {
                    return Ok(Standing::Session(*path.at(), Box::new(record)));
                }
                // One too far from here is listed by the entry that it has there.
                Ok(Some(Stored::Rotated { to, .. })) if path.follow(to).is_err() => {
                    return Ok(Standing::Unreadable);
                }
                Ok(Some(Stored::Rotated { .. })) => {}
                Ok(None) => return Ok(Standing::Nothing),
                // One that cannot be read hides no other.
                Err(error) if is_about_one(&error) => return Ok(Standing::Unreadable),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_about_one(error: &Error) -> bool {
    use cloakroom_core::ErrorKind::{Corrupt, TooLarge, Unsupported};
    matches!(error.kind(), Corrupt | Unsupported | TooLarge)
}

impl Subjects for RedisStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let hex = subject.to_hex();
            let entries = entries(&self.caller, &hex).await?;
            let mut listed = Vec::new();
            let mut seen = BTreeSet::new();
            let mut dangling = Vec::new();
            for some in entries.chunks(AT_ONCE) {
                let found = join_all(some.iter().map(|digest| self.standing(*digest))).await;
                for (entry, found) in some.iter().zip(found) {
                    match found? {
                        Standing::Session(digest, record)
                            if record.subject_digest() == Some(*subject) =>
                        {
                            if seen.insert(digest) {
                                listed.push(Listed::new(digest, *record));
                            }
                        }
                        Standing::Session(..) | Standing::Nothing => dangling.push((*entry, None)),
                        Standing::Unreadable => {}
                    }
                }
            }
            tidy(&self.caller, &hex, &dangling).await;
            Ok(listed)
        })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            let hex = subject.to_hex();
            match self.caller.is_one() {
                true => one::revoke(&self.caller, &hex, which).await,
                false => many::revoke(&self.caller, &hex, which).await,
            }
        })
    }
}
