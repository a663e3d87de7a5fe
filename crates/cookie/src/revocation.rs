//! Taking back what lies with the visitors: one number for each subject.

use std::fmt;

use cloakroom_core::store::{BoxFuture, Data, KeyDigest, Record, SessionStore, Stored};
use cloakroom_core::{Error, ErrorKind, Subject, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::NAME;

/// Ends all sessions of a subject that were issued until now.
///
/// Each subject has an epoch, a number that begins at zero. It is sealed into
/// each cookie at login, and a cookie whose epoch is not its subject's does not
/// open. So "log me out everywhere" is one [`advance`](Self::advance), and costs
/// one read of a number for each request with a session.
///
/// What keeps the epochs must keep them: where one is lost it reads as zero, and
/// cookies of before the first `advance` open again, until their absolute
/// deadline. That deadline is therefore mandatory for a session with a subject:
/// a write without one fails with [`ErrorKind::Misconfigured`], and a cookie
/// without one does not open.
///
/// Where the epochs cannot be read, nobody can tell whether a cookie is still
/// good: the store answers [`ErrorKind::Unavailable`], and the engine 500.
pub trait Revocation: Send + Sync + fmt::Debug + 'static {
    /// The subject's present epoch; zero where there has been no `advance`.
    ///
    /// # Errors
    /// Any, where it cannot be told: never a guess.
    fn epoch<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<u64, Error>>;

    /// Begins the next epoch: once this returns, no session of the subject opens
    /// that was issued before the call.
    ///
    /// # Errors
    /// Any, where it may not have happened; calling again is always safe.
    fn advance<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), Error>>;
}

/// What is hashed before a subject, so that an epoch stands under no digest of a
/// session.
const DIGEST_DOMAIN: &[u8] = b"cloakroom/cookie/epoch/v1\0";

/// Epochs in a [`SessionStore`] that evicts nothing.
///
/// An epoch is a record that never expires, under SHA-256 of
/// `"cloakroom/cookie/epoch/v1\0"` and the subject; its data is the number, 8
/// bytes, little-endian. The subject's name is not stored. It may be a store of
/// sessions too; a list of those shows epochs as records that never expire.
#[derive(Debug)]
pub struct EpochStore<S>(S);

impl<S: SessionStore> EpochStore<S> {
    /// Epochs in a store that keeps every record until it expires or is
    /// deleted, also when the process ends: an embedded or an SQL database. **The
    /// in-memory store and a Redis that may evict are not such stores**: they
    /// forget an epoch when room is short, and revoked cookies open again. Put no
    /// cache before it either: a stale epoch opens what was just revoked.
    pub fn in_non_evicting(store: S) -> Self {
        Self(store)
    }

    async fn load(&self, digest: &KeyDigest) -> Result<Option<(u64, Record)>, Error> {
        let record = match self.0.load(digest).await? {
            None => return Ok(None),
            Some(Stored::Record(record)) => record,
            Some(Stored::Rotated { .. }) => return Err(not_an_epoch()),
        };
        let epoch = record.data.as_bytes().try_into();
        let epoch = u64::from_le_bytes(epoch.map_err(|_| not_an_epoch())?);
        Ok(Some((epoch, record)))
    }

    async fn next(&self, subject: &Subject) -> Result<(), Error> {
        let digest = digest(subject);
        let written = match self.load(&digest).await? {
            None => {
                let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
                record.data = Data::from_bytes(1_u64.to_le_bytes());
                self.0.create(&digest, &record).await
            }
            Some((epoch, mut record)) => {
                let next = epoch.checked_add(1).ok_or_else(not_an_epoch)?;
                record.data = Data::from_bytes(next.to_le_bytes());
                self.0.update(&digest, &record).await
            }
        };
        match written {
            Ok(_) => Ok(()),
            // Another call has advanced it since this one began.
            Err(error) if matches!(error.kind(), ErrorKind::Exists | ErrorKind::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn digest(subject: &Subject) -> KeyDigest {
    let mut hash = Sha256::new();
    hash.update(DIGEST_DOMAIN);
    hash.update(subject.as_str().as_bytes());
    KeyDigest::from_bytes(hash.finalize().into())
}

fn not_an_epoch() -> Error {
    Error::new(ErrorKind::Corrupt, "what stands there is not an epoch")
}

/// Whatever the kind, the answer to whether a cookie is still good is missing.
pub(crate) fn unavailable(source: Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the epochs of subjects cannot be told",
    )
    .in_store(NAME)
    .with_source(source)
}

impl<S: SessionStore + fmt::Debug> Revocation for EpochStore<S> {
    fn epoch<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let found = self.load(&digest(subject)).await.map_err(unavailable)?;
            Ok(found.map_or(0, |(epoch, _)| epoch))
        })
    }

    fn advance<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.next(subject).await.map_err(unavailable) })
    }
}
