//! Work that goes on when nobody waits for it any more.

use std::sync::atomic::{AtomicUsize, Ordering};

use cloakroom_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tracing::{Instrument as _, Span};

/// How many tasks may go on at once, in the whole process: while a store hangs, a client
/// could begin one after the other and hang up.
const CARRIED_MAX: usize = 1_024;

static CARRIED: AtomicUsize = AtomicUsize::new(0);

/// A task that is counted until this is dropped.
struct Carried;

impl Carried {
    fn begin() -> Option<Self> {
        let counted = Self;
        (CARRIED.fetch_add(1, Ordering::Relaxed) < CARRIED_MAX).then_some(counted)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        CARRIED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends or moves a session. A server drops the future of a client that hangs up, so the
/// work is done in a task of its own, in the caller's span; outside a tokio runtime, and behind
/// 1,024 others, it ends with its caller.
pub(crate) async fn carry_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let (Ok(runtime), Some(carried)) = (Handle::try_current(), Carried::begin()) else {
        return work.await;
    };
    let work = async move {
        let _carried = carried;
        work.await
    };
    let task = runtime.spawn(work.instrument(Span::current()));
    task.await.unwrap_or_else(|panic| {
        let message = "the task that ended or moved the session has ended before it was done";
        Err(Error::new(ErrorKind::Unavailable, message).with_source(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_is_bounded() {
        for _ in 0..2 * CARRIED_MAX {
            let mut hangs = Box::pin(carry_out(pending::<Result<(), Error>>()));
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            assert!(hangs.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(CARRIED.load(Ordering::Relaxed), CARRIED_MAX);
        // Who still waits is served all the same.
        assert_eq!(carry_out(async { Ok(7) }).await.unwrap(), 7);
    }
}
