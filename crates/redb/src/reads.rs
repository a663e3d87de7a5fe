//! Reads, each on a snapshot of its own.

use cloakroom_core::{Data, KeyDigest, Listed, ScanCursor, ScanPage, Scanned, Slot, Subject};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _};

use crate::tables::{
    DigestBytes, FIRST, Failure, LAST, PLACES, SLOTS, SUBJECTS, SlotKey, SlotValue,
};

struct Slots {
    places: ReadOnlyTable<DigestBytes, u64>,
    slots: ReadOnlyTable<SlotKey, SlotValue>,
}

impl Slots {
    fn open(transaction: &redb::ReadTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            places: transaction.open_table(PLACES)?,
            slots: transaction.open_table(SLOTS)?,
        })
    }

    fn at(
        &self,
        place: u64,
        digest: &KeyDigest,
    ) -> Result<Option<Result<Slot, cloakroom_core::Error>>, Failure> {
        let found = self.slots.get((place, digest.as_bytes()))?;
        Ok(found.map(|found| Slot::decode(found.value().1)))
    }

    fn get(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Result<Slot, cloakroom_core::Error>>, Failure> {
        match self.places.get(digest.as_bytes())? {
            Some(place) => self.at(place.value(), digest),
            None => Ok(None),
        }
    }
}

pub(crate) fn load(db: &Database, digest: &KeyDigest) -> Result<Option<Slot>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let slots = Slots::open(&transaction)?;
    Ok(slots.get(digest)?.transpose()?)
}

pub(crate) fn sessions_of(db: &Database, subject: &Subject) -> Result<Vec<Listed>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let slots = Slots::open(&transaction)?;
    let subjects = transaction
        .open_table(SUBJECTS)
        .map_err(redb::Error::from)?;
    let mut sessions = Vec::new();
    for entry in subjects.range((subject.as_str(), &FIRST)..=(subject.as_str(), &LAST))? {
        let entry = entry?;
        let digest = KeyDigest::from_bytes(*entry.0.value().1);
        // One that cannot be read is left out.
        if let Some(Ok(Slot::Record(mut record))) = slots.get(&digest)?
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
    let slots = Slots::open(&transaction)?;
    let from = from
        .as_ref()
        .map_or(Unbounded, |digest| Excluded(digest.as_bytes()));
    let places = slots
        .places
        .range::<&[u8; KeyDigest::BYTES]>((from, Unbounded))?;
    let found = places.map(|entry| {
        let (digest, place) = entry?;
        let digest = KeyDigest::from_bytes(*digest.value());
        let slot = slots.at(place.value(), &digest)?;
        Ok(slot.map(|slot| Scanned { digest, slot }))
    });
    ScanPage::fill(found.filter_map(Result::transpose), max)
}
