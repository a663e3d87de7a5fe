//! Who may replace or remove a file: one at a time, of all processes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::Error;
use cloakroom_core::store::KeyDigest;
use fs4::TryLockError;

use crate::access::private;
use crate::unavailable;

/// How many sessions can be written at the same instant. All processes must
/// agree on it, so it belongs to the layout.
const STRIPES: u8 = 64;

/// A lock is held for a rename or two; who has it for longer has been stopped.
const LOCK_WAIT_SECS_MAX: u64 = 10;

/// The longest pause between two attempts, in microseconds.
const PAUSE_MICROS_MAX: u64 = 2_000;

/// A file's lock belongs to the opened file, so threads of one process need the
/// mutex beside it.
pub(crate) struct Locks {
    stripes: Vec<Mutex<File>>,
}

/// A stripe that is held until this is dropped.
pub(crate) struct Held<'l> {
    file: MutexGuard<'l, File>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The explicit path: `File` has methods of these names since Rust 1.89.
        let _ = fs4::FileExt::unlock(&*self.file);
    }
}

impl Locks {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let stripes = (0..STRIPES)
            .map(|stripe| {
                let path = folder.join(format!("{stripe:02x}"));
                let opened = private()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path);
                opened.map(Mutex::new)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { stripes })
    }

    /// Waits for the lock of a digest.
    pub(crate) fn hold(&self, digest: &KeyDigest) -> Result<Held<'_>, Error> {
        self.stripe(stripe_of(digest))
    }

    /// Waits for the locks of two digests, in the order that all writers keep,
    /// so that no two wait for each other.
    pub(crate) fn hold_both(
        &self,
        one: &KeyDigest,
        other: &KeyDigest,
    ) -> Result<(Held<'_>, Option<Held<'_>>), Error> {
        let (one, other) = (stripe_of(one), stripe_of(other));
        let first = self.stripe(one.min(other))?;
        let second = if one == other {
            None
        } else {
            Some(self.stripe(one.max(other))?)
        };
        Ok((first, second))
    }

    /// Waits for all locks, in that order too: nobody writes until they are dropped.
    pub(crate) fn hold_all(&self) -> Result<Vec<Held<'_>>, Error> {
        (0..STRIPES).map(|stripe| self.stripe(stripe)).collect()
    }

    fn stripe(&self, stripe: u8) -> Result<Held<'_>, Error> {
        // A panic while it was held left the files whole: they always are.
        let file = self.stripes[usize::from(stripe)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        take(&file)?;
        Ok(Held { file })
    }
}

/// The last byte: the first one is the folder's.
fn stripe_of(digest: &KeyDigest) -> u8 {
    digest.as_bytes()[KeyDigest::BYTES - 1] % STRIPES
}

fn take(file: &File) -> Result<(), Error> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        match fs4::FileExt::try_lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(source)) => {
                return Err(unavailable("a lock file cannot be locked").with_source(source));
            }
            Err(TryLockError::WouldBlock) => {
                if begun.elapsed() > Duration::from_secs(LOCK_WAIT_SECS_MAX) {
                    return Err(unavailable(format!(
                        "another process holds a lock of this store for longer than \
                         LOCK_WAIT_SECS_MAX = {LOCK_WAIT_SECS_MAX}"
                    )));
                }
                thread::sleep(pause);
                pause = (2 * pause).min(Duration::from_micros(PAUSE_MICROS_MAX));
            }
        }
    }
}
