//! Waking a flush that would wait for ever.
//!
//! Where the last writer to a buffer of sled's log hands it to a thread, and the disk fails
//! there, sled 0.34.7 notes the error and wakes nobody: a flush that waits for that buffer
//! waits until somebody else writes, and here the writers wait for the flush. A flush that
//! begins after the error wakes all that wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_disk::JobThreads;

use crate::sync::DatabaseHandle;

/// How often a flush that is under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A background thread that looks at flushes under way, and sleeps while there is none.
pub(crate) struct Waker {
    flags: Arc<Flags>,
    thread: JobThreads<()>,
}

#[derive(Default)]
struct Flags {
    is_flushing: AtomicBool,
    is_looking: AtomicBool,
}

impl Waker {
    pub(crate) fn start(handle: Arc<DatabaseHandle>) -> io::Result<Self> {
        let flags = Arc::<Flags>::default();
        let looked = flags.clone();
        let look = move |_: Vec<()>| {
            if !looked.is_flushing.load(Ordering::SeqCst) {
                looked.is_looking.store(false, Ordering::SeqCst);
                // One that has begun since has taken this thread to be looking.
                if !looked.is_flushing.load(Ordering::SeqCst) {
                    return None;
                }
                looked.is_looking.store(true, Ordering::SeqCst);
            }
            if let Ok(database) = handle.to_read() {
                database.wake();
            }
            Some(LOOK_EVERY)
        };
        let thread = JobThreads::start_batched("cloakroom-sled-wake", usize::MAX, look)?;
        Ok(Self { flags, thread })
    }

    /// Runs a flush, and wakes it where it waits for what has failed.
    pub(crate) fn while_watched<T>(&self, flush: impl FnOnce() -> T) -> T {
        self.flags.is_flushing.store(true, Ordering::SeqCst);
        if !self.flags.is_looking.swap(true, Ordering::SeqCst) {
            self.thread.tell(());
        }
        let done = flush();
        self.flags.is_flushing.store(false, Ordering::SeqCst);
        done
    }
}
