//! Reading a session.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Session;
use crate::session::{Entries, Value, value};
use crate::store::{KeyDigest, Record};
use crate::{Error, Label, Subject, Timestamp};

/// Reading.
impl Session {
    /// Says that this request only looks: what it reads is no use of the session, and
    /// moves no deadline. For a page that asks again and again who is logged in, and must
    /// not keep an idle session alive. A change is a use all the same.
    ///
    /// ```
    /// # let session = cloakroom_core::session::Session::detached();
    /// let is_logged_in = session.peek().subject().is_some();
    /// # assert!(!is_logged_in);
    /// ```
    pub fn peek(&self) -> &Self {
        self.lock().peeks = true;
        self
    }

    /// The value under a name.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) where it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        // Decoding is the caller's code, so it runs without the lock.
        let bytes = {
            let mut state = self.lock();
            state.note_read(name);
            state.view.value_bytes(name)
        };
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let value = value::decode(bytes.as_bytes());
        value.map_err(|error: Error| error.of_entry(name)).map(Some)
    }

    /// The value under a name, whatever its type.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where its bytes are not a value.
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
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) where they cannot be
    /// put together within the limits; no change that succeeded leads there.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        let entries = self.read_all()?;
        Ok(entries.iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// All values, in ascending order of their names.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where one's bytes are not a value.
    pub fn values(&self) -> Result<Vec<Value>, Error> {
        let entries = self.items()?;
        Ok(entries.into_iter().map(|(_, value)| value).collect())
    }

    /// All names and values, in ascending order of the names.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where one's bytes are not a value.
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

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the session stands in the store, as of the last load or save.
    #[must_use]
    pub fn exists(&self) -> bool {
        let mut state = self.lock();
        state.accessed = true;
        state.stored.is_some() && !state.pending.flushed
    }

    /// The stored record as of the last load or save, its data as bytes: what a
    /// page about the session shows.
    #[must_use]
    pub fn stored_record(&self) -> Option<Record> {
        let mut state = self.lock();
        state.accessed = true;
        state.stored.clone()
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
        let header = state.header(&context.expiry, context.now);
        context.expiry.cookie_ends_with_browser(&header)
    }

    /// The public id of the session: the digest of its key, which opens nothing.
    /// `None` until it is first stored. A login or a `cycle_key` moves the session
    /// to another id, so key by it only what may end with that.
    #[must_use]
    pub fn id(&self) -> Option<KeyDigest> {
        let is_stored = {
            let mut state = self.lock();
            state.accessed = true;
            state.stored.is_some()
        };
        // A token that opened nothing has a digest too.
        let commit = self.shared.context.commit.as_ref().filter(|_| is_stored)?;
        commit.upgrade()?.id()
    }

    /// Who is logged in.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let mut state = self.lock();
        state.accessed = true;
        state.subject().cloned()
    }

    /// What its owner reads in a list of their sessions, as
    /// [`set_label`](Self::set_label) says.
    #[must_use]
    pub fn label(&self) -> Option<Label> {
        let mut state = self.lock();
        state.accessed = true;
        state.label().cloned()
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
}
