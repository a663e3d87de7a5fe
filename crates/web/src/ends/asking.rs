//! The task that asks the store for all who wait.

use std::future::{pending, poll_fn};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use cloakroom_core::engine::{Token, TokenStore as _};
use cloakroom_core::session::Ended;
use cloakroom_core::store::{
    BoxFuture, EndReason, Invalidation, KeyDigest, Listener, Record, Revision, RotationPath,
    Stored, Subscriber, stay_subscribed,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Ends;
use crate::shared::Shared;

/// Those who wait are looked through in so many steps, one after the other in the engine's
/// rhythm, so that neither the store nor the lock is taken by all of them at once.
const STEPS: u32 = 16;

/// How many loads are under way at once.
const LOADS_MAX: usize = 16;

/// How long one session is asked about. A load that hangs must not hold up the others.
const LOAD_MAX: Duration = Duration::from_secs(10);

/// How long the task and its subscription go on when nobody waits: a visitor who reloads the
/// page opens the next socket.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Runs the task, if it does not run yet. It runs on the runtime of the one who waits, and ends
/// with it; then those who wait elsewhere run it there.
pub(super) fn keep_asking(engine: &Arc<Shared>) {
    let ends = &engine.ends;
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    if ends.is_asking.swap(true, Ordering::SeqCst) {
        return;
    }
    let running = Running(ends.clone());
    let engine = Arc::downgrade(engine);
    runtime.spawn(async move {
        let ends = &running.0;
        let mut parts: [BoxFuture<'_, ()>; 3] = [
            Box::pin(ask_in_rhythm(&engine)),
            Box::pin(ask_soon(&engine, ends)),
            Box::pin(listen(&engine, ends)),
        ];
        poll_fn(|context| {
            let mut parts = parts.iter_mut();
            match parts.any(|part| part.as_mut().poll(context).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    });
}

/// That the task runs, until this is dropped.
struct Running(Arc<Ends>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().is_subscribed = false;
        self.0.is_asking.store(false, Ordering::SeqCst);
        self.0.wake_all();
    }
}

/// Ends when the engine is gone, and a while after the last one has gone that waited.
async fn ask_in_rhythm(engine: &Weak<Shared>) {
    let mut after = None;
    let mut step = 0;
    let mut waited_at = Instant::now();
    loop {
        let pause = {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            if !engine.ends.is_empty() {
                waited_at = Instant::now();
            } else if waited_at.elapsed() > IDLE_MAX {
                return;
            }
            let due = engine.ends.due(&mut after, engine.clock.now());
            ask_all(&engine, due).await;
            engine.ends.check_every / STEPS
        };
        step = (step + 1) % STEPS;
        if step == 0 {
            after = None;
        }
        sleep(pause.max(Duration::from_millis(1))).await;
    }
}

async fn ask_soon(engine: &Weak<Shared>, ends: &Ends) {
    loop {
        ends.soon.notified().await;
        let soon = std::mem::take(&mut ends.lock().soon);
        let Some(engine) = engine.upgrade() else {
            return;
        };
        ask_all(&engine, soon).await;
    }
}

async fn listen(engine: &Weak<Shared>, ends: &Ends) {
    let announces = engine.upgrade().is_some_and(|engine| {
        let capabilities = engine.store.token_capabilities();
        capabilities.invalidations.is_some()
    });
    if !announces {
        return pending().await;
    }
    let listen = async || match engine.upgrade() {
        Some(engine) => listen_to(&engine).await,
        None => Err(ErrorKind::Closed.into()),
    };
    match stay_subscribed(listen, sleep, ends).await {}
}

async fn listen_to(engine: &Shared) -> Result<Box<dyn Listener>, Error> {
    match engine.store.token_capabilities().invalidations {
        Some(invalidations) => invalidations.listen().await,
        None => Err(ErrorKind::Misconfigured.into()),
    }
}

impl Subscriber for Ends {
    /// What happened before was not heard, so all are asked about once.
    fn subscribed(&self) {
        let mut waiting = self.lock();
        waiting.is_subscribed = true;
        for entry in waiting.entries.values_mut() {
            entry.is_sure = false;
        }
        drop(waiting);
        tracing::info!(
            event = "ends_subscribed",
            "those who wait for the ends of sessions hear of other nodes"
        );
    }

    /// What has ended or moved is asked about soon. A write may have moved the deadline, and
    /// is asked about in the rhythm, however many there are.
    fn announced(&self, invalidation: &Invalidation) {
        if self.is_empty() {
            return;
        }
        let Invalidation { digest, revision } = invalidation;
        let mut waiting = self.lock();
        let mut is_news = false;
        for entry in waiting.at(digest) {
            if entry.revision < *revision {
                entry.is_sure = false;
                is_news = true;
            }
        }
        if is_news && *revision == Revision::LAST {
            self.ask_soon(&mut waiting, *digest);
        }
    }

    fn disconnected(&self, error: &Error, retry_in: Duration) {
        self.lock().is_subscribed = false;
        tracing::warn!(
            event = "ends_disconnected",
            %error,
            ?retry_in,
            "those who wait for the ends of sessions do not hear of other nodes; the store is \
             asked in its rhythm until they do"
        );
    }
}

impl Ends {
    /// The sessions of the next step that are to be asked about, behind `after`, which is
    /// moved on.
    fn due(&self, after: &mut Option<(KeyDigest, u64)>, now: Timestamp) -> Vec<KeyDigest> {
        let waiting = self.lock();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let step = waiting.entries.len().div_ceil(STEPS as usize);
        let mut due = Vec::new();
        let entries = waiting.entries.range((from, std::ops::Bound::Unbounded));
        for (key, entry) in entries.take(step) {
            if !entry.is_sure || !waiting.is_subscribed || entry.deadline <= now {
                due.push(key.0);
            }
            *after = Some(*key);
        }
        due.dedup();
        due
    }

    /// Notes that the store is asked about a session, before it is: what is announced from now
    /// on is asked about again. Answers the token to ask by, where there is one.
    fn begin_asking(&self, digest: &KeyDigest) -> Option<Token> {
        let mut token = None;
        for entry in self.lock().at(digest) {
            entry.is_sure = true;
            token = entry.token.clone();
        }
        token
    }

    fn note_failure(&self, digest: &KeyDigest) {
        for entry in self.lock().at(digest) {
            entry.is_sure = false;
        }
    }

    /// Tells those who wait for a session what the store has answered.
    fn note_answer(&self, engine: &Shared, asked: &KeyDigest, answer: &Answer) {
        let mut waiting = self.lock();
        let mut entries = waiting.take(asked);
        if answer.at != *asked {
            entries.extend(waiting.take(&answer.at));
        }
        let mut resolved = Vec::new();
        for (_, mut entry) in entries {
            let ended = match &answer.found {
                Ok(record) => entry.ended_by(record),
                Err(ended) => Some(ended.clone()),
            };
            if let (Ok(record), None) = (&answer.found, &ended) {
                entry.note(record, &engine.expiry);
                waiting.put(answer.at, entry);
            } else if let Some(ended) = ended {
                resolved.push((entry.end, ended));
            }
        }
        self.note_count(&waiting);
        drop(waiting);
        for (end, ended) in resolved {
            end.resolve(ended);
        }
    }
}

async fn ask_all(engine: &Arc<Shared>, digests: impl IntoIterator<Item = KeyDigest>) {
    let mut loads = JoinSet::new();
    for digest in digests {
        if loads.len() == LOADS_MAX {
            loads.join_next().await;
        }
        let engine = engine.clone();
        loads.spawn(async move { ask(&engine, &digest).await });
    }
    while loads.join_next().await.is_some() {}
}

async fn ask(engine: &Shared, digest: &KeyDigest) {
    let token = engine.ends.begin_asking(digest);
    match timeout(LOAD_MAX, look(engine, digest, token.as_ref())).await {
        Ok(Ok(answer)) => engine.ends.note_answer(engine, digest, &answer),
        // A store that does not answer ends nobody's session.
        Ok(Err(_)) | Err(_) => engine.ends.note_failure(digest),
    }
}

/// What the store knows of a session.
pub(super) struct Answer {
    /// Where it is, or was when it ended.
    at: KeyDigest,
    pub(super) found: Result<Record, Ended>,
}

/// Looks for a session where it is now, by a token where it lies with the client.
pub(super) async fn look(
    engine: &Shared,
    digest: &KeyDigest,
    token: Option<&Token>,
) -> Result<Answer, Error> {
    // Before it is loaded, or a use meanwhile would come too late for it.
    let now = engine.clock.now();
    let mut path = RotationPath::from(*digest);
    let found = loop {
        let stored = match token {
            Some(token) => {
                let loaded = engine.load(token).await;
                loaded.map(|loaded| loaded.map(|loaded| loaded.stored))
            }
            None => {
                let load = engine.store.load_at(path.at());
                engine.read_by(load, |_| None).await
            }
        };
        match stored {
            Ok(Some(Stored::Rotated { to, .. })) => path.follow(to)?,
            Ok(Some(Stored::Record(record))) if engine.expiry.is_expired(&record, now) => {
                break Err(engine.expiry.ended_unused(&record));
            }
            Ok(Some(Stored::Record(record))) => break Ok(record),
            Ok(Some(Stored::Ended(tombstone))) => break Err(tombstone.into()),
            Ok(None) => break Err(Ended::new(EndReason::Unknown)),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge) => {
                break Err(Ended::new(EndReason::Damaged));
            }
            Err(error) => return Err(error),
        }
    };
    Ok(Answer {
        at: *path.at(),
        found,
    })
}
