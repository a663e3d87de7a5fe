//! Reads, each on a snapshot of its own.

use cloakroom_core::store::{
    KeyDigest, Listed, ScanCursor, ScanPage, Scanned, Stored, SubjectDigest,
};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _};

use crate::row::{Row, digest_in, entry_key};
use crate::tables::{DigestBytes, FIRST, Failure, LAST, PLACES, SLOTS, SUBJECTS, SlotKey};

/// Places that lead nowhere that a page of a scan passes over: a millisecond.
const PASSED_OVER_MAX: usize = 1_024;

struct Slots {
    places: ReadOnlyTable<DigestBytes, u64>,
    slots: ReadOnlyTable<SlotKey, &'static [u8]>,
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
    ) -> Result<Option<Result<Stored, cloakroom_core::Error>>, Failure> {
        let found = self.slots.get((place, digest.as_bytes()))?;
        Ok(found.map(|found| Stored::decode(Row::frame_in(found.value()))))
    }

    fn get(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Result<Stored, cloakroom_core::Error>>, Failure> {
        match self.places.get(digest.as_bytes())? {
            Some(place) => self.at(place.value(), digest),
            None => Ok(None),
        }
    }
}

pub(crate) fn load(db: &Database, digest: &KeyDigest) -> Result<Option<Stored>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let slots = Slots::open(&transaction)?;
    Ok(slots.get(digest)?.transpose()?)
}

pub(crate) fn sessions_of(db: &Database, subject: &SubjectDigest) -> Result<Vec<Listed>, Failure> {
    let transaction = db.begin_read().map_err(redb::Error::from)?;
    let slots = Slots::open(&transaction)?;
    let subjects = transaction
        .open_table(SUBJECTS)
        .map_err(redb::Error::from)?;
    let [first, last] = [FIRST, LAST].map(|digest| entry_key(subject, &digest));
    let mut sessions = Vec::new();
    for entry in subjects.range(&first[..]..=&last[..])? {
        let Some(digest) = digest_in(entry?.0.value()) else {
            continue;
        };
        // One that cannot be read is left out.
        if let Some(Ok(Stored::Record(record))) = slots.get(&digest)?
            && record.subject_digest() == Some(*subject)
        {
            sessions.push(Listed::new(digest, record));
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
    let mut passed_over = 0;
    let mut last = None;
    let found = places.map_while(|entry| {
        let found = entry.map_err(Failure::from).and_then(|(digest, place)| {
            let digest = KeyDigest::from_bytes(*digest.value());
            let slot = slots.at(place.value(), &digest)?;
            Ok((digest, slot))
        });
        match found {
            Ok((digest, None)) => {
                passed_over += 1;
                last = (passed_over == PASSED_OVER_MAX).then_some(digest);
                last.is_none().then_some(None)
            }
            Ok((digest, Some(slot))) => Some(Some(Ok(Scanned::new(digest, slot)))),
            Err(failure) => Some(Some(Err(failure))),
        }
    });
    let mut page = ScanPage::fill(found.flatten(), max)?;
    page.next = page.next.or(last.as_ref().map(ScanCursor::after));
    Ok(page)
}
