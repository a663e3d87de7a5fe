//! The model: the contract, written as plainly as it can be.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, Import, KeyDigest, ListPage, Listed, Record, Revision, Revoke,
    Scan, ScanCursor, ScanPage, Scanned, SessionStore, Stored, SubjectDigest, Subjects, Sweep,
    Swept, Tombstone, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

/// A store in a map behind one lock: the model with which other stores are compared.
/// Expired records stay until a sweep.
#[derive(Debug, Default)]
pub struct MapStore(Mutex<BTreeMap<KeyDigest, Stored>>);

type Map = BTreeMap<KeyDigest, Stored>;

impl MapStore {
    /// Everything that it holds.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<KeyDigest, Stored> {
        self.map().clone()
    }

    /// The records and rotation marks that it holds, without the tombstones.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<KeyDigest, Stored> {
        let mut all = self.snapshot();
        all.retain(|_, stored| !matches!(stored, Stored::Ended(_)));
        all
    }

    /// Stores something at a digest, whatever was there before.
    pub fn plant(&self, digest: KeyDigest, stored: Stored) {
        self.map().insert(digest, stored);
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current<'s>(map: &'s mut Map, digest: &KeyDigest) -> Result<&'s mut Record, Error> {
    match map.get_mut(digest) {
        Some(Stored::Record(record)) => Ok(record),
        _ => Err(ErrorKind::Gone.into()),
    }
}

/// Follows rotation marks from `digest` to the session's current digest.
fn current_digest(map: &Map, digest: &KeyDigest) -> Result<KeyDigest, Error> {
    Stored::resolve_rotations(digest, |at| Ok(map.get(at).and_then(Stored::rotated_to)))
}

/// Ends what stands at a digest, if anything does. What has ended before stays as it is.
fn end_at(map: &mut Map, at: &KeyDigest, ending: Option<&Ending>) {
    match (map.get(at), ending) {
        (Some(Stored::Record(record)), Some(ending)) => {
            let tombstone = Tombstone::new(ending, record.subject_digest());
            map.insert(*at, Stored::Ended(tombstone));
        }
        (_, Some(_)) => {}
        (_, None) => drop(map.remove(at)),
    }
}

fn vacant(map: &Map, digest: &KeyDigest) -> Result<(), Error> {
    match map.contains_key(digest) {
        true => Err(ErrorKind::Exists.into()),
        false => Ok(()),
    }
}

impl SessionStore for MapStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        Ok(self.map().get(digest).cloned())
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let mut map = self.map();
        vacant(&map, digest)?;
        let record = record.at_revision(Revision::FIRST);
        map.insert(*digest, Stored::Record(record));
        Ok(Revision::FIRST)
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let mut map = self.map();
        let stored = current(&mut map, digest)?;
        let next = record.next_revision_after(stored.revision)?;
        *stored = record.at_revision(next);
        Ok(next)
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let mut map = self.map();
        let stored = current(&mut map, digest)?;
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
        let mut map = self.map();
        let next = record.next_revision_after(current(&mut map, old)?.revision)?;
        vacant(&map, new)?;
        map.insert(*new, Stored::Record(record.at_revision(next)));
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        map.insert(*old, mark);
        Ok(next)
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let mut map = self.map();
        let at = current_digest(&map, digest)?;
        end_at(&mut map, &at, ending);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("map")
            .with_sweep(self)
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
    }
}

impl Sweep for MapStore {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut map = self.map();
            let mut left = max;
            let mut more = false;
            map.retain(|_, stored| {
                let due = stored.expires_at() <= now;
                if due && left == 0 {
                    more = true;
                    return true;
                }
                left -= usize::from(due);
                match stored.swept(now).filter(|_| due) {
                    Some(tombstone) => *stored = Stored::Ended(tombstone),
                    None => return !due,
                }
                true
            });
            Ok(Swept::new(max - left, more))
        })
    }
}

fn of<'s>(
    map: &'s Map,
    subject: &'s SubjectDigest,
) -> impl Iterator<Item = (&'s KeyDigest, &'s Record)> {
    map.iter().filter_map(move |(digest, stored)| match stored {
        Stored::Record(record) if record.subject_digest() == Some(*subject) => {
            Some((digest, record))
        }
        _ => None,
    })
}

impl Subjects for MapStore {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose()?;
            let map = self.map();
            let rest = of(&map, subject).filter(|(digest, _)| Some(**digest) > from);
            ListPage::fill(rest.map(|(digest, record)| {
                let listed = Listed::new(*digest, record.clone());
                Ok((*digest, Some(listed)))
            }))
        })
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            let mut map = self.map();
            let which = which.resolved(|digest| current_digest(&map, digest))?;
            let ended: Vec<KeyDigest> = of(&map, subject)
                .map(|(digest, _)| *digest)
                .filter(|digest| which.means(digest))
                .collect();
            for digest in &ended {
                end_at(&mut map, digest, ending);
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
            let map = self.map();
            let rest = map.range((from.map_or(Unbounded, Excluded), Unbounded));
            let items: Vec<Scanned> = rest
                .take(max)
                .map(|(digest, stored)| Scanned::new(*digest, Ok(stored.clone())))
                .collect();
            let next = items.last().map(|last| ScanCursor::after(&last.digest));
            Ok(ScanPage::new(items, next))
        })
    }
}

impl Import for MapStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut map = self.map();
            let is_free = !map.contains_key(digest);
            if is_free {
                map.insert(*digest, stored.clone());
            }
            Ok(is_free)
        })
    }
}
