//! By which instant a session is due to be swept. A sweep cannot be taken back, so a clock
//! that has jumped ahead is not believed.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::Sweep;
use cloakroom_core::{Clock, Error, Timestamp};
use tokio::time::Instant;

/// How long an expired session is left where it is, and by how much a clock may go ahead
/// of another before that is an event: the sweep of a clock that is ahead by less ends no
/// session too early.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// When a jump of the clock is believed. The time that has passed stands still while a
/// machine sleeps, and a clock that was behind is put right by a jump.
const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The clock of a sweeper, and what it last said that can be believed.
pub(super) struct SweepClock {
    clock: Arc<dyn Clock>,
    believed: Timestamp,
    believed_at: Instant,
    jump: Option<Jump>,
    is_ahead_of_store: bool,
}

/// A jump ahead that is not believed yet.
#[derive(Clone, Copy)]
struct Jump {
    at: Instant,
    by: Duration,
}

impl SweepClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            believed: clock.now(),
            believed_at: Instant::now(),
            jump: None,
            is_ahead_of_store: false,
            clock,
        }
    }

    /// What the clock says, whether it can be believed or not.
    pub(super) fn reading(&self) -> Timestamp {
        self.clock.now()
    }

    /// What had expired by this instant can be removed.
    ///
    /// # Errors
    /// Where the store has a clock, and does not answer.
    pub(super) async fn due_by(&mut self, store: &dyn Sweep) -> Result<Timestamp, Error> {
        let mut now = self.now();
        if let Some(theirs) = store.own_time().await? {
            let ahead = now.saturating_since(theirs);
            let was_ahead = self.is_ahead_of_store;
            self.is_ahead_of_store = ahead > GRACE;
            if self.is_ahead_of_store && !was_ahead {
                tracing::warn!(
                    event = "sweep_clock_ahead_of_store",
                    ?ahead,
                    "this machine's clock is ahead of the store's, and sessions are swept by the \
                     store's: have both machines keep the time by NTP"
                );
            }
            now = now.min(theirs);
        }
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
        Ok(Timestamp::from_millis(
            now.as_millis().saturating_sub(grace),
        ))
    }

    /// The clock's time, or where it has jumped ahead, the time that has passed.
    fn now(&mut self) -> Timestamp {
        let (now, at) = (self.clock.now(), Instant::now());
        let passed = self.believed.saturating_add(at - self.believed_at);
        let ahead = now.saturating_since(passed);
        if ahead > GRACE {
            // One that jumps further ahead is another one.
            let known = self.jump.filter(|jump| ahead <= jump.by + GRACE);
            let jump = known.unwrap_or_else(|| {
                tracing::warn!(
                    event = "sweep_clock_jumped",
                    ?ahead,
                    "this machine's clock has jumped ahead, and is not believed for a day: \
                     sessions are swept by the time that has passed. If it is wrong, set it \
                     right; if it was wrong before, nothing is to be done"
                );
                Jump { at, by: ahead }
            });
            self.jump = Some(jump);
            if at - jump.at < BELIEVED_AFTER {
                return passed;
            }
        }
        self.jump = None;
        (self.believed, self.believed_at) = (now, at);
        now
    }
}
