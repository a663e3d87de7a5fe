//! Changing a session.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::op::Op;
use super::view::{Raw, View};
use super::{Session, encode_value};
use crate::session::value;
use crate::{Error, ErrorKind, Label, SessionExpiry, Subject};

/// The name of Django's test cookie entry, and its value.
pub(super) const TEST_COOKIE: (&str, &str) = ("testcookie", "worked");

/// How often `update` runs its closure again because the session changed while it
/// ran. A closure that needs more runs changes the session itself each time.
const UPDATE_RUNS_MAX: usize = 64;

/// Changing a session.
impl Session {
    /// Sets the value under a name.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the type refuses to serialise, or has a 128-bit
    /// integer where serde could not read it again: see [`Value`](crate::session::Value).
    pub fn insert<T: Serialize>(&self, name: &str, value: T) -> Result<(), Error> {
        let raw = self.encode(&value)?;
        self.insert_raw(name.into(), raw)
    }

    pub(super) fn insert_raw(&self, name: Arc<str>, raw: Raw) -> Result<(), Error> {
        let mut state = self.change()?;
        state.view.set(name.clone(), raw.clone())?;
        state.record(Op::Set(name, raw));
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
    /// Those that [`Session`] names for every change.
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
        loop {
            let edits = self.change()?.edits;
            let value = self.get(name)?;
            // Decoding is the caller's code and ran without the lock: a clone
            // of this handle may have taken the value meanwhile.
            let mut state = self.change()?;
            if state.edits != edits {
                continue;
            }
            if state.view.remove(name) {
                state.record(Op::Remove(name.into()));
            }
            return Ok(value);
        }
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
        let raw = self.encode(&value)?;
        loop {
            let edits = self.change()?.edits;
            if let Some(there) = self.get(name)? {
                return Ok(there);
            }
            let mut state = self.change()?;
            if state.edits == edits {
                let name = Arc::<str>::from(name);
                state.view.set(name.clone(), raw.clone())?;
                state.record(Op::SetIfAbsent(name, raw));
                return Ok(value);
            }
        }
    }

    /// Changes the value under a name in place, beginning with `T::default()`
    /// where there is none: the one way to change what follows from the old
    /// value without losing what others do at the same time.
    ///
    /// The closure may run more than once, each time on the value as it then
    /// is: it must do nothing but change it.
    ///
    /// ```
    /// # let session = cloakroom_core::session::Session::detached();
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
        let owned = Arc::<str>::from(name);
        self.change_with(move |view| {
            let value = view.get(&owned).map(value::decode).transpose();
            let changed = change(value.map_err(|error: Error| error.of_entry(&owned))?);
            let depth_max = view.limits().depth();
            let raw = changed.map(|value| encode_value(&value, depth_max));
            view.put(&owned, raw.transpose()?)
        })
    }

    /// Removes all entries. The session stays, with its key, its subject and
    /// its expiry; see [`flush`](Self::flush) to end it.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn clear(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.view.clear();
        state.record(Op::Clear);
        Ok(())
    }

    /// Ends the session: its record is deleted, its entries and its subject are
    /// gone, its cookie is removed. This is logging out. What is inserted
    /// afterwards begins a new session under a new key. It is written when the handler is
    /// done: one that waits for something else afterwards [saves](Self::save) first, since
    /// its client may hang up.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn flush(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.flush();
        Ok(())
    }

    /// Moves the session to a new key and keeps its data: to be called on every
    /// change of privilege. [`set_subject`](Self::set_subject) does it by
    /// itself. Changes of requests that had opened the session before follow it for as
    /// long as the rotation mark stands, but not over a [`set_subject`](Self::set_subject).
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn cycle_key(&self) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        state.pending.rotate = true;
        state.mark_changed();
        Ok(())
    }

    /// Says whose session this is: logging in. From nobody to somebody moves
    /// the session to a new key and keeps its data, and so does the same subject
    /// again (reauthentication); another subject flushes it first. Its absolute
    /// lifetime is counted from here.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn set_subject(&self, subject: Subject) -> Result<(), Error> {
        let mut state = self.change()?;
        state.accessed = true;
        match state.subject() {
            Some(current) if *current != subject => state.flush(),
            Some(_) | None => state.pending.rotate = true,
        }
        state.pending.header.subject = Some(subject);
        state.pending.header.is_step_up = false;
        state.mark_changed();
        Ok(())
    }

    /// Says what this session is called in a list of its owner's sessions.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
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
    /// [`ErrorKind::Misconfigured`] for an idle time of nothing: Django's 0 is
    /// [`SessionExpiry::BrowserClose`] here.
    pub fn set_expiry(&self, expiry: SessionExpiry) -> Result<(), Error> {
        if expiry == SessionExpiry::Idle(Duration::ZERO) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "an idle time of nothing; for a cookie that ends with the browser, \
                 choose SessionExpiry::BrowserClose",
            ));
        }
        let mut state = self.change()?;
        state.accessed = true;
        state.pending.header.expiry = Some(expiry);
        state.mark_changed();
        Ok(())
    }

    /// Sets a test value that the next request sees only if the browser takes cookies.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn set_test_cookie(&self) -> Result<(), Error> {
        self.insert(TEST_COOKIE.0, TEST_COOKIE.1)
    }

    /// Whether this request sees the test value that an earlier request set.
    #[must_use]
    pub fn test_cookie_worked(&self) -> bool {
        matches!(self.get::<String>(TEST_COOKIE.0), Ok(Some(value)) if value == TEST_COOKIE.1)
    }

    /// Removes the test value.
    ///
    /// # Errors
    /// Those that [`Session`] names for every change.
    pub fn delete_test_cookie(&self) -> Result<(), Error> {
        self.remove(TEST_COOKIE.0).map(|_| ())
    }

    /// Runs the caller's closure on a copy of the view and without the lock, since the
    /// closure may use this very session. If the session changed meanwhile, the closure
    /// runs again on the session as it is then.
    pub(super) fn change_with(
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
}
