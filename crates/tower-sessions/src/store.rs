//! Their four methods in terms of our contract, for any version of their core.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cloakroom_core::session::{Entries, Value};
use cloakroom_core::store::{
    Data, KeyDigest, Record, Revision, RotationPath, SessionStore, Stored,
};
use cloakroom_core::{Error, ErrorKind, Subject, Timestamp};
use serde_json::Value as Json;

use crate::CloakroomStore;
use crate::loaded::{Hashes, Loaded, Origin, RESERVED, Reserved};
use crate::saved::Saved;

/// The data of a session as tower-sessions has it.
pub(crate) type Map = HashMap<String, Json>;

/// How long a rotation mark stands, and what `delete` has left for the second half of a
/// rotation.
const ROTATION_MARK: Duration = Duration::from_secs(60);

/// How long an ended session may still be about to move: a request with its old id then
/// keeps the cookie, which a response of the other request may have replaced already.
const MOVING: Duration = Duration::from_secs(10);

/// After this, a write that still conflicts is an error.
const CONFLICT: Duration = Duration::from_secs(2);

/// Records and marks that one step of a sweep removes.
const SWEEP_STEP: usize = 1_000;

/// What a record is to their trait.
enum State {
    Live,
    /// `delete` has been called on it: it opens nothing, and a `create` may go on with it.
    Ended(Timestamp),
    Expired,
}

impl State {
    /// Their trait knows no absolute deadline, so that of a record says when it was ended.
    fn of(record: &Record, now: Timestamp) -> Self {
        match record.absolute_deadline {
            Some(ended) => Self::Ended(ended),
            None if record.is_expired(now) => Self::Expired,
            None => Self::Live,
        }
    }
}

/// What a `create` finds of the session that its record was loaded from.
enum Continued {
    From(Record),
    /// It stands there and was not ended: the record is a copy.
    Copied,
    Gone,
}

impl<S: SessionStore> CloakroomStore<S> {
    /// What stands under an id: its entries with the reserved one, and its deadline.
    pub(crate) async fn load_session(&self, id: i128) -> Result<Option<(Map, Timestamp)>, Error> {
        let digest = self.digest_of(id);
        let loaded = match self.inner.store.load(&digest).await {
            Ok(stored) => stored.map_or(Ok(None), |stored| self.handed_out(id, &digest, stored)),
            Err(error) => Err(error),
        };
        match loaded {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let session = digest.short();
                tracing::warn!(event = "damaged_session_passed_over", %session, %error, "a damaged session is taken for none");
                Ok(None)
            }
            loaded => loaded,
        }
    }

    fn handed_out(
        &self,
        id: i128,
        digest: &KeyDigest,
        stored: Stored,
    ) -> Result<Option<(Map, Timestamp)>, Error> {
        let now = self.now();
        let moved = |until| (Map::from([(RESERVED.to_owned(), Json::Null)]), until);
        let record = match stored {
            Stored::Rotated { until, .. } => return Ok((until > now).then(|| moved(until))),
            Stored::Ended(_) => return Ok(None),
            Stored::Record(record) => record,
        };
        match State::of(&record, now) {
            State::Live => {}
            State::Expired => return Ok(None),
            State::Ended(at) => {
                let until = at.saturating_add(MOVING);
                return Ok((until > now).then(|| moved(until)));
            }
        }
        let entries = record.data.read_entries()?;
        let count = entries.size_hint().1.unwrap_or_default();
        // Room for the reserved entry, and for one that the request adds.
        let mut map = Map::with_capacity(count + 2);
        let mut reserved = Reserved::new(self.nonce(), (id, digest), &record, count);
        for entry in entries {
            let (name, value) = entry?;
            map.insert(name.to_owned(), Value::decode_as(value)?);
            reserved.push(name, value);
        }
        reserved.put_into(&mut map);
        Ok(Some((map, record.expires_at)))
    }

    /// The entries as a request saw them last: when it saved, or else when it loaded.
    fn seen(&self, loaded: &Loaded<'_>) -> Result<Hashes, Error> {
        match self.inner.saves.get(loaded.nonce) {
            Some(saved) => Ok(Hashes::of(&Entries::open(saved.data)?)),
            None => Ok(loaded.hashes()),
        }
    }

    fn nonce(&self) -> u64 {
        self.inner.nonce.fetch_add(1, Ordering::Relaxed)
    }

    /// Replaces a session, by one compare-and-swap where nobody else has written to it. What
    /// is seldom needed is boxed, so that each save is a small future.
    pub(crate) async fn save_session(
        &self,
        id: i128,
        wanted: &Map,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let loaded = match Origin::read(wanted) {
            Some(Origin::Moved) => return Err(gone()),
            Some(Origin::Loaded(loaded)) if loaded.id == id => loaded,
            // What `clear` leaves, which replaces everything, also what it has not seen.
            _ => {
                let replaced = |_| without_reserved(wanted);
                let replaced = Box::pin(self.replay(self.digest_of(id), expires_at, replaced));
                return replaced.await;
            }
        };
        let data = self.encode(wanted)?;
        let mut record = self.record(wanted, loaded.created_at, expires_at, data);
        let saved = self.inner.saves.get(loaded.nonce);
        record.revision = saved.map_or(loaded.revision, |saved| saved.revision);
        let written = self.inner.store.update(&loaded.digest, &record).await;
        let data = record.data;
        let revision = match written {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let difference = self.seen(&loaded)?.difference(data.clone())?;
                let replayed = move |present| difference.replay(wanted, present);
                Box::pin(self.replay(loaded.digest, expires_at, replayed)).await?;
                Revision::NONE
            }
            written => written.map_err(ended_meanwhile)?,
        };
        self.inner.saves.put(loaded.nonce, Saved { revision, data });
        Ok(())
    }

    /// Changes what stands at a digest now, again where somebody else is faster.
    async fn replay(
        &self,
        digest: KeyDigest,
        expires_at: Timestamp,
        change: impl Fn(Map) -> Map + Send + Sync,
    ) -> Result<(), Error> {
        let give_up = Instant::now() + CONFLICT;
        loop {
            let present = match self.inner.store.load(&digest).await? {
                Some(Stored::Record(present)) => present,
                _ => return Err(gone()),
            };
            let State::Live = State::of(&present, self.now()) else {
                return Err(gone());
            };
            let map = change(read(&present.data)?);
            let data = self.encode(&map)?;
            let mut record = self.record(&map, present.created_at, expires_at, data);
            record.revision = present.revision;
            match self.inner.store.update(&digest, &record).await {
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < give_up => {}
                written => return written.map(|_| ()).map_err(ended_meanwhile),
            }
        }
    }

    /// Stores a new session under an id that is drawn here, whatever id the record has: a
    /// record that was flushed still has the old one. Where the record goes on with a
    /// session that `delete` has ended, this is the second half of a rotation.
    pub(crate) async fn create_session(
        &self,
        wanted: &mut Map,
        expires_at: Timestamp,
        draw: fn() -> i128,
    ) -> Result<i128, Error> {
        let Some(Origin::Loaded(loaded)) = Origin::read(wanted) else {
            return self.begin(wanted, expires_at, draw).await;
        };
        let old = loaded.digest;
        let data = self.encode(wanted)?;
        let saved = self.inner.saves.get(loaded.nonce);
        let base = saved.map_or(loaded.revision, |saved| saved.revision);
        let difference = self.seen(&loaded)?.difference(data)?;
        let give_up = Instant::now() + CONFLICT;
        loop {
            let ended = match self.continued(&old).await? {
                Continued::From(ended) => ended,
                Continued::Copied => return self.begin(wanted, expires_at, draw).await,
                // Ended by somebody else: nothing of it comes back, but a login is not lost.
                Continued::Gone => {
                    *wanted = difference.replay(wanted, Map::new());
                    return self.begin(wanted, expires_at, draw).await;
                }
            };
            // `delete` has added one to the revision that this request knows.
            if ended.revision != base.next() {
                let present = read(&ended.data)?;
                let mut replayed = difference.replay(wanted, present);
                // Stays until the session is stored: a second try is still a rotation.
                replayed.extend(wanted.remove_entry(RESERVED));
                *wanted = replayed;
            }
            let id = draw();
            let rotated = self.rotate(&old, &ended, id, wanted, expires_at);
            match rotated.await {
                Err(error) if is_raced(&error) && Instant::now() < give_up => {}
                rotated => return rotated.map(|()| id),
            }
        }
    }

    async fn begin(
        &self,
        wanted: &mut Map,
        expires_at: Timestamp,
        draw: fn() -> i128,
    ) -> Result<i128, Error> {
        let mut record = self.record(wanted, self.now(), expires_at, self.encode(wanted)?);
        loop {
            let id = draw();
            let digest = self.digest_of(id);
            match self.inner.store.create(&digest, &record).await {
                // An id that is taken is drawn again, as their own stores do.
                Err(error) if error.kind() == ErrorKind::Exists => {}
                created => {
                    record.revision = created?;
                    self.hand_out(wanted, (id, &digest), &record)?;
                    return Ok(id);
                }
            }
        }
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        ended: &Record,
        id: i128,
        wanted: &mut Map,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut record = self.record(wanted, ended.created_at, expires_at, self.encode(wanted)?);
        if record.subject != ended.subject {
            record.created_at = now;
        }
        record.flushes = ended.flushes;
        record.revision = ended.revision;
        let new = self.digest_of(id);
        let mark_until = now.saturating_add(ROTATION_MARK);
        let store = &self.inner.store;
        match store.rotate(old, &new, &record, mark_until).await {
            // Only the answer may be lost: then the session stands under its new id, which
            // nobody else knows, and the client has to be told that id.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let Ok(Some(Stored::Record(moved))) = store.load(&new).await else {
                    return Err(error);
                };
                self.hand_out(wanted, (id, &new), &moved)
            }
            rotated => {
                record.revision = rotated?;
                self.hand_out(wanted, (id, &new), &record)
            }
        }
    }

    /// Gives a record that was just stored its reserved entry, for the next save of the
    /// same request.
    fn hand_out(
        &self,
        map: &mut Map,
        name: (i128, &KeyDigest),
        stored: &Record,
    ) -> Result<(), Error> {
        let entries = Entries::open(stored.data.clone())?;
        let mut reserved = Reserved::new(self.nonce(), name, stored, entries.len());
        for (name, value) in entries.iter() {
            reserved.push(name, value);
        }
        reserved.put_into(map);
        Ok(())
    }

    /// What `delete` has left at a digest for the `create` of the same request.
    ///
    /// A rotation mark is not followed: who knows the old id and holds a request open would
    /// gain the session of whoever has logged in with it meanwhile.
    async fn continued(&self, digest: &KeyDigest) -> Result<Continued, Error> {
        Ok(match self.inner.store.load(digest).await? {
            Some(Stored::Record(record)) => match State::of(&record, self.now()) {
                State::Live => Continued::Copied,
                State::Ended(_) => Continued::From(record),
                State::Expired => Continued::Gone,
            },
            Some(Stored::Rotated { .. } | Stored::Ended(_)) | None => Continued::Gone,
        })
    }

    /// Ends a session, wherever it has moved. The first call leaves it for a `create` that
    /// may follow, dead to everybody else; another one removes it.
    pub(crate) async fn end_session(&self, id: i128) -> Result<(), Error> {
        let store = &self.inner.store;
        let give_up = Instant::now() + CONFLICT;
        let mut path = RotationPath::from(self.digest_of(id));
        loop {
            let record = match store.load(path.at()).await {
                Ok(Some(Stored::Ended(_)) | None) => return Ok(()),
                Ok(Some(Stored::Rotated { to, .. })) => {
                    path.follow(to)?;
                    continue;
                }
                Ok(Some(Stored::Record(record))) => record,
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // What cannot be read can be removed.
                Err(_) => return store.delete(path.at()).await,
            };
            let now = self.now();
            let State::Live = State::of(&record, now) else {
                return store.delete(path.at()).await;
            };
            let mut ended = record;
            ended.absolute_deadline = Some(now);
            ended.expires_at = ended.expires_at.min(now.saturating_add(ROTATION_MARK));
            match store.update(path.at(), &ended).await {
                Err(error) if is_raced(&error) && Instant::now() < give_up => {}
                Err(error) if is_raced(&error) => return store.delete(path.at()).await,
                written => return written.map(|_| ()),
            }
        }
    }

    /// Removes what has expired, in steps.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let Some(sweep) = self.inner.store.capabilities().sweep else {
            return Ok(());
        };
        while sweep.sweep(self.now(), SWEEP_STEP).await?.more {}
        Ok(())
    }

    fn record(&self, map: &Map, created_at: Timestamp, until: Timestamp, data: Data) -> Record {
        let mut record = Record::new(created_at, until);
        record.last_seen_at = self.now();
        record.site = self.inner.site.clone();
        record.subject = self.subject_of(map);
        record.data = data;
        record
    }

    fn subject_of(&self, map: &Map) -> Option<Subject> {
        self.inner.subject.as_ref().and_then(|subject| subject(map))
    }

    fn encode(&self, map: &Map) -> Result<Data, Error> {
        let mut own = Vec::with_capacity(map.len());
        own.extend(map.iter().filter(|(name, _)| *name != RESERVED));
        Data::from_values(own, &self.inner.limits)
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

fn read(data: &Data) -> Result<Map, Error> {
    data.read_entries()?
        .map(|entry| {
            let (name, value) = entry?;
            Ok((name.to_owned(), Value::decode_as(value)?))
        })
        .collect()
}

fn without_reserved(map: &Map) -> Map {
    let mut own = map.clone();
    own.remove(RESERVED);
    own
}

/// Whether somebody else was faster, so that another look tells more.
fn is_raced(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Conflict | ErrorKind::Gone | ErrorKind::Exists
    )
}

fn ended_meanwhile(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Gone => gone(),
        _ => error,
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Gone,
        "the session was ended, or has moved to another id, while this request went on; \
         nothing was written",
    )
}
