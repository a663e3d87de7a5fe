//! Writing a session's changes: compare-and-swap, replay, unknown outcomes.

use std::time::Duration;

use cloakroom_core::{
    Changeset, Error, ErrorKind, Record, SessionKey, Stored, Timestamp, Token, TokenStore as _,
    Touch, Written,
};
use tokio::time::{Instant, sleep, timeout};

use crate::Cost;
use crate::engine::Shared;

/// How often the engine looks for the new key after a rotation whose answer was
/// lost.
const LOOKS_MAX: u32 = 3;

/// How long they may take together, where `conflict_deadline` is not longer.
const LOOK_MIN: Duration = Duration::from_secs(2);

/// How long a write waits while none of its session that came before it comes to its
/// end, where `conflict_deadline` is not longer: a store that hangs must not hold up
/// each of them in turn.
const QUEUE_WAIT_MIN: Duration = Duration::from_secs(10);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// What a write came to.
pub(crate) enum Outcome {
    /// There was nothing to write.
    Unchanged,
    /// The record stands in the store, under this token.
    Stored {
        token: Token,
        record: Record,
        /// Whether the client holds another token or deadline than it should.
        tell: bool,
    },
    /// The session is gone, as was asked for.
    Deleted,
    /// The session was ended or moved by somebody else.
    Dead,
}

/// Why a write came to nothing that is known.
pub(crate) enum Failure {
    /// The store is as it was.
    NotWritten(Error),
    /// It may have been written or not.
    Unknown(Error),
}

/// One commit's dealings with the store.
pub(crate) struct Writer<'e> {
    engine: &'e Shared,
    now: Timestamp,
    pub(crate) cost: Cost,
}

enum Attempt<'k> {
    Update,
    Rotate(&'k SessionKey),
}

impl<'e> Writer<'e> {
    pub(crate) fn new(engine: &'e Shared, now: Timestamp) -> Self {
        Self {
            engine,
            now,
            cost: Cost::default(),
        }
    }

    pub(crate) async fn create(&mut self, changeset: &mut Changeset) -> Result<Outcome, Failure> {
        let record = self.record(changeset);
        let key = SessionKey::generate(&*self.engine.entropy).map_err(Failure::NotWritten)?;
        let written = self.engine.store.create_token(&key, &record).await;
        self.cost.write(&record);
        match written {
            Ok(written) => Ok(stored(&key.to_token(), written, record, None)),
            Err(error) => Err(Failure::classify(error)),
        }
    }

    pub(crate) async fn update(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
    ) -> Result<Outcome, Failure> {
        self.swap(token, changeset, &Attempt::Update).await
    }

    pub(crate) async fn rotate(
        &mut self,
        token: &Token,
        new: &SessionKey,
        changeset: &mut Changeset,
    ) -> Result<Outcome, Failure> {
        self.swap(token, changeset, &Attempt::Rotate(new)).await
    }

    pub(crate) async fn touch(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
        touch: Option<Touch>,
    ) -> Result<Outcome, Failure> {
        let (Some(stored_record), Some(touch)) = (changeset.stored(), touch) else {
            return Ok(Outcome::Unchanged);
        };
        let mut record = stored_record.clone();
        record.touch(touch);
        self.cost.touch();
        match self.engine.store.touch_token(token, &record).await {
            Ok(written) => Ok(stored(token, written, record, changeset.stored())),
            // A touch that is lost costs idle time, not the request.
            Err(error) => {
                if error.kind() != ErrorKind::Gone {
                    tracing::warn!(session = %short(token), error = %error, "touch failed");
                }
                Ok(Outcome::Unchanged)
            }
        }
    }

    pub(crate) async fn delete(&mut self, token: &Token) -> Result<Outcome, Failure> {
        // A logout needs no place: it only spares others a conflict.
        let wait = self.engine.conflict_deadline;
        let _place = self.engine.queue.enter(token, wait).await;
        self.remove(token).await.map(|()| Outcome::Deleted)
    }

    async fn remove(&mut self, token: &Token) -> Result<(), Failure> {
        self.cost.touch();
        let deleted = self.engine.store.delete_token(token).await;
        deleted.map_err(Failure::classify)
    }

    fn record(&self, changeset: &Changeset) -> Record {
        changeset.record(
            &self.engine.expiry,
            self.now,
            self.engine.touch_share_percent,
        )
    }

    /// Compare-and-swap until it holds: on a conflict, load what the other
    /// request left, replay the operations on it and try again.
    async fn swap(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
        attempt: &Attempt<'_>,
    ) -> Result<Outcome, Failure> {
        let wait = self.engine.conflict_deadline.max(QUEUE_WAIT_MIN);
        let _place = self.engine.queue.enter(token, wait).await.ok_or_else(|| {
            Failure::NotWritten(Error::new(
                ErrorKind::Unavailable,
                "other requests of this session are being written for too long; this one \
                 was not",
            ))
        })?;
        let deadline = Instant::now().checked_add(self.engine.conflict_deadline);
        let mut conflicts = 0;
        loop {
            let record = self.record(changeset);
            let written = self.try_swap(token, &record, attempt).await;
            self.cost.write(&record);
            let error = match written {
                Ok(written) => return Ok(stored(token, written, record, changeset.stored())),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Conflict => {}
                ErrorKind::Gone => return self.gone(token, changeset).await,
                _ => return Err(Failure::classify(error)),
            }
            conflicts += 1;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Failure::NotWritten(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "other requests changed the session {conflicts} times within \
                         conflict_deadline; nothing was written"
                    ),
                )));
            }
            if conflicts > 1 {
                sleep(self.pause(conflicts)).await;
            }
            match self.fresh(token).await? {
                Some(fresh) => self.replay(token, changeset, fresh)?,
                None => return self.gone(token, changeset).await,
            }
        }
    }

    /// The session was ended or moved while this request ran. A late write is
    /// dropped; a logout still ends the session, where it has moved too; and
    /// logging in is a fresh act, not a late write: it begins a new session,
    /// with nothing of the old.
    async fn gone(&mut self, token: &Token, changeset: &mut Changeset) -> Result<Outcome, Failure> {
        if changeset.is_flushed() {
            self.remove(token).await?;
        }
        if changeset.is_login() {
            changeset.detach().map_err(Failure::NotWritten)?;
            return self.create(changeset).await;
        }
        Ok(if changeset.is_flushed() {
            Outcome::Deleted
        } else {
            Outcome::Dead
        })
    }

    async fn try_swap(
        &self,
        token: &Token,
        record: &Record,
        attempt: &Attempt<'_>,
    ) -> Result<Written, Error> {
        let store = &self.engine.store;
        match attempt {
            Attempt::Update => store.update_token(token, record).await,
            Attempt::Rotate(new) => {
                let mark_until = self.now.saturating_add(self.engine.rotation_mark);
                store.rotate_token(token, new, record, mark_until).await
            }
        }
    }

    async fn fresh(&mut self, token: &Token) -> Result<Option<Record>, Failure> {
        let loaded = self.engine.store.load_token(token).await;
        let loaded = loaded.map_err(Failure::NotWritten)?;
        self.cost.load(&loaded);
        Ok(loaded
            .and_then(|loaded| loaded.stored.into_record())
            .filter(|record| !record.is_expired(self.now)))
    }

    fn replay(
        &self,
        token: &Token,
        changeset: &mut Changeset,
        fresh: Record,
    ) -> Result<(), Failure> {
        let overwritten = changeset.replay(fresh).map_err(Failure::NotWritten)?;
        if overwritten.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            session = %short(token),
            entries = overwritten.len(),
            "a value that was read, then set had been changed by another request; use `update`"
        );
        if self.engine.strict_reads {
            return Err(Failure::NotWritten(Error::new(
                ErrorKind::Overwritten,
                format!(
                    "{} entries that were read, then set had been changed by another request",
                    overwritten.len()
                ),
            )));
        }
        Ok(())
    }

    /// After a rotation whose outcome is unknown nothing is written again, but
    /// one that did happen must not leave the client with the old key: looks for
    /// the new one.
    pub(crate) async fn look_for(&mut self, token: &Token) -> Option<Record> {
        let start = Instant::now();
        for look in 1..=LOOKS_MAX {
            let left = self.engine.conflict_deadline.max(LOOK_MIN);
            let left = left.saturating_sub(start.elapsed());
            let load = self.engine.store.load_token(token);
            let found = timeout(left, load).await.ok()?;
            if let Ok(found) = &found {
                self.cost.load(found);
            }
            if let Ok(Some(found)) = found
                && let Stored::Record(record) = found.stored
            {
                return Some(record);
            }
            if look < LOOKS_MAX {
                sleep(self.pause(look)).await;
            }
        }
        None
    }

    /// Doubles with each attempt, up to a limit, and varies by half either way
    /// so that two processes do not keep meeting.
    fn pause(&self, attempt: u32) -> Duration {
        let base = Duration::from_millis(1 << attempt.min(6)).min(PAUSE_MAX);
        let mut chance = [128];
        // Without chance the pause is the plain one: nothing depends on it.
        let _ = self.engine.entropy.fill(&mut chance);
        base / 2 + base * u32::from(chance[0]) / 256
    }
}

impl Failure {
    /// Whether the store may have written it, by the kind of its error.
    fn classify(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Exists
            | ErrorKind::Conflict
            | ErrorKind::Gone
            | ErrorKind::TooLarge
            | ErrorKind::Mismatch
            | ErrorKind::Misconfigured => Self::NotWritten(error),
            _ => Self::Unknown(error),
        }
    }
}

/// `base` is the record as it stood before, where the client knows it.
fn stored(token: &Token, written: Written, mut record: Record, base: Option<&Record>) -> Outcome {
    record.revision = written.revision;
    let same_cookie = base.is_some_and(|base| {
        (base.expires_at, base.ends_with_browser) == (record.expires_at, record.ends_with_browser)
    });
    Outcome::Stored {
        tell: written.token.is_some() || !same_cookie,
        token: written.token.unwrap_or_else(|| token.clone()),
        record,
    }
}

/// What an event says of a session: the first characters of its key's digest.
pub(crate) fn short(token: &Token) -> String {
    SessionKey::parse(token.expose())
        .map_or_else(|| "sealed".to_owned(), |key| key.digest().short())
}
