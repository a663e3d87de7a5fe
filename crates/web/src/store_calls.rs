//! Calls to the store, timed, and whether it answers them.

use std::sync::atomic::Ordering;

use cloakroom_core::engine::{LoadedToken, Token, TokenStore as _};
use cloakroom_core::store::{KeyDigest, Record, Stored};
use cloakroom_core::{Error, ErrorKind};

use crate::measure::{Begun, Counted};
use crate::shared::Shared;

impl Shared {
    /// What stands under a token.
    pub(crate) async fn load(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        self.read_by(self.store.load_token(token), bytes_loaded)
            .await
    }

    /// Waits for a call to the store that reads, and notes how it went. `bytes` is how much
    /// session data a good answer holds.
    pub(crate) async fn read_by<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
        bytes: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T, Error> {
        let begun = Begun::now();
        let answer = call.await;
        self.events
            .measures
            .loaded(begun, answer.as_ref().ok().and_then(bytes));
        self.note_answer(answer.as_ref().err());
        answer
    }

    /// Waits for a call to the store that writes a record, or `None` where it writes no data,
    /// and notes how it went.
    pub(crate) async fn written_by<T>(
        &self,
        record: Option<&Record>,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Begun::now();
        let answer = call.await;
        let bytes = record.map(|record| record.data.as_bytes().len());
        self.events.measures.saved(begun, bytes);
        self.note_answer(answer.as_ref().err());
        answer
    }

    fn note_answer(&self, error: Option<&Error>) {
        match error {
            Some(error) if is_outage(error) => self.store_failed(error),
            // It says nothing of the next call.
            Some(error) if error.kind() == ErrorKind::Misconfigured => {}
            _ if self.events.is_failing.load(Ordering::Relaxed) => self.store_answered(),
            _ => {}
        }
    }

    /// Tells of an outage once, and of those that follow within a minute not at once: a store
    /// that answers every second call must not fill the log.
    fn store_failed(&self, error: &Error) {
        let events = &self.events;
        if !events.is_failing.swap(true, Ordering::Relaxed) {
            events.measures.count(Counted::StoreDown);
            events.measures.store_is_up(false);
        }
        if events.is_failing_told.load(Ordering::Relaxed) {
            return;
        }
        if let Some(unlogged) = events.outages.log_at(self.clock.now()) {
            events.is_failing_told.store(true, Ordering::Relaxed);
            tracing::error!(
                event = "store_down",
                store = events.store,
                %error,
                unlogged,
                "the store does not answer; requests that use a session fail until it does"
            );
        }
    }

    fn store_answered(&self) {
        let events = &self.events;
        if !events.is_failing.swap(false, Ordering::Relaxed) {
            return;
        }
        events.measures.store_is_up(true);
        if events.is_failing_told.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                event = "store_back",
                store = events.store,
                "the store answers again"
            );
        }
    }
}

fn bytes_loaded(loaded: &Option<LoadedToken>) -> Option<usize> {
    match &loaded.as_ref()?.stored {
        Stored::Record(record) => Some(record.data.as_bytes().len()),
        Stored::Rotated { .. } | Stored::Ended(_) => None,
    }
}

pub(crate) fn bytes_moved(moved: &Option<(KeyDigest, Record)>) -> Option<usize> {
    let (_, record) = moved.as_ref()?;
    Some(record.data.as_bytes().len())
}

fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Locked)
}
