//! How one session moves. The first page of the crate says why each step is safe.

use cloakroom_core::store::{
    KeyDigest, Listed, Record, Revision, RotationPath, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::{Migrating, importing, is_unreadable};

/// How often a session is looked at that others write to in the former store, before the
/// answer is `Unavailable`. Each look finds that another write has come between.
const LOOKS_MAX: usize = 32;

/// The flag of a frozen session and of a claim, in the count of flushes: no session is
/// flushed two thousand million times.
const FLAG: u32 = 1 << 31;

/// Where a session is frozen in the former store, and claimed in the new one. It leads
/// both ways.
pub(crate) fn inverted(digest: &KeyDigest) -> KeyDigest {
    KeyDigest::from_bytes(digest.as_bytes().map(|byte| !byte))
}

/// Whether this is a frozen session or a claim.
pub(crate) fn is_flagged(record: &Record) -> bool {
    record.flushes & FLAG != 0
}

fn previous(revision: Revision) -> Revision {
    Revision::from_u64(revision.as_u64().wrapping_sub(1))
}

/// The session of a frozen record, at the revision that it had: the rotation to where it
/// is frozen has counted as a write.
pub(crate) fn thawed(frozen: &Record) -> Record {
    let mut record = frozen.at_revision(previous(frozen.revision));
    record.flushes &= !FLAG;
    record
}

/// What stands in the former store, as its owner knows it: where, and what. `None` for the
/// rotation mark of a freeze.
pub(crate) fn as_known(digest: KeyDigest, stored: Stored) -> Option<(KeyDigest, Stored)> {
    match stored {
        Stored::Record(record) if is_flagged(&record) => {
            Some((inverted(&digest), Stored::Record(thawed(&record))))
        }
        Stored::Rotated { to, .. } if to == inverted(&digest) => None,
        stored => Some((digest, stored)),
    }
}

/// Where a session that the former store lists is, as its owner knows it.
pub(crate) fn known_place(listed: &Listed) -> KeyDigest {
    match is_flagged(&listed.record) {
        true => inverted(&listed.digest),
        false => listed.digest,
    }
}

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// Moves the session at a digest to the new store, if it is in the former one, or a
    /// rotation mark. Afterwards the former store has no session there.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` where the former store has something there that cannot
    /// be read; `Unavailable` where either store is.
    pub(crate) async fn settle(&self, digest: &KeyDigest) -> Result<(), Error> {
        let frozen_at = inverted(digest);
        for _ in 0..LOOKS_MAX {
            match self.from.load(digest).await? {
                Some(Stored::Record(record)) => match self.freeze(digest, &record).await {
                    Ok(()) => {
                        self.take_over(digest, &record).await?;
                        return self.from.delete(&frozen_at).await;
                    }
                    // Another write has come between.
                    Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Conflict) => {
                        continue;
                    }
                    // Half a rotation, which a crash has left: the record counts, and both
                    // of its places are cleared.
                    Err(error) if error.kind() == ErrorKind::Exists => {
                        self.take_over(digest, &record).await?;
                        self.from.delete(digest).await?;
                        return self.from.delete(&frozen_at).await;
                    }
                    Err(error) => return Err(error),
                },
                Some(Stored::Rotated { to, .. }) if to == frozen_at => {}
                Some(stays) => {
                    importing(&self.to)?.import(digest, &stays).await?;
                    return match stays {
                        Stored::Ended(_) => self.from.delete(digest).await,
                        _ => Ok(()),
                    };
                }
                None => {}
            }
            // The order of these two looks counts: a session that is frozen meanwhile is
            // seen by the second.
            return match self.from.load(&frozen_at).await? {
                Some(Stored::Record(frozen)) if is_flagged(&frozen) => {
                    self.take_over(digest, &thawed(&frozen)).await?;
                    self.from.delete(&frozen_at).await
                }
                _ => Ok(()),
            };
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the session is written to in the former store each time that it is to be moved to \
             the new one; try again",
        ))
    }

    /// Takes the session from all who write to it in the former store. The rotation mark
    /// is due at once, since nobody needs it.
    async fn freeze(&self, digest: &KeyDigest, record: &Record) -> Result<(), Error> {
        let mut frozen = record.clone();
        frozen.flushes |= FLAG;
        let frozen_at = inverted(digest);
        let rotated = self
            .from
            .rotate(digest, &frozen_at, &frozen, Timestamp::EPOCH);
        rotated.await.map(|_| ())
    }

    /// Puts a session into the new store, unless that has happened before.
    async fn take_over(&self, digest: &KeyDigest, record: &Record) -> Result<(), Error> {
        let claim_at = inverted(digest);
        let mut claim = Record::new(record.created_at, record.expires_at);
        claim.revision = previous(record.revision);
        claim.flushes = FLAG;
        let stored = Stored::Record(claim.clone());
        importing(&self.to)?.import(&claim_at, &stored).await?;
        let committed = async |based_on: Revision| {
            let record = record.at_revision(based_on);
            let until = record.expires_at;
            self.to.rotate(&claim_at, digest, &record, until).await
        };
        let mut done = committed(claim.revision).await;
        if kind_of(&done) == Some(ErrorKind::Conflict)
            && let Some(Stored::Record(other)) = self.to.load(&claim_at).await?
        {
            if other.revision > record.revision {
                return Err(same_store());
            }
            // The claim of who has read an older state, where half a rotation was left and
            // written to.
            claim.revision = other.revision;
            done = committed(claim.revision).await;
        }
        match done {
            Ok(_) => self.verify(digest, record).await,
            // It has moved before.
            Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
            Err(error) if error.kind() == ErrorKind::Exists => {
                self.spend_claim(&claim_at, &claim).await
            }
            Err(error) => Err(error),
        }
    }

    /// The new store has a session there that did not move from the former one, and it
    /// counts. A rotation mark takes the place of the claim all the same, so that nobody
    /// moves the former one when this has ended.
    async fn spend_claim(&self, claim_at: &KeyDigest, claim: &Record) -> Result<(), Error> {
        // Another digest of no key that anybody knows.
        let spent_at = KeyDigest::from_bytes(claim_at.as_bytes().map(|byte| byte ^ 0x55));
        let until = claim.expires_at;
        let spent = self.to.rotate(claim_at, &spent_at, claim, until).await;
        self.to.delete(&spent_at).await?;
        match spent {
            Err(error) if error.kind() != ErrorKind::Gone => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the new store for what was just written to it. Whoever has moved on from there
    /// has read it.
    async fn verify(&self, digest: &KeyDigest, record: &Record) -> Result<(), Error> {
        let Some(Stored::Record(mut found)) = self.to.load(digest).await? else {
            return Ok(());
        };
        let uses = Touch::from(record);
        let is_later = Touch::from(&found).later(uses) == Touch::from(&found);
        found.last_seen_at = record.last_seen_at;
        found.expires_at = record.expires_at;
        if found.revision == record.revision && !(is_later && found == *record) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the new store does not answer what was written to it for the session {}; \
                     the former store keeps it",
                    digest.short()
                ),
            ));
        }
        Ok(())
    }

    /// Follows rotation marks from a digest, and settles each; answers where they lead,
    /// and whether the former store has something there that cannot be read.
    pub(crate) async fn settle_along(
        &self,
        digest: &KeyDigest,
    ) -> Result<(KeyDigest, bool), Error> {
        let mut path = RotationPath::from(*digest);
        loop {
            let is_unreadable_here = match self.settle(path.at()).await {
                Err(error) if is_unreadable(&error) => true,
                settled => {
                    settled?;
                    false
                }
            };
            match self.to.load(path.at()).await {
                Ok(Some(Stored::Rotated { to, .. })) => path.follow(to)?,
                Err(error) if !is_unreadable(&error) => return Err(error),
                _ => return Ok((*path.at(), is_unreadable_here)),
            }
        }
    }
}

/// What stands where a claim should is the session that was frozen just now.
fn same_store() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the store to move sessions from and the one to move them to are the same: give the new \
         one a table, a file or a prefix of its own",
    )
}

fn kind_of<T>(result: &Result<T, Error>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}
