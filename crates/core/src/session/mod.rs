//! The session as a handler uses it: a typed dictionary that records what is
//! done to it.

mod draft;
mod engine;
mod op;
mod state;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::draft::{Draft, Settled};
use self::op::{Op, Pending};
pub use self::state::Context;
use self::state::{Phase, Shared, State};
use self::view::{Raw, View};
use crate::{
    BoxFuture, Entries, Error, ErrorKind, Expiry, Label, Limits, Record, SessionExpiry, Subject,
    Timestamp, Value,
};

/// A handle to one request's session: cheap to clone, all clones are the one
/// session, every method takes `&self` and none waits for I/O but
/// [`save`](Self::save).
///
/// Changes are recorded as operations and written once, before the response
/// headers leave. Where another request has changed the session meanwhile,
/// they are replayed on what it left: changes to different names all survive,
/// and N concurrent [`update`](Self::update)s of a counter count N. Reading a
/// value and then [`insert`](Self::insert)ing what follows from it cannot be
/// replayed that way: use `update`.
///
/// A name is any text of at most [`Limits::name_bytes_max`] bytes. A value is
/// anything serde can serialise; see [`Value`] for how it is kept.
///
/// ```
/// use cloakroom_core::{Error, Session};
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

/// What [`Session::save`] calls: the engine that opened the session.
pub trait Commit: Send + Sync {
    /// Writes the session's changes now.
    fn commit(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// The name of Django's test cookie entry, and its value.
const TEST_COOKIE: (&str, &str) = ("testcookie", "worked");

/// How often `update` runs its closure anew because the session was changed
/// while it ran; more than that is a closure that changes the session itself.
const UPDATE_RUNS_MAX: usize = 64;

impl Session {
    /// A session of its own, in no store: for tests of code that takes one.
    #[must_use]
    pub fn detached() -> Self {
        let context = Context {
            now: Timestamp::EPOCH,
            limits: Limits::default(),
            expiry: Expiry::default(),
            commit: None,
        };
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
                    accessed: false,
                    modified: false,
                    phase: Phase::Open,
                    edits: 0,
                }),
                context,
            }),
        }
    }

    // Reading.

    /// The value under a name.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        self.get_value(name)?.map(Value::read).transpose()
    }

    /// The value under a name, whatever its type.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where its bytes are not a value.
    pub fn get_value(&self, name: &str) -> Result<Option<Value>, Error> {
        let mut state = self.lock();
        state.note_read(name);
        state.view.get(name).map(Value::decode).transpose()
    }

    /// Whether there is a value under a name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let mut state = self.lock();
        state.note_read(name);
        state.view.get(name).is_some()
    }

    /// All names, in ascending order.
    ///
    /// # Errors
    /// None in practice; a session within its limits can be listed.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        let entries = self.read_all()?;
        Ok(entries.iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// All values, in ascending order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where one's bytes are not a value.
    pub fn values(&self) -> Result<Vec<Value>, Error> {
        let entries = self.items()?;
        Ok(entries.into_iter().map(|(_, value)| value).collect())
    }

    /// All names and values, in ascending order of the names.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where one's bytes are not a value.
    pub fn items(&self) -> Result<Vec<(String, Value)>, Error> {
        self.read_all()?
            .iter()
            .map(|(name, raw)| Ok((name.to_owned(), Value::decode(raw)?)))
            .collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut state = self.lock();
        state.accessed = true;
        state.view.len()
    }

    /// Whether there are no entries. Does not count as reading the session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().view.len() == 0
    }

    /// Whether the session stands in the store, as of the last load or save.
    /// Does not count as reading the session.
    #[must_use]
    pub fn exists(&self) -> bool {
        let state = self.lock();
        state.stored.is_some() && !state.pending.flushed
    }

    /// The stored record as of the last load or save, its data as bytes: what a
    /// page about the session shows. Does not count as reading the session.
    #[must_use]
    pub fn stored_record(&self) -> Option<Record> {
        self.lock().stored.clone()
    }

    /// When the session will expire, if it is saved now and not used again: what
    /// [`set_expiry`](Self::set_expiry) has chosen, or the configured lifetime,
    /// counted from this request's beginning.
    #[must_use]
    pub fn expiry_date(&self) -> Timestamp {
        let mut state = self.lock();
        state.accessed = true;
        let context = &self.shared.context;
        state.header(&context.expiry, context.now).expires_at
    }

    /// How long until [`expiry_date`](Self::expiry_date): the age of the cookie.
    /// Zero where that is past.
    #[must_use]
    pub fn expiry_age(&self) -> Duration {
        self.expiry_date().saturating_since(self.shared.context.now)
    }

    /// Whether the cookie ends with the browser.
    #[must_use]
    pub fn expires_at_browser_close(&self) -> bool {
        let mut state = self.lock();
        state.accessed = true;
        let context = &self.shared.context;
        state.header(&context.expiry, context.now).ends_with_browser
    }

    /// Who is logged in.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let mut state = self.lock();
        state.accessed = true;
        state.subject().cloned()
    }

    // Changing.

    /// Sets the value under a name.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the type refuses to serialise.
    pub fn insert<T: Serialize>(&self, name: &str, value: T) -> Result<(), Error> {
        let raw = self.encode(&value)?;
        let mut state = self.change()?;
        state.view.set(name, raw.clone())?;
        state.record(Op::Set(name.into(), raw));
        Ok(())
    }

    /// Sets several values. Where one cannot be set, those before it are.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn extend<N: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (N, T)>,
    ) -> Result<(), Error> {
        entries
            .into_iter()
            .try_for_each(|(name, value)| self.insert(name.as_ref(), value))
    }

    /// Removes the value under a name and says whether there was one. Removing
    /// nothing is no change.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let mut state = self.change()?;
        state.accessed = true;
        let removed = state.view.remove(name);
        if removed {
            state.record(Op::Remove(name.into()));
        }
        Ok(removed)
    }

    /// Takes the value under a name out of the session. Where it is of another
    /// type, it stays.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where it is of another type.
    pub fn pop<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let value = self.get(name)?;
        if value.is_some() {
            self.remove(name)?;
        }
        Ok(value)
    }

    /// The value under a name; where there is none, sets this one first. On
    /// replay a value that another request has set meanwhile stays.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the value there is of another type, or
    /// this one refuses to serialise.
    pub fn get_or_insert<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        value: T,
    ) -> Result<T, Error> {
        if let Some(there) = self.get(name)? {
            return Ok(there);
        }
        let raw = self.encode(&value)?;
        let mut state = self.change()?;
        state.view.set(name, raw.clone())?;
        state.record(Op::SetIfAbsent(name.into(), raw));
        Ok(value)
    }

    /// Changes the value under a name in place, beginning with `T::default()`
    /// where there is none: the one way to change what follows from the old
    /// value without losing what others do at the same time.
    ///
    /// The closure may run more than once, each time on the value as it then
    /// is: it must do nothing but change it.
    ///
    /// ```
    /// # let session = cloakroom_core::Session::detached();
    /// session.update("visits", |visits: &mut u64| *visits += 1)?;
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the value is of another type, now or on
    /// replay (which then fails the save).
    pub fn update<T, F>(&self, name: &str, mut change: F) -> Result<(), Error>
    where
        T: Serialize + DeserializeOwned + Default,
        F: FnMut(&mut T) + Send + 'static,
    {
        self.update_with(name, move |value: Option<T>| {
            let mut value = value.unwrap_or_default();
            change(&mut value);
            Some(value)
        })
    }

    /// As [`update`](Self::update), with `None` for no value: one that is not
    /// there yet, or one to remove.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_with<T, F>(&self, name: &str, mut change: F) -> Result<(), Error>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> Option<T> + Send + 'static,
    {
        let owned = name.to_owned();
        self.change_with(move |view| {
            let value = view.get(&owned).map(Value::decode).transpose()?;
            let changed = change(value.map(Value::read).transpose()?);
            let depth_max = view.limits().depth();
            let raw = changed.map(|value| encode_value(&value, depth_max));
            view.put(&owned, raw.transpose()?)
        })
    }

    /// Runs a change of the caller's on a copy of the view, without the lock:
    /// it may use this very session. Where the session changed meanwhile, it
    /// runs again on what is there then.
    fn change_with(
        &self,
        mut change: impl FnMut(&mut View) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        for _ in 0..UPDATE_RUNS_MAX {
            let (mut view, edits) = {
                let state = self.change()?;
                (state.view.clone(), state.edits)
            };
            change(&mut view)?;
            let mut state = self.change()?;
            if state.edits == edits {
                state.view = view;
                state.record(Op::Update(Box::new(change)));
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the session kept changing while an update's closure ran",
        ))
    }

    /// Removes all entries. The session stays, with its key, its subject and
    /// its expiry; see [`flush`](Self::flush) to end it.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn clear(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.view.clear();
        state.record(Op::Clear);
        Ok(())
    }

    /// Ends the session: its record is deleted, its entries and its subject are
    /// gone, its cookie is removed. This is logging out. What is inserted
    /// afterwards begins a new session under a new key.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn flush(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.flush();
        Ok(())
    }

    /// Moves the session to a new key and keeps its data: to be called on every
    /// change of privilege. [`set_subject`](Self::set_subject) does it by
    /// itself.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn cycle_key(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.pending.rotate = true;
        state.mark_changed();
        Ok(())
    }

    /// Says whose session this is: logging in. From nobody to somebody moves
    /// the session to a new key and keeps its data; to somebody else flushes it
    /// first; to the same subject changes nothing. Its absolute lifetime is
    /// counted from here.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn set_subject(&self, subject: Subject) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        match state.subject() {
            Some(current) if *current == subject => return Ok(()),
            Some(_) => state.flush(),
            None => state.pending.rotate = true,
        }
        state.pending.header.subject = Some(subject);
        state.mark_changed();
        Ok(())
    }

    /// Says what this session is called in a list of its owner's sessions.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn set_label(&self, label: Label) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.pending.header.label = Some(label);
        state.mark_changed();
        Ok(())
    }

    /// Gives this session an expiry of its own, or puts it back to the
    /// configured one.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn set_expiry(&self, expiry: SessionExpiry) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.pending.header.expiry = Some(expiry);
        state.mark_changed();
        Ok(())
    }

    /// Plants a value that only comes back if the browser takes cookies.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn set_test_cookie(&self) -> Result<(), Error> {
        self.insert(TEST_COOKIE.0, TEST_COOKIE.1)
    }

    /// Whether the value planted by an earlier request has come back.
    #[must_use]
    pub fn test_cookie_worked(&self) -> bool {
        matches!(self.get::<String>(TEST_COOKIE.0), Ok(Some(value)) if value == TEST_COOKIE.1)
    }

    /// Removes the planted value.
    ///
    /// # Errors
    /// As said of [`Session`].
    pub fn delete_test_cookie(&self) -> Result<(), Error> {
        self.remove(TEST_COOKIE.0).map(|_| ())
    }

    /// Writes the changes now, where the handler wants the result; without it
    /// they are written when the handler is done.
    ///
    /// # Errors
    /// What the store says; see
    /// [`SessionStore::update`](crate::SessionStore::update);
    /// [`ErrorKind::Gone`] where the session was ended elsewhere. Changes that were
    /// certainly not written wait for the next save; after an
    /// [`ErrorKind::Unavailable`] every later save fails too, since nobody
    /// knows what was written. [`ErrorKind::Closed`] on a session without an
    /// engine.
    pub async fn save(&self) -> Result<(), Error> {
        let commit = self.shared.context.commit.as_ref().and_then(Weak::upgrade);
        match commit {
            Some(commit) => commit.commit().await,
            None => Err(Error::new(
                ErrorKind::Closed,
                "the request this session belonged to is over",
            )),
        }
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
        if matches!(state.phase, Phase::Closed) {
            return Err(Error::new(
                ErrorKind::Closed,
                "the response has left; change the session before it does",
            ));
        }
        Ok(state)
    }

    fn read_all(&self) -> Result<Entries, Error> {
        let mut state = self.lock();
        let entries = state.view.entries()?;
        for (name, _) in entries.iter() {
            state.note_read(name);
        }
        state.accessed = true;
        Ok(entries)
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Raw, Error> {
        encode_value(value, self.shared.context.limits.depth())
    }
}

fn encode_value<T: Serialize>(value: &T, depth_max: usize) -> Result<Raw, Error> {
    Ok(Value::from_serialize(value, depth_max)?.encode()?.into())
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
