//! A database that is opened again where its disk has failed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause after the first failure. It doubles with each failure, up to [`PAUSE_MAX`],
/// and is this again once a write has succeeded.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause, unless the database takes long to open.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A pause lasts at least so many times as long as the opening before it: nobody can read
/// while a database is being opened, and on a full disk each write closes it again.
const PAUSE_PER_OPENING: u32 = 10;

/// How often it is looked whether the last operation on a database is over.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A database that may be closed, and opened again, while others use it.
///
/// Each operation asks for it anew and gives it back at its end, since a database is closed
/// once no operation has it any more. `E` says why there is none to be had.
pub struct Handle<T, E>(Mutex<State<T, E>>);

enum State<T, E> {
    Open(Arc<T>),
    /// Open, but writes are refused for this reason.
    ReadOnly(Arc<T>, E),
    Shut(E),
}

impl<T, E: Clone> Handle<T, E> {
    /// The database, to read from.
    ///
    /// # Errors
    /// Why it is not open.
    pub fn to_read(&self) -> Result<Arc<T>, E> {
        match &*self.lock() {
            State::Open(open) | State::ReadOnly(open, _) => Ok(open.clone()),
            State::Shut(why) => Err(why.clone()),
        }
    }

    /// The database, to write to.
    ///
    /// # Errors
    /// Why it is not open, or takes no writes yet.
    pub fn to_write(&self) -> Result<Arc<T>, E> {
        match &*self.lock() {
            State::Open(open) => Ok(open.clone()),
            State::ReadOnly(_, why) | State::Shut(why) => Err(why.clone()),
        }
    }

    fn set(&self, state: State<T, E>) -> State<T, E> {
        std::mem::replace(&mut *self.lock(), state)
    }

    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> fmt::Debug for Handle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// What closes the database behind a [`Handle`] and opens it again. The thread that
/// commits has it, and calls [`step`](Self::step) when its jobs are done.
///
/// After a failure nothing can be had until the database is open again, so that nobody
/// reads what the disk may not have. Then it can be read, and takes writes after a pause.
pub struct Recovery<T, E> {
    handle: Arc<Handle<T, E>>,
    open: Box<dyn FnMut() -> Result<T, E> + Send>,
    phase: Phase,
    pause: Duration,
}

#[derive(Clone, Copy)]
enum Phase {
    /// All is well, or the database was closed for good.
    Steady,
    /// It is to be opened then.
    Failed(Instant),
    /// It is open, and takes writes from then on.
    Resting(Instant),
}

impl<T, E: Clone + fmt::Display> Recovery<T, E> {
    /// Takes over an open database. `open` opens it again, and must make none anew where it
    /// is gone: that would end all sessions.
    pub fn new(open_now: T, open: impl FnMut() -> Result<T, E> + Send + 'static) -> Self {
        Self {
            handle: Arc::new(Handle(Mutex::new(State::Open(Arc::new(open_now))))),
            open: Box::new(open),
            phase: Phase::Steady,
            pause: PAUSE_MIN,
        }
    }

    /// The handle, for whoever uses the database.
    #[must_use]
    pub fn handle(&self) -> Arc<Handle<T, E>> {
        self.handle.clone()
    }

    /// A write is on the disk. The next failure is a new one, unless writes are still
    /// refused after the last.
    pub fn succeeded(&mut self) {
        if matches!(self.phase, Phase::Steady) {
            self.pause = PAUSE_MIN;
        }
    }

    /// Closes a database that has failed, once no operation has it any more; the caller
    /// must not have it either.
    pub fn failed(&mut self, why: &E) {
        tracing::error!(event = "database_failed", error = %why, "the database failed; it is opened again");
        self.shut(why.clone());
        self.phase = Phase::Failed(Instant::now());
    }

    /// Closes the database for good, as [`failed`](Self::failed) does.
    pub fn close(&mut self, why: E) {
        self.shut(why);
        self.phase = Phase::Steady;
    }

    fn shut(&mut self, why: E) {
        let (State::Open(mut open) | State::ReadOnly(mut open, _)) =
            self.handle.set(State::Shut(why))
        else {
            return;
        };
        loop {
            match Arc::try_unwrap(open) {
                // A database may panic over a disk that fails when it is closed.
                Ok(open) => {
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
                    return;
                }
                Err(used) => open = used,
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Does what is due: opens the database, or lets writes to it. Answers how long
    /// after this it is to be called again, where nothing else happens.
    pub fn step(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.phase = match self.phase {
            Phase::Failed(until) if until <= now => {
                let opened = (self.open)();
                let pause = self.pause.max(now.elapsed() * PAUSE_PER_OPENING);
                self.pause = (2 * self.pause).min(PAUSE_MAX);
                let until = Instant::now() + pause;
                match (opened, self.handle.to_read()) {
                    (Ok(open), Err(why)) => {
                        tracing::warn!(event = "database_open_again", "the database is open again");
                        self.handle.set(State::ReadOnly(Arc::new(open), why));
                        Phase::Resting(until)
                    }
                    (Err(why), _) => {
                        tracing::error!(event = "database_not_open_yet", error = %why, "the database cannot be opened again yet");
                        self.handle.set(State::Shut(why));
                        Phase::Failed(until)
                    }
                    (Ok(_), Ok(_)) => Phase::Steady,
                }
            }
            Phase::Resting(until) if until <= now => {
                if let Ok(open) = self.handle.to_read() {
                    self.handle.set(State::Open(open));
                }
                Phase::Steady
            }
            phase => phase,
        };
        match self.phase {
            Phase::Steady => None,
            Phase::Failed(until) | Phase::Resting(until) => {
                Some(until.saturating_duration_since(Instant::now()))
            }
        }
    }
}

impl<T, E> fmt::Debug for Recovery<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery").finish_non_exhaustive()
    }
}
