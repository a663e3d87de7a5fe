//! Reads, each on a snapshot of its own.

use cloakroom_core::{Data, KeyDigest, Listed, ScanCursor, ScanPage, Scanned, Slot, Subject};
use redb::{Database, ReadableDatabase as _};

use crate::tables::{FIRST, Failure, LAST, RECORDS, SUBJECTS, Stored};

pub(crate) fn load(db: &Database, digest: &KeyDigest) -> Result<Option<Slot>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
    let Some(bytes) = records.get(digest.as_bytes())? else {
        return Ok(None);
    };
    let stored = Stored::read(bytes.value())?;
    Ok(Some(Slot::decode(stored.frame())?))
}

pub(crate) fn sessions_of(db: &Database, subject: &Subject) -> Result<Vec<Listed>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
    let subjects = transaction
        .open_table(SUBJECTS)
        .map_err(redb::Error::from)?;
    let mut sessions = Vec::new();
    for entry in subjects.range((subject.as_str(), &FIRST)..=(subject.as_str(), &LAST))? {
        let entry = entry?;
        let digest = KeyDigest::from_bytes(*entry.0.value().1);
        let Some(bytes) = records.get(digest.as_bytes())? else {
            continue;
        };
        let slot = Stored::read(bytes.value()).and_then(|stored| Slot::decode(stored.frame()));
        // One that cannot be read is left out.
        if let Ok(Slot::Record(mut record)) = slot
            && record.subject.as_ref() == Some(subject)
        {
            record.data = Data::empty();
            sessions.push(Listed { digest, record });
        }
    }
    Ok(sessions)
}

pub(crate) fn scan(
    db: &Database,
    from: Option<&ScanCursor>,
    max: usize,
) -> Result<ScanPage, Failure> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = from.map(ScanCursor::digest).transpose()?;
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
    let from = from
        .as_ref()
        .map_or(Unbounded, |digest| Excluded(digest.as_bytes()));
    let found = records.range::<&[u8; KeyDigest::BYTES]>((from, Unbounded))?;
    let found = found.map(|entry| {
        let (digest, bytes) = entry?;
        Ok(Scanned {
            digest: KeyDigest::from_bytes(*digest.value()),
            slot: Stored::read(bytes.value()).and_then(|stored| Slot::decode(stored.frame())),
        })
    });
    ScanPage::fill(found, max)
}
