//! Writing a session's changes: compare-and-swap, replay, unknown outcomes.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{Changeset, SaveOutcome, SessionKey, Token, TokenStore as _, Written};
use cloakroom_core::store::{EndReason, Ending, Record, Revision, Stored, Touch};
use cloakroom_core::{Error, ErrorKind, Login, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use crate::Cost;
use crate::events::end_of_flushed;
use crate::provider::Pointer;
use crate::queue::Ticket;
use crate::shared::Shared;
use crate::store_calls::bytes_moved;

/// How often the engine loads the new key after a rotation whose answer was lost.
const LOOKS_MAX: u32 = 3;

/// How long these loads may take together, unless `conflict_deadline` is longer.
const LOOK_MIN: Duration = Duration::from_secs(2);

/// How long a write waits in the queue of its session while no writer ahead of it
/// finishes, unless `conflict_deadline` is longer. A store that hangs must not hold up
/// each waiting writer for its own full time.
const QUEUE_WAIT_MIN: Duration = Duration::from_secs(10);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Writes one changeset to the store.
pub(crate) struct Writer<'e> {
    engine: &'e Shared,
    now: Timestamp,
    pub(crate) cost: Cost,
    /// Whether a touch has found that the session was ended or moved.
    pub(crate) is_gone: bool,
    /// The login that stands now where the changes have followed a session that had moved:
    /// the request itself goes on seeing the one from before.
    pub(crate) login_at_moved: Option<Arc<Login>>,
    /// What was written first for a session that is tied to one of a provider.
    pub(crate) pointer: Option<Pointer>,
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
            is_gone: false,
            login_at_moved: None,
            pointer: None,
        }
    }

    pub(crate) async fn create(&mut self, changeset: &mut Changeset) -> SaveOutcome {
        let key = match self.new_key() {
            Ok(key) => key,
            Err(error) => return SaveOutcome::NotWritten(error),
        };
        let record = self.record(changeset);
        if let Err(error) = self.point_to(&record, changeset.stored()).await {
            return SaveOutcome::NotWritten(error);
        }
        let create = self.engine.store.create_token(&key, &record);
        let written = self.engine.written_by(Some(&record), create).await;
        self.cost.write(&record);
        match written {
            Ok(mut written) => {
                let token = written.token.take().unwrap_or_else(|| key.to_token());
                self.stored(token, written.revision, record)
            }
            Err(error) => failed(error),
        }
    }

    pub(crate) fn new_key(&self) -> Result<SessionKey, Error> {
        let key = SessionKey::generate(&*self.engine.entropy)?;
        Ok(key.of_site(&self.engine.site))
    }

    pub(crate) async fn update(&mut self, token: &Token, changeset: &mut Changeset) -> SaveOutcome {
        self.swap(token, changeset, &Attempt::Update).await
    }

    pub(crate) async fn rotate(
        &mut self,
        token: &Token,
        new: &SessionKey,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        self.swap(token, changeset, &Attempt::Rotate(new)).await
    }

    pub(crate) async fn touch(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
        touch: Option<Touch>,
    ) -> SaveOutcome {
        let (Some(stored_record), Some(touch)) = (changeset.stored(), touch) else {
            return SaveOutcome::Unchanged;
        };
        let mut record = stored_record.clone();
        record.touch(touch);
        let touched = match self.point_to(&record, changeset.stored()).await {
            Ok(()) => {
                self.cost.touch();
                let touch = self.engine.store.touch_token(token, &record);
                self.engine.written_by(None, touch).await
            }
            Err(error) => Err(error),
        };
        match touched {
            Ok(written) => self.kept(token, written, record),
            // A touch that is lost costs idle time, not the request.
            Err(error) => {
                self.is_gone = error.kind() == ErrorKind::Gone;
                if !self.is_gone {
                    self.engine.touch_failed(token, &error);
                }
                SaveOutcome::Unchanged
            }
        }
    }

    pub(crate) async fn log_out(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        // A logout waits in no queue: a slow writer ahead of it must not delay it.
        match self.end(token, EndReason::LoggedOut, changeset).await {
            Ok(()) => SaveOutcome::Deleted,
            Err(error) => failed(error),
        }
    }

    pub(crate) async fn log_out_all(&mut self, tokens: &[Token]) -> Result<(), Error> {
        let mut ended = Ok(());
        let ending = Ending::new(EndReason::LoggedOut, self.now);
        for token in tokens {
            let result = self.end_token(token, &ending).await;
            if result.is_ok() {
                self.engine.other_token_ended(token, &(&ending).into());
            }
            ended = ended.and(result);
        }
        ended
    }

    /// Ends the session of the request.
    async fn end(
        &mut self,
        token: &Token,
        because: EndReason,
        changeset: &mut Changeset,
    ) -> Result<(), Error> {
        let ending = Ending::new(because, self.now);
        self.end_token(token, &ending).await?;
        let subject = changeset
            .stored()
            .and_then(|record| record.subject.as_ref());
        self.engine.ended(token, &(&ending).into(), subject);
        Ok(())
    }

    pub(crate) async fn end_token(&mut self, token: &Token, ending: &Ending) -> Result<(), Error> {
        self.cost.touch();
        let end = self.engine.store.end_token(token, Some(ending));
        self.engine.written_by(None, end).await
    }

    /// Writes what leads from a provider's session to the one that is about to be written, where
    /// that is tied to one for the first time, or for longer than before.
    async fn point_to(&mut self, record: &Record, stored: Option<&Record>) -> Result<(), Error> {
        let (engine, written) = (self.engine, self.pointer.take());
        let login = record.login.as_deref();
        if login.is_some_and(|login| login.provider.is_some()) {
            let pointer = Pointer::written(engine, written, stored, record, &mut self.cost);
            self.pointer = Box::pin(pointer).await?;
        }
        Ok(())
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
    ) -> SaveOutcome {
        let wait = self.engine.conflict_deadline.max(QUEUE_WAIT_MIN);
        let Some(mut ticket) = self.engine.queue.enter(token, wait).await else {
            return SaveOutcome::NotWritten(Error::new(
                ErrorKind::Unavailable,
                "other requests of this session are being written for too long; this one \
                 was not",
            ));
        };
        if let Err(error) = self.go_on_from(&mut ticket, token, changeset) {
            return SaveOutcome::NotWritten(error);
        }
        let mut conflicts = Conflicts::of(self.engine);
        loop {
            let record = self.record(changeset);
            if let Err(error) = self.point_to(&record, changeset.stored()).await {
                return SaveOutcome::NotWritten(error);
            }
            let written = self.try_swap(token, &record, attempt).await;
            self.cost.write(&record);
            let error = match written {
                Ok(written) => {
                    let outcome = self.kept(token, written, record);
                    if let SaveOutcome::Stored {
                        record,
                        token: Some(now),
                    } = &outcome
                        && now == token
                    {
                        ticket.leave(token, record);
                    }
                    return outcome;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Conflict => {}
                // A renewal alone has nothing to take along.
                ErrorKind::Gone if !changeset.is_modified() => return SaveOutcome::Gone,
                ErrorKind::Gone => return Box::pin(self.gone(token, changeset)).await,
                _ => return failed(error),
            }
            if let Err(error) = conflicts.wait().await {
                return SaveOutcome::NotWritten(error);
            }
            let replayed = match self.fresh(token).await {
                Ok(Some(fresh)) => self.replay(token, changeset, fresh),
                Ok(None) if !changeset.is_modified() => return SaveOutcome::Gone,
                Ok(None) => return Box::pin(self.gone(token, changeset)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = replayed {
                return SaveOutcome::NotWritten(error);
            }
        }
    }

    /// Whoever has waited begins with what the writer before has stored, unless they have
    /// loaded what another process has written on top of that.
    fn go_on_from(
        &self,
        ticket: &mut Ticket,
        token: &Token,
        changeset: &mut Changeset,
    ) -> Result<(), Error> {
        let newer = ticket.last_written(token).filter(|last| {
            let base = changeset.stored();
            base.is_some_and(|base| base.revision < last.revision)
        });
        match newer {
            Some(newer) => self.replay(token, changeset, newer),
            None => Ok(()),
        }
    }

    /// Decides about a session that was ended or moved while this request ran. A change
    /// follows it to where it has moved with its data; else it has nowhere to go. A logout
    /// ends the session wherever it has moved. A login is no late write: it begins a new
    /// session with nothing of the old one. A step-up is one, since it is about the old one.
    async fn gone(&mut self, token: &Token, changeset: &mut Changeset) -> SaveOutcome {
        if changeset.is_flushed()
            && let Err(error) = self.end(token, end_of_flushed(changeset), changeset).await
        {
            return failed(error);
        }
        // What follows a flush is no late write either.
        let begins_anew = changeset.is_flushed() && changeset.has_content();
        let logs_in = changeset.is_login() && !changeset.is_step_up();
        if logs_in || begins_anew {
            return match changeset.detach() {
                Ok(()) => self.create(changeset).await,
                Err(error) => SaveOutcome::NotWritten(error),
            };
        }
        match changeset.is_flushed() {
            true => SaveOutcome::Deleted,
            false if changeset.is_step_up() => self.step_up_of_moved(token, changeset).await,
            // A new key is given to whoever holds the present one.
            false if changeset.wants_rotation() => SaveOutcome::Gone,
            false => self.follow(token, changeset).await,
        }
    }

    /// A step-up that another request has made already, as where a form is sent twice, needs
    /// no writing: whoever sent both has the token of the first.
    async fn step_up_of_moved(&mut self, token: &Token, changeset: &mut Changeset) -> SaveOutcome {
        let load = self.engine.store.load_moved(token, self.now);
        let moved = match self.engine.read_by(load, bytes_moved).await {
            Ok(moved) => moved,
            Err(error) => return SaveOutcome::NotWritten(error),
        };
        self.cost
            .load_record(moved.as_ref().map(|(_, record)| record));
        let is_said = moved.is_some_and(|(_, moved)| {
            !self.engine.expiry.is_expired(&moved, self.now) && changeset.is_said_by(&moved)
        });
        match changeset.stored().filter(|_| is_said) {
            Some(record) => SaveOutcome::Stored {
                record: record.clone(),
                token: None,
            },
            None => SaveOutcome::Gone,
        }
    }

    /// Replays the changes where a rotation has moved the session meanwhile, if its data
    /// came along and nobody has logged in. The client is not told the token there, and
    /// the request goes on seeing what it saw: whoever holds the old key writes what they
    /// were about to write, and reads nothing.
    async fn follow(&mut self, token: &Token, changeset: &mut Changeset) -> SaveOutcome {
        let seen = changeset.seen();
        let Some(base) = seen.0.clone() else {
            return SaveOutcome::Gone;
        };
        let store = &self.engine.store;
        let mut conflicts = Conflicts::of(self.engine);
        loop {
            let load = store.load_moved(token, self.now);
            let moved = match self.engine.read_by(load, bytes_moved).await {
                Ok(moved) => moved,
                Err(error) => return SaveOutcome::NotWritten(error),
            };
            self.cost
                .load_record(moved.as_ref().map(|(_, record)| record));
            let moved = moved.filter(|(_, moved)| {
                base.is_continued_by(moved) && !self.engine.expiry.is_expired(moved, self.now)
            });
            let Some((digest, moved)) = moved else {
                return SaveOutcome::Gone;
            };
            if let Err(error) = self.replay(token, changeset, moved) {
                return SaveOutcome::NotWritten(error);
            }
            let record = self.record(changeset);
            if let Err(error) = self.point_to(&record, changeset.stored()).await {
                return SaveOutcome::NotWritten(error);
            }
            let update = store.update_moved(&digest, &record);
            let written = self.engine.written_by(Some(&record), update).await;
            self.cost.write(&record);
            match written {
                Ok(_) => {
                    self.login_at_moved = record.login;
                    changeset.go_back_to(seen);
                    return SaveOutcome::Stored {
                        record: base,
                        token: None,
                    };
                }
                // It was changed, or moved on.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Gone) => {}
                Err(error) => return failed(error),
            }
            if let Err(error) = conflicts.wait().await {
                return SaveOutcome::NotWritten(error);
            }
        }
    }

    /// Ends the session wherever it has moved, and begins a new one with what follows the
    /// flush.
    pub(crate) async fn replace(
        &mut self,
        token: &Token,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        Box::pin(self.gone(token, changeset)).await
    }

    async fn try_swap(
        &self,
        token: &Token,
        record: &Record,
        attempt: &Attempt<'_>,
    ) -> Result<Written, Error> {
        let store = &self.engine.store;
        let write = match attempt {
            Attempt::Update => store.update_token(token, record),
            Attempt::Rotate(new) => {
                let mark_until = self.now.saturating_add(self.engine.rotation_mark);
                store.rotate_token(token, new, record, mark_until)
            }
        };
        self.engine.written_by(Some(record), write).await
    }

    async fn fresh(&mut self, token: &Token) -> Result<Option<Record>, Error> {
        let loaded = self.engine.load(token).await?;
        self.cost.load(&loaded);
        Ok(loaded
            .and_then(|loaded| loaded.stored.into_record())
            .filter(|record| !self.engine.expiry.is_expired(record, self.now)))
    }

    fn replay(&self, token: &Token, changeset: &mut Changeset, fresh: Record) -> Result<(), Error> {
        let overwritten = changeset.replay(fresh)?;
        self.engine.replayed(token);
        if overwritten.is_empty() {
            return Ok(());
        }
        self.engine.overwritten(token, overwritten.len());
        if self.engine.strict_reads {
            return Err(Error::new(
                ErrorKind::Overwritten,
                format!(
                    "{} entries that were read, then set had been changed by another request",
                    overwritten.len()
                ),
            ));
        }
        Ok(())
    }

    /// Loads the new key of a rotation whose outcome is unknown. Nothing is written
    /// again, but if the rotation did happen, the client must get the new key.
    pub(crate) async fn look_for(&mut self, token: &Token) -> Option<Record> {
        let start = Instant::now();
        for look in 1..=LOOKS_MAX {
            let left = self.engine.conflict_deadline.max(LOOK_MIN);
            let left = left.saturating_sub(start.elapsed());
            let load = self.engine.load(token);
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
                sleep(pause(self.engine, look)).await;
            }
        }
        None
    }

    /// What is stored now, under this token unless the store has given it another.
    fn kept(&self, token: &Token, written: Written, record: Record) -> SaveOutcome {
        let token = written.token.unwrap_or_else(|| token.clone());
        self.stored(token, written.revision, record)
    }

    fn stored(&self, token: Token, revision: Revision, mut record: Record) -> SaveOutcome {
        record.revision = revision;
        // Only a token that is the whole session can be too long, and of such a
        // session nothing was written but what the client does not get.
        if let Err(error) = self.engine.transport.check_length(&token) {
            return SaveOutcome::NotWritten(error);
        }
        SaveOutcome::Stored {
            token: Some(token),
            record,
        }
    }
}

/// How often other requests were first, and until when a write is tried again.
struct Conflicts<'e> {
    engine: &'e Shared,
    deadline: Option<Instant>,
    count: u32,
}

impl<'e> Conflicts<'e> {
    fn of(engine: &'e Shared) -> Self {
        Self {
            engine,
            deadline: Instant::now().checked_add(engine.conflict_deadline),
            count: 0,
        }
    }

    /// Counts one, and pauses before the next attempt, but for the first.
    async fn wait(&mut self) -> Result<(), Error> {
        self.count += 1;
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "other requests changed the session {} times within conflict_deadline; \
                     nothing was written",
                    self.count
                ),
            ));
        }
        if self.count > 1 {
            sleep(pause(self.engine, self.count)).await;
        }
        Ok(())
    }
}

/// Doubles with each attempt, up to a limit, and varies by half either way, so that two
/// processes do not keep meeting.
fn pause(engine: &Shared, attempt: u32) -> Duration {
    let base = Duration::from_millis(1 << attempt.min(6)).min(PAUSE_MAX);
    let mut chance = [128];
    // Without chance the pause is the plain one: nothing depends on it.
    let _ = engine.entropy.fill(&mut chance);
    base / 2 + base * u32::from(chance[0]) / 256
}

/// Whether the store may have written it, by the kind of its error.
fn failed(error: Error) -> SaveOutcome {
    match error.kind() {
        ErrorKind::Exists
        | ErrorKind::Conflict
        | ErrorKind::Gone
        | ErrorKind::TooLarge
        | ErrorKind::Mismatch
        | ErrorKind::Misconfigured => SaveOutcome::NotWritten(error),
        _ => SaveOutcome::Unknown(error),
    }
}
