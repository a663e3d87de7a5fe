//! The model: the contract, written as plainly as it can be.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::{
    BoxFuture, Capabilities, Data, Error, ErrorKind, Import, KeyDigest, Listed, ROTATION_HOPS_MAX,
    Record, Revision, Revoke, Scan, ScanCursor, ScanPage, Scanned, SessionStore, Slot, Subject,
    Subjects, Sweep, Swept, Timestamp, Touch,
};

/// A store in a map behind one lock: the model that other stores are compared
/// with. It keeps everything until told otherwise, expired records included.
#[derive(Debug, Default)]
pub struct MapStore(Mutex<BTreeMap<KeyDigest, Slot>>);

type Slots = BTreeMap<KeyDigest, Slot>;

impl MapStore {
    /// All that stands in it.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<KeyDigest, Slot> {
        self.slots().clone()
    }

    /// Puts something there, whatever stood there before.
    pub fn plant(&self, digest: KeyDigest, slot: Slot) {
        self.slots().insert(digest, slot);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current<'s>(slots: &'s mut Slots, digest: &KeyDigest) -> Result<&'s mut Record, Error> {
    match slots.get_mut(digest) {
        Some(Slot::Record(record)) => Ok(record),
        _ => Err(ErrorKind::Gone.into()),
    }
}

fn follow_marks(slots: &Slots, digest: &KeyDigest) -> KeyDigest {
    let mut at = *digest;
    for _ in 0..ROTATION_HOPS_MAX {
        match slots.get(&at) {
            Some(Slot::Rotated { to, .. }) => at = *to,
            _ => break,
        }
    }
    at
}

fn vacant(slots: &Slots, digest: &KeyDigest) -> Result<(), Error> {
    match slots.contains_key(digest) {
        true => Err(ErrorKind::Exists.into()),
        false => Ok(()),
    }
}

impl SessionStore for MapStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Slot>, Error> {
        Ok(self.slots().get(digest).cloned())
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let mut slots = self.slots();
        vacant(&slots, digest)?;
        let record = record.at_revision(Revision::FIRST);
        slots.insert(*digest, Slot::Record(record));
        Ok(Revision::FIRST)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let mut slots = self.slots();
        let stored = current(&mut slots, digest)?;
        let next = record.follow(stored.revision)?;
        *stored = record.at_revision(next);
        Ok(next)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let mut slots = self.slots();
        let stored = current(&mut slots, digest)?;
        if stored.revision == revision {
            stored.touch(touch);
        }
        Ok(())
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let mut slots = self.slots();
        let next = record.follow(current(&mut slots, old)?.revision)?;
        vacant(&slots, new)?;
        slots.insert(*new, Slot::Record(record.at_revision(next)));
        let mark = Slot::Rotated {
            to: *new,
            until: mark_until,
        };
        slots.insert(*old, mark);
        Ok(next)
    }

    async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        let mut slots = self.slots();
        let at = follow_marks(&slots, digest);
        // After the last hop there may be one mark more, and marks stay.
        if let Some(Slot::Record(_)) = slots.get(&at) {
            slots.remove(&at);
        }
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Sweep for MapStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut slots = self.slots();
            let mut left = max;
            let mut more = false;
            let before = slots.len();
            slots.retain(|_, slot| {
                let due = slot.expires_at() <= now;
                if due && left == 0 {
                    more = true;
                    return true;
                }
                left -= usize::from(due);
                !due
            });
            Ok(Swept {
                removed: before - slots.len(),
                more,
            })
        })
    }
}

fn of<'s>(
    slots: &'s Slots,
    subject: &'s Subject,
) -> impl Iterator<Item = (&'s KeyDigest, &'s Record)> {
    slots.iter().filter_map(move |(digest, slot)| match slot {
        Slot::Record(record) if record.subject.as_ref() == Some(subject) => Some((digest, record)),
        _ => None,
    })
}

impl Subjects for MapStore {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let slots = self.slots();
            let listed = of(&slots, subject).map(|(digest, record)| {
                let mut record = record.clone();
                record.data = Data::empty();
                Listed {
                    digest: *digest,
                    record,
                }
            });
            Ok(listed.collect())
        })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a Subject,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            let mut slots = self.slots();
            let ended: Vec<KeyDigest> = of(&slots, subject)
                .map(|(digest, _)| *digest)
                .filter(|digest| match which {
                    Revoke::All => true,
                    Revoke::AllBut(kept) => *digest != follow_marks(&slots, &kept),
                    Revoke::One(meant) => *digest == follow_marks(&slots, &meant),
                })
                .collect();
            for digest in &ended {
                slots.remove(digest);
            }
            Ok(ended)
        })
    }
}

impl Scan for MapStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        use std::ops::Bound::{Excluded, Unbounded};
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose()?;
            let slots = self.slots();
            let rest = slots.range((from.map_or(Unbounded, Excluded), Unbounded));
            let items: Vec<Scanned> = rest
                .take(max)
                .map(|(digest, slot)| Scanned {
                    digest: *digest,
                    slot: Ok(slot.clone()),
                })
                .collect();
            let next = items.last().map(|last| ScanCursor::after(&last.digest));
            Ok(ScanPage { items, next })
        })
    }
}

impl Import for MapStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        slot: &'a Slot,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut slots = self.slots();
            let is_free = !slots.contains_key(digest);
            if is_free {
                slots.insert(*digest, slot.clone());
            }
            Ok(is_free)
        })
    }
}
