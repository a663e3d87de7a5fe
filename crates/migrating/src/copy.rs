//! Moving all that no request meets.

use std::num::NonZeroU32;
use std::time::Duration;

use cloakroom_core::store::{ScanCursor, SessionStore, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use tokio::time::{Instant, sleep_until};

use crate::moving::as_known;
use crate::{Migrating, is_unreadable};

/// Items of a page of the former store that are looked at.
const PAGE_ITEMS_MAX: usize = 64;

/// How far a copy gets ahead of its rate before it waits: timers are no finer.
const AHEAD_MAX: Duration = Duration::from_millis(2);

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

    /// As [`copy`](Self::copy), and tells after each session how many were moved so far, for
    /// whoever watches.
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
        let mut moved = 0;
        let mut pace = Pace {
            each: Duration::from_secs(1) / sessions_per_second.get(),
            due: Instant::now(),
        };
        loop {
            let (pass, found) = self
                .copy_pass(&mut pace, |found| tell(moved + found))
                .await?;
            moved += found;
            if found == 0 {
                self.sweep_freezes().await?;
                return Ok(Copied { moved, ..pass });
            }
        }
    }

    /// One pass over the former store; answers how many sessions it has found there.
    async fn copy_pass(
        &self,
        pace: &mut Pace,
        mut tell: impl FnMut(u64) + Send,
    ) -> Result<(Copied, u64), Error> {
        let scan = self.from.capabilities().scan.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the store to move sessions from cannot be scanned, so nobody can say which \
                 sessions it holds",
            )
        })?;
        let (mut pass, mut found) = (Copied::default(), 0);
        let mut next: Option<ScanCursor> = None;
        loop {
            let page = scan.scan(next.as_ref(), PAGE_ITEMS_MAX).await?;
            for item in page.items {
                let known = item.stored.map(|stored| as_known(item.digest, stored));
                let settled = match known {
                    Ok(None) => continue,
                    Ok(Some((digest, stored))) => {
                        let settled = self.settle(&digest).await;
                        match (&settled, stored) {
                            (Ok(()), Stored::Rotated { .. }) => {
                                pass.rotation_marks += 1;
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
                        found += 1;
                        tell(found);
                    }
                    Err(error) if is_unreadable(&error) => pass.unreadable += 1,
                    Err(error) => return Err(error),
                }
                pace.wait().await;
            }
            next = page.next;
            if next.is_none() {
                return Ok((pass, found));
            }
        }
    }

    /// Removes what freezing has left in the former store: rotation marks that were due at
    /// once. No session is as old.
    async fn sweep_freezes(&self) -> Result<(), Error> {
        if let Some(sweep) = self.from.capabilities().sweep {
            while sweep.sweep(Timestamp::EPOCH, PAGE_ITEMS_MAX).await?.more {}
        }
        Ok(())
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
