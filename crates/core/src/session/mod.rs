//! For the application: the session as a handler uses it, and the values in it.
//!
//! [`Session`] is a typed dictionary that records what is done to it.

mod alive;
mod change;
pub(crate) mod changeset;
pub(crate) mod commit;
mod deadlines;
mod ended;
mod entries;
mod fields;
mod flash;
mod limits;
mod login;
mod op;
pub(crate) mod opening;
mod read;
mod state;
mod typed;
mod value;
mod view;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub use self::ended::Ended;
pub use self::entries::{Entries, ReadEntries};
pub use self::limits::{Limits, NESTING_DEPTH_CEILING};
pub use self::typed::{SessionStruct, Typed};
pub use self::value::{Value, ValueError};

use self::changeset::SaveOutcome;
use self::commit::Context;
use self::op::Pending;
use self::state::{Phase, Shared, State};
use self::view::{Raw, View};
use crate::store::Record;
use crate::{Error, ErrorKind, Expiry, Timestamp};

/// A handle to one request's session: cheap to clone, all clones are the one
/// session, every method takes `&self` and none waits for I/O but
/// [`save`](Self::save) and [`take_flash`](Self::take_flash), which saves.
///
/// Changes are recorded as operations and written once, before the response
/// headers leave. Where another request has changed the session meanwhile,
/// they are replayed on what it left: changes to different names all survive,
/// and N concurrent [`update`](Self::update)s of a counter count N. Reading a
/// value and then [`insert`](Self::insert)ing what follows from it cannot be
/// replayed that way: use `update`.
///
/// # Replay
///
/// Where the record has changed since it was loaded, what this request recorded
/// is applied, in its order, to what the other has left:
///
/// | recorded by | replayed as |
/// |---|---|
/// | `insert`, `extend`, `insert_fields` | sets the same value, whatever stands there |
/// | `remove`, `pop` | removes whatever stands there |
/// | `get_or_insert` | sets the value only where none stands |
/// | `update`, `update_with`, `update_fields`, `flash` | runs the closure on what stands there then |
/// | `take_flash` | takes what is left then of the values that it saw |
/// | `clear` | removes everything, also what the other has added |
/// | `set_expiry`, `set_label` | the last one counts |
/// | `set_subject` | the same; over another subject, from nothing |
/// | `cycle_key` | moves what stands there then |
/// | `flush` | ends the session, wherever it has moved |
///
/// What was no change is not recorded: removing what this request did not see,
/// or `get_or_insert` of what it did see.
///
/// A name is any text of at most [`Limits::name_bytes_max`] bytes. A value is
/// anything serde can serialise; see [`Value`] for how it is kept.
///
/// ```
/// use cloakroom_core::session::Session;
/// use cloakroom_core::Error;
///
/// fn add_to_cart(session: &Session, item: &str) -> Result<usize, Error> {
///     let item = item.to_owned();
///     session.update("cart", move |cart: &mut Vec<String>| cart.push(item.clone()))?;
///     Ok(session.get::<Vec<String>>("cart")?.map_or(0, |cart| cart.len()))
/// }
///
/// let session = Session::detached();
/// assert_eq!(add_to_cart(&session, "tea")?, 1);
/// assert_eq!(add_to_cart(&session, "milk")?, 2);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Every change fails with [`ErrorKind::Closed`] once the response has left,
/// and with [`ErrorKind::TooLarge`] where it would exceed one of the
/// [`Limits`]; a change that fails is not made. Every typed read fails with
/// [`ErrorKind::Mismatch`] where the value is of another type.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// A session of its own, in no store, that saves into itself: for tests of
    /// code that takes one.
    #[must_use]
    pub fn detached() -> Self {
        let context = Context::new(Timestamp::EPOCH, Limits::default(), Expiry::default());
        Self::with(None, Entries::empty(), context)
    }

    fn with(stored: Option<Record>, entries: Entries, context: Context) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    stored,
                    read: entries.clone(),
                    view: View::new(entries, context.limits),
                    pending: Pending::default(),
                    out: None,
                    accessed: false,
                    modified: false,
                    peeks: false,
                    phase: Phase::Open,
                    over: false,
                    dead: false,
                    edits: 0,
                    watch: None,
                }),
                context,
            }),
        }
    }

    /// Writes the changes now, where the handler wants the result; without it
    /// they are written when the handler is done.
    ///
    /// # Errors
    /// What the store says; see
    /// [`SessionStore::update`](crate::store::SessionStore::update);
    /// [`ErrorKind::Gone`] where the session was ended, or moved without its data, and
    /// the changes have nowhere to go. Changes that were
    /// certainly not written wait for the next save; after an
    /// [`ErrorKind::Unavailable`] every later save fails too, since nobody
    /// knows what was written. [`ErrorKind::Closed`] once the request is over.
    pub async fn save(&self) -> Result<(), Error> {
        let Some(commit) = &self.shared.context.commit else {
            return self.save_alone();
        };
        match commit.upgrade() {
            Some(commit) => commit.commit().await,
            None => Err(Error::new(
                ErrorKind::Closed,
                "the request this session belonged to is over",
            )),
        }
    }

    /// A session without an engine is its own store.
    fn save_alone(&self) -> Result<(), Error> {
        let changeset = self.changeset()?;
        let context = &self.shared.context;
        let record = changeset.record(&context.expiry, context.now, 0);
        let outcome = SaveOutcome::Stored {
            record,
            token: None,
        };
        self.settle(changeset, outcome)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a caller runs under this lock, and ours leaves the state
        // whole at every point where it could panic.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.over || matches!(state.phase, Phase::Closing | Phase::Closed) {
            return Err(Error::new(
                ErrorKind::Closed,
                "the response has left; change the session before it does",
            ));
        }
        Ok(state)
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Raw, Error> {
        encode_value(value, self.shared.context.limits.depth())
    }
}

thread_local! {
    /// Where one value after the other is encoded before it is shared.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a thread keeps for the next value.
const SCRATCH_BYTES_MAX: usize = 16 * 1024;

fn encode_value<T: Serialize>(value: &T, depth_max: usize) -> Result<Raw, Error> {
    // Serialising is the caller's code: it may encode another value meanwhile, in a scratch of
    // its own.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let encoded = value::encode_into(&mut scratch, value, depth_max);
    let raw = encoded.map(|()| Raw::from(&scratch[..]));
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        // No thread holds a value of a session for longer than it needs it.
        scratch.fill(0);
        // A thread that ends keeps nothing.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
    raw
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Session")
            .field("stored", &state.stored.is_some())
            .field("entries", &state.view.len())
            .field("modified", &state.modified)
            .field("opened_at", &self.shared.context.now)
            .finish_non_exhaustive()
    }
}
