//! Moving all that no request meets.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cloakroom_core::store::{Scan, ScanCursor, SessionStore, Stored};
use cloakroom_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::moving::{as_known, sweep_freezes};
use crate::{Migrating, is_unreadable};

/// Items of a page of the former store that are looked at.
const PAGE_ITEMS_MAX: usize = 64;

/// How far a copy gets ahead of its rate before it waits: timers are no finer.
const AHEAD_MAX: Duration = Duration::from_millis(2);

/// How long a copy in the background waits after an error.
const RETRY: Duration = Duration::from_secs(10);

/// What a [`copy`](Migrating::copy) has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Sessions that were found in the former store and are no more there. Requests, and
    /// other copies, may have moved some of them.
    pub moved: u64,
    /// Records that the former store keeps and that cannot be read. Nobody can open them.
    pub unreadable: u64,
    /// Rotation marks that the former store keeps until a sweep finds that they have
    /// expired; the new store has them too.
    pub rotation_marks: u64,
}

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// Moves all sessions that are left in the former store, so many in a second at most,
    /// and ends when a pass over that store finds none. Each is asked of the new store
    /// after it was written there, before the former one forgets it.
    ///
    /// It keeps no state of its own: dropped or killed, it goes on where it is called
    /// again, since what it has moved is no more there. Requests may go on meanwhile, and
    /// so may another copy.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the former store cannot be scanned,
    /// [`ErrorKind::Unavailable`] where either store does not answer. What was moved stays
    /// moved, and another call goes on.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    pub async fn copy(&self, sessions_per_second: NonZeroU32) -> Result<Copied, Error> {
        self.copy_and_tell(sessions_per_second, |_| ()).await
    }

    /// As [`copy`](Self::copy), and tells after each page of the former store how many
    /// sessions were moved so far, for whoever watches.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    ///
    /// # Panics
    /// As [`copy`](Self::copy).
    pub async fn copy_and_tell(
        &self,
        sessions_per_second: NonZeroU32,
        mut tell: impl FnMut(u64) + Send,
    ) -> Result<Copied, Error> {
        let mut copying = Copying::begin(sessions_per_second);
        loop {
            let copied = copying.next_page(self).await?;
            tell(copying.moved);
            if let Some(copied) = copied {
                return Ok(copied);
            }
        }
    }

    /// The same in a task of its own, which tries again 10 s after an error, and ends when
    /// all have moved, the store is closed, or nobody else holds it. An error is an event at
    /// `WARN`, and the end, with what [`Copied`] counts, one at `INFO`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] outside a tokio runtime, or where the former store
    /// cannot be scanned.
    pub fn copy_in_background(
        self: &Arc<Self>,
        sessions_per_second: NonZeroU32,
    ) -> Result<(), Error> {
        self.former_scan()?;
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                "a copy in the background needs a tokio runtime: call this inside one",
            )
        })?;
        let copying = Copying::begin(sessions_per_second);
        runtime.spawn(copying.in_background(Arc::downgrade(self)));
        Ok(())
    }

    fn former_scan(&self) -> Result<&dyn Scan, Error> {
        self.from.capabilities().scan.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the store to move sessions from cannot be scanned, so nobody can say which \
                 sessions it holds",
            )
        })
    }
}

/// A copy that goes on, page by page.
struct Copying {
    pace: Pace,
    moved: u64,
    /// Of the present pass; what has moved is counted above.
    pass: Copied,
    has_found: bool,
    next: Option<ScanCursor>,
}

impl Copying {
    fn begin(sessions_per_second: NonZeroU32) -> Self {
        let pace = Pace {
            each: Duration::from_secs(1) / sessions_per_second.get(),
            due: Instant::now(),
        };
        Self {
            pace,
            moved: 0,
            pass: Copied::default(),
            has_found: false,
            next: None,
        }
    }

    /// Moves what the next page of the former store holds; answers at the end of a pass that
    /// has found no session.
    async fn next_page<A: SessionStore, B: SessionStore>(
        &mut self,
        store: &Migrating<A, B>,
    ) -> Result<Option<Copied>, Error> {
        let scan = store.former_scan()?;
        let page = scan.scan(self.next.as_ref(), PAGE_ITEMS_MAX).await?;
        for item in page.items {
            let known = item.stored.map(|stored| as_known(item.digest, stored));
            let settled = match known {
                Ok(None) => continue,
                Ok(Some((digest, stored))) => {
                    let settled = store.settle(&digest).await;
                    match (&settled, stored) {
                        (Ok(()), Stored::Rotated { .. }) => {
                            self.pass.rotation_marks += 1;
                            continue;
                        }
                        (Ok(()), Stored::Ended(_)) => continue,
                        _ => settled,
                    }
                }
                Err(error) => Err(error),
            };
            match settled {
                Ok(()) => {
                    self.moved += 1;
                    self.has_found = true;
                }
                Err(error) if is_unreadable(&error) => self.pass.unreadable += 1,
                Err(error) => return Err(error),
            }
            self.pace.wait().await;
        }
        self.next = page.next;
        if self.next.is_some() {
            return Ok(None);
        }
        if std::mem::take(&mut self.has_found) {
            self.pass = Copied::default();
            return Ok(None);
        }
        sweep_freezes(&store.from).await?;
        let moved = self.moved;
        Ok(Some(Copied { moved, ..self.pass }))
    }

    /// Holds the store for a page at a time, so that it can be dropped meanwhile.
    async fn in_background<A: SessionStore, B: SessionStore>(
        mut self,
        store: Weak<Migrating<A, B>>,
    ) {
        while let Some(store) = store.upgrade() {
            let copied = self.next_page(&store).await;
            if store.is_closed.load(Ordering::Relaxed) {
                return;
            }
            drop(store);
            match copied {
                Ok(None) => {}
                Ok(Some(Copied {
                    moved,
                    unreadable,
                    rotation_marks,
                })) => {
                    tracing::info!(
                        event = "sessions_moved",
                        moved,
                        unreadable,
                        rotation_marks,
                        "all sessions have moved to the new store: none is left in the former one"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        event = "sessions_not_moved_yet",
                        %error,
                        moved = self.moved,
                        retry_in = ?RETRY,
                        "sessions are not all moved to the new store yet"
                    );
                    // What this pass has counted would be counted again.
                    self.pass = Copied::default();
                    self.next = None;
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// Keeps a copy to its rate. What was late is not caught up with.
struct Pace {
    each: Duration,
    due: Instant,
}

impl Pace {
    async fn wait(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now) + self.each;
        if self.due > now + AHEAD_MAX {
            sleep_until(self.due).await;
        }
    }
}
