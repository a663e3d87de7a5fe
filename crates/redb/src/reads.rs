//! Reads, each on a snapshot of its own.

use std::ops::Bound::{Excluded, Unbounded};

use cloakroom_core::Error;
use cloakroom_core::store::{
    KeyDigest, ListPage, Listed, ScanCursor, ScanPage, Scanned, Stored, SubjectDigest,
};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _};

use crate::stored_frame::decode;
use crate::tables::{
    DEADLINES, DigestBytes, FIRST_DIGEST, LAST_DIGEST, RECORDS, RecordKey, SUBJECTS, TableError,
};

struct Snapshot {
    transaction: ReadTransaction,
    deadlines: ReadOnlyTable<DigestBytes, u64>,
    records: ReadOnlyTable<RecordKey, &'static [u8]>,
}

impl Snapshot {
    fn of(db: &Database) -> Result<Self, redb::Error> {
        let transaction = db.begin_read()?;
        Ok(Self {
            deadlines: transaction.open_table(DEADLINES)?,
            records: transaction.open_table(RECORDS)?,
            transaction,
        })
    }

    /// `None` where nothing stands; the error inside is about this record alone.
    fn stored(&self, digest: &KeyDigest) -> Result<Option<Result<Stored, Error>>, TableError> {
        match self.deadlines.get(digest.as_bytes())? {
            Some(indexed_at) => self.stored_at(indexed_at.value(), digest),
            None => Ok(None),
        }
    }

    fn stored_at(
        &self,
        indexed_at: u64,
        digest: &KeyDigest,
    ) -> Result<Option<Result<Stored, Error>>, TableError> {
        let found = self.records.get((indexed_at, digest.as_bytes()))?;
        Ok(found.map(|found| decode(found.value())))
    }
}

/// Fails where one of the tables is missing.
pub(crate) fn check(db: &Database) -> Result<(), redb::Error> {
    let snapshot = Snapshot::of(db)?;
    snapshot.transaction.open_table(SUBJECTS)?;
    Ok(())
}

pub(crate) fn load(db: &Database, digest: &KeyDigest) -> Result<Option<Stored>, TableError> {
    Ok(Snapshot::of(db)?.stored(digest)?.transpose()?)
}

pub(crate) fn list(
    db: &Database,
    subject: &SubjectDigest,
    from: Option<&ScanCursor>,
) -> Result<ListPage, TableError> {
    let from = from.map(ScanCursor::digest).transpose()?;
    let after = from.as_ref().map_or(&FIRST_DIGEST, KeyDigest::as_bytes);
    let rest = (subject.as_bytes(), after)..=(subject.as_bytes(), &LAST_DIGEST);
    let snapshot = Snapshot::of(db)?;
    let subjects = snapshot.transaction.open_table(SUBJECTS);
    let subjects = subjects.map_err(redb::Error::from)?;
    let found = subjects.range(rest)?.map(|entry| {
        let digest = KeyDigest::from_bytes(*entry?.0.value().1);
        if Some(digest) == from {
            return Ok(None);
        }
        // A record that cannot be read is left out.
        let listed = match snapshot.stored(&digest)? {
            Some(Ok(Stored::Record(record))) if record.subject_digest() == Some(*subject) => {
                Some(Listed::new(digest, record))
            }
            _ => None,
        };
        Ok(Some((digest, listed)))
    });
    ListPage::fill(found.filter_map(Result::transpose))
}

pub(crate) fn scan(
    db: &Database,
    from: Option<&ScanCursor>,
    max: usize,
) -> Result<ScanPage, TableError> {
    let from = from.map(ScanCursor::digest).transpose()?;
    let snapshot = Snapshot::of(db)?;
    let after = from
        .as_ref()
        .map_or(Unbounded, |digest| Excluded(digest.as_bytes()));
    let range = snapshot
        .deadlines
        .range::<&[u8; KeyDigest::BYTES]>((after, Unbounded))?;
    let found = range.map(|entry| {
        let (digest, indexed_at) = entry?;
        let digest = KeyDigest::from_bytes(*digest.value());
        let stored = snapshot.stored_at(indexed_at.value(), &digest)?;
        Ok(stored.map(|stored| Scanned::new(digest, stored)))
    });
    // An entry that leads to nothing is damaged, and passed over.
    ScanPage::fill(found.filter_map(Result::transpose), max)
}
