//! The steps of a transaction over the three trees.

use cloakroom_core::Error;
use cloakroom_core::Timestamp;
use cloakroom_core::store::{Ending, KeyDigest, RotationPath, Stored, SubjectDigest, Tombstone};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionalTree,
};

use crate::error::unavailable;
use crate::layout::{Row, expiry_key, parse_subject, subject_bytes, subject_key};

/// The trees inside a transaction.
pub(crate) struct Transaction<'t> {
    pub(crate) records: &'t TransactionalTree,
    pub(crate) expiry: &'t TransactionalTree,
    pub(crate) subjects: &'t TransactionalTree,
}

/// What a step answers. An error ends the transaction, with nothing written.
pub(crate) type Step<T> = ConflictableTransactionResult<T, Error>;

pub(crate) fn abort(error: impl Into<Error>) -> ConflictableTransactionError<Error> {
    ConflictableTransactionError::Abort(error.into())
}

impl Transaction<'_> {
    /// The row under a digest. The inner error is for one that is too short to be a row.
    pub(crate) fn row(&self, digest: &KeyDigest) -> Step<Result<Option<Row>, Error>> {
        let bytes = self.records.get(digest.as_bytes())?;
        Ok(bytes.map(Row::read).transpose())
    }

    /// Writes a row and its entries, in place of the row that was there.
    pub(crate) fn put(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        subject: Option<SubjectDigest>,
        replaced: Option<&Row>,
    ) -> Step<()> {
        let old_subject = match replaced {
            Some(replaced) => self.remove_expiry_entry(digest, replaced)?,
            None => None,
        };
        if old_subject != subject {
            self.remove_subject_entry(old_subject, digest)?;
            if let Some(subject) = &subject {
                self.subjects
                    .insert(&subject_key(subject, digest)[..], &[])?;
            }
        }
        self.put_at(digest, deadline, frame, subject)
    }

    /// Moves the entry of a row in `expiry` to another deadline.
    pub(crate) fn move_expiry_entry(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        row: &Row,
    ) -> Step<()> {
        let subject = self.remove_expiry_entry(digest, row)?;
        self.put_at(digest, deadline, row.frame(), subject)
    }

    fn put_at(
        &self,
        digest: &KeyDigest,
        deadline: Timestamp,
        frame: &[u8],
        subject: Option<SubjectDigest>,
    ) -> Step<()> {
        let key = expiry_key(deadline, digest);
        self.expiry.insert(&key[..], subject_bytes(&subject))?;
        let row = Row::encode(deadline, frame);
        self.records.insert(digest.as_bytes(), row)?;
        Ok(())
    }

    /// Removes a row and its entries.
    pub(crate) fn remove(&self, digest: &KeyDigest, row: &Row) -> Step<()> {
        self.records.remove(digest.as_bytes())?;
        let subject = self.remove_expiry_entry(digest, row)?;
        self.remove_subject_entry(subject, digest)
    }

    /// Puts a tombstone in the place of a row, or removes the row.
    pub(crate) fn end_row(
        &self,
        digest: &KeyDigest,
        row: &Row,
        left: Option<Tombstone>,
    ) -> Step<()> {
        match left {
            Some(tombstone) => self.put_tombstone(digest, tombstone, Some(row)),
            None => self.remove(digest, row),
        }
    }

    /// A tombstone is in no index by subject, whosever session it is of.
    fn put_tombstone(
        &self,
        digest: &KeyDigest,
        tombstone: Tombstone,
        replaced: Option<&Row>,
    ) -> Step<()> {
        let until = tombstone.until;
        let frame = Stored::Ended(tombstone).encode().map_err(abort)?;
        self.put(digest, until, &frame, None, replaced)
    }

    /// Removes the entry of a row in `expiry`, and answers whose record the row is. Where
    /// no entry stands at the deadline that the row says, the frame tells whose it is, and
    /// a sweep comes to the entry.
    fn remove_expiry_entry(&self, digest: &KeyDigest, row: &Row) -> Step<Option<SubjectDigest>> {
        let removed = self
            .expiry
            .remove(&expiry_key(row.indexed_at, digest)[..])?;
        Ok(match removed {
            Some(subject) => parse_subject(&subject),
            None => row.subject().unwrap_or_default(),
        })
    }

    fn remove_subject_entry(&self, subject: Option<SubjectDigest>, digest: &KeyDigest) -> Step<()> {
        if let Some(subject) = subject {
            self.subjects.remove(&subject_key(&subject, digest)[..])?;
        }
        Ok(())
    }

    /// Whether the entry in `expiry` at this deadline belongs to the row: it is where the
    /// row says, or no entry is there and this one was found.
    pub(crate) fn is_entry_of(
        &self,
        deadline: Timestamp,
        digest: &KeyDigest,
        row: &Row,
    ) -> Step<bool> {
        let said = expiry_key(row.indexed_at, digest);
        Ok(row.indexed_at == deadline || self.expiry.get(&said[..])?.is_none())
    }

    /// Removes an entry of `expiry` that belongs to no row, and the entry in `subjects`
    /// of the subject that it holds, unless that one belongs to the row.
    pub(crate) fn remove_orphan(
        &self,
        deadline: Timestamp,
        digest: &KeyDigest,
        row: Option<&Row>,
    ) -> Step<()> {
        let removed = self.expiry.remove(&expiry_key(deadline, digest)[..])?;
        let subject = removed.and_then(|subject| parse_subject(&subject));
        if row.is_some_and(|row| row.may_be_of(subject)) {
            return Ok(());
        }
        self.remove_subject_entry(subject, digest)
    }

    /// Follows rotation marks to the session that is to be ended. A row that cannot be
    /// read is taken for that session.
    pub(crate) fn session_to_end(&self, digest: &KeyDigest) -> Step<KeyDigest> {
        self.resolve_rotations(digest, |at| match self.row(at)? {
            Ok(Some(row)) => Stored::moved_to(row.frame()).map_err(abort),
            Ok(None) | Err(_) => Ok(None),
        })
    }

    /// Follows rotation marks to the session that is to be spared. A row that cannot be
    /// read may be a mark that leads to it: then nobody knows which session that is.
    pub(crate) fn session_to_spare(&self, digest: &KeyDigest) -> Step<KeyDigest> {
        self.resolve_rotations(digest, |at| {
            self.mark(at)?.map_err(|error| {
                let message = format!(
                    "cannot find the session that is to be spared, since a record on the way to \
                     it cannot be read: {error}; no more sessions were ended"
                );
                abort(unavailable(message).with_source(error))
            })
        })
    }

    /// As [`Stored::resolve_rotations`], whose errors cannot be a transaction's.
    fn resolve_rotations(
        &self,
        digest: &KeyDigest,
        mark: impl Fn(&KeyDigest) -> Step<Option<KeyDigest>>,
    ) -> Step<KeyDigest> {
        let mut path = RotationPath::from(*digest);
        while let Some(to) = mark(path.at())? {
            path.follow(to).map_err(abort)?;
        }
        Ok(*path.at())
    }

    /// Where the rotation mark under a digest leads. The inner error is for a row that
    /// cannot be read.
    fn mark(&self, digest: &KeyDigest) -> Step<Result<Option<KeyDigest>, Error>> {
        let row = self.row(digest)?;
        let stored = row.and_then(|row| row.map(|row| Stored::decode(row.frame())).transpose());
        Ok(stored.map(|stored| match stored {
            Some(Stored::Rotated { to, .. }) => Some(to),
            _ => None,
        }))
    }

    /// Ends the session under a digest, and answers whether there was one.
    pub(crate) fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Step<bool> {
        let tombstone = |frame: &[u8]| ending.map(|ending| Tombstone::of_frame(frame, ending));
        match self.row(digest)? {
            Ok(None) => return Ok(false),
            // The first end is the one that counts.
            Ok(Some(row)) if ending.is_some() && row.is_tombstone() => return Ok(false),
            Ok(Some(row)) => self.end_row(digest, &row, tombstone(row.frame()))?,
            // It does not say where its entry is: a sweep removes the orphan.
            Err(_) => match tombstone(&[]) {
                Some(tombstone) => self.put_tombstone(digest, tombstone, None)?,
                None => drop(self.records.remove(digest.as_bytes())?),
            },
        }
        Ok(true)
    }

    /// Ends the session under a digest if it is listed for the subject and is theirs,
    /// and answers whether it did.
    pub(crate) fn end_of(
        &self,
        subject: &SubjectDigest,
        digest: &KeyDigest,
        ending: Option<&Ending>,
    ) -> Step<bool> {
        let entry = subject_key(subject, digest);
        if self.subjects.get(&entry[..])?.is_none() {
            return Ok(false);
        }
        let is_theirs = match self.row(digest)? {
            Ok(row) => row.is_some_and(|row| row.may_be_of(Some(*subject))),
            Err(_) => true,
        };
        self.subjects.remove(&entry[..])?;
        Ok(is_theirs && self.end(digest, ending)?)
    }
}
