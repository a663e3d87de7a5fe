//! Ending sessions that lie with the visitors, by one number for each subject.

use std::fmt;

use cloakroom_core::store::{
    BoxFuture, Close, Data, KeyDigest, Record, SessionStore, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind, Site, Subject, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::NAME;

/// Ends all sessions of a subject at once.
///
/// Each subject has an epoch, a number that begins at zero. A login seals the present
/// epoch into the cookie, and a cookie with another epoch than its subject's does not
/// open. So "log me out everywhere" is one [`advance`](Self::advance); in return, each
/// request with a session reads one number.
///
/// No epoch may be lost: it would read as zero, and cookies from before the first
/// `advance` would open again until their absolute deadline. A session with a subject
/// therefore needs an absolute deadline: a write without one fails with
/// [`ErrorKind::Misconfigured`], and a cookie without one does not open.
///
/// Where an epoch cannot be read, nobody can tell whether the cookie is revoked: the
/// store answers [`ErrorKind::Unavailable`], and the engine 500.
pub trait Revocation: Send + Sync + fmt::Debug + 'static {
    /// The present epoch of a subject at a site; zero where there has been no `advance`.
    /// Whoever knows their subjects by one number, whatever the site, may pass over the site.
    ///
    /// # Errors
    /// Any, where the epoch cannot be read: never a guess.
    fn epoch<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<u64, Error>>;

    /// Begins the next epoch: once this returns, no session of the subject opens
    /// that was issued before the call.
    ///
    /// # Errors
    /// Any, where it may not have happened; calling again is always safe.
    fn advance<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// How to let go of what keeps the epochs, where it holds a file open. The cookie store
    /// is closed by it.
    fn close(&self) -> Option<&dyn Close> {
        None
    }
}

/// Is hashed before a subject, so that no epoch stands under the digest of a session.
const DIGEST_DOMAIN: &[u8] = b"cloakroom/cookie/epoch/v1\0";

/// Epochs in a [`SessionStore`] that evicts nothing.
///
/// An epoch is a record that never expires, under SHA-256 of
/// `"cloakroom/cookie/epoch/v1\0"` and the [`SubjectDigest`], so that the epochs of two
/// sites over one store are apart; its data is the number, 8 bytes, little-endian. The
/// subject itself is not stored. The store may hold sessions too; a scan of it shows
/// epochs as records that never expire.
#[derive(Debug)]
pub struct EpochStore<S>(S);

impl<S: SessionStore> EpochStore<S> {
    /// Epochs in a store that keeps every record until it expires or is deleted, also
    /// when the process ends: an embedded or an SQL database. **The in-memory store and
    /// a Redis that may evict are not such stores**: they lose epochs, and revoked
    /// cookies open again. Put no cache in front of it either: a stale epoch opens what
    /// was just revoked.
    pub fn in_non_evicting(store: S) -> Self {
        Self(store)
    }

    fn digest(site: &Site, subject: &Subject) -> KeyDigest {
        let mut hash = Sha256::new();
        hash.update(DIGEST_DOMAIN);
        hash.update(SubjectDigest::new(site, subject).as_bytes());
        KeyDigest::from_bytes(hash.finalize().into())
    }

    async fn load(&self, digest: &KeyDigest) -> Result<Option<(u64, Record)>, Error> {
        let record = match self.0.load(digest).await? {
            None => return Ok(None),
            Some(Stored::Record(record)) => record,
            Some(Stored::Rotated { .. } | Stored::Ended(_)) => return Err(not_an_epoch()),
        };
        let epoch = record.data.as_bytes().try_into();
        let epoch = u64::from_le_bytes(epoch.map_err(|_| not_an_epoch())?);
        Ok(Some((epoch, record)))
    }

    async fn next(&self, site: &Site, subject: &Subject) -> Result<(), Error> {
        let digest = Self::digest(site, subject);
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

fn not_an_epoch() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the record under a subject's epoch digest is not an epoch, or was damaged; deleting it \
         would open revoked cookies again",
    )
}

/// Whatever failed: it is unknown whether a cookie is revoked, so none may open.
pub(crate) fn unavailable(source: Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the store of epochs failed, so whether a cookie is revoked is unknown and none opens: \
         check that store",
    )
    .in_store(NAME)
    .with_source(source)
}

impl<S: SessionStore + fmt::Debug> Revocation for EpochStore<S> {
    fn epoch<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let found = self.load(&Self::digest(site, subject)).await;
            let found = found.map_err(unavailable)?;
            Ok(found.map_or(0, |(epoch, _)| epoch))
        })
    }

    fn advance<'a>(
        &'a self,
        site: &'a Site,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.next(site, subject).await.map_err(unavailable) })
    }

    fn close(&self) -> Option<&dyn Close> {
        self.0.capabilities().close
    }
}
