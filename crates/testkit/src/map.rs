//! The model: the contract, written as plainly as it can be.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::{
    BoxFuture, Capabilities, Error, ErrorKind, KeyDigest, ROTATION_HOPS_MAX, Record, Revision,
    SessionStore, Slot, Sweep, Swept, Timestamp, Touch,
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
        let mut at = *digest;
        for _ in 0..ROTATION_HOPS_MAX {
            match slots.get(&at) {
                Some(Slot::Rotated { to, .. }) => at = *to,
                _ => break,
            }
        }
        slots.remove(&at);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE.with_sweep(self)
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
