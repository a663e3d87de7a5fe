//! The locks that writers of all processes share: one of 64 for each session.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::Error;
use cloakroom_core::store::KeyDigest;
use cloakroom_disk::private_options;
use fs4::TryLockError;

use crate::error::unavailable;

/// How many sessions can be written at the same instant. All processes must agree on
/// the number, so it belongs to the layout on the disk.
const STRIPES: u8 = 64;

/// A lock is held for a rename or two. A process that holds one for longer than this
/// has been stopped.
const LOCK_WAIT_SECS_MAX: u64 = 10;

/// The longest pause between two attempts, in microseconds.
const PAUSE_MICROS_MAX: u64 = 2_000;

/// A lock is a file that is locked against other processes, and a mutex against the
/// other threads of this one: the lock of a file belongs to the opened file, which the
/// threads share.
pub(crate) struct Locks {
    folder: PathBuf,
    stripes: Vec<Mutex<File>>,
}

/// A lock that is held until this is dropped.
pub(crate) struct LockGuard<'l> {
    file: MutexGuard<'l, File>,
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // By the trait's name: since Rust 1.89 `File` has a method of this name, which
        // the crate's oldest Rust has not.
        let _ = fs4::FileExt::unlock(&*self.file);
    }
}

impl Locks {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let stripes = (0..STRIPES).map(|stripe| {
            let mut options = private_options();
            options.write(true).create(true).truncate(false);
            options.open(path_in(folder, stripe)).map(Mutex::new)
        });
        Ok(Self {
            folder: folder.to_path_buf(),
            stripes: stripes.collect::<io::Result<_>>()?,
        })
    }

    /// Waits for the lock of a digest.
    pub(crate) fn lock(&self, digest: &KeyDigest) -> Result<LockGuard<'_>, Error> {
        self.lock_stripe(stripe_of(digest))
    }

    /// Waits for the locks of two digests. Whoever takes several locks takes the one of
    /// the lower number first, so that no two writers wait for each other.
    pub(crate) fn lock_both(
        &self,
        one: &KeyDigest,
        other: &KeyDigest,
    ) -> Result<(LockGuard<'_>, Option<LockGuard<'_>>), Error> {
        let (one, other) = (stripe_of(one), stripe_of(other));
        let first = self.lock_stripe(one.min(other))?;
        let second = if one == other {
            None
        } else {
            Some(self.lock_stripe(one.max(other))?)
        };
        Ok((first, second))
    }

    /// Waits for all locks, in the same order. Until they are dropped, nobody writes.
    pub(crate) fn lock_all(&self) -> Result<Vec<LockGuard<'_>>, Error> {
        (0..STRIPES)
            .map(|stripe| self.lock_stripe(stripe))
            .collect()
    }

    fn lock_stripe(&self, stripe: u8) -> Result<LockGuard<'_>, Error> {
        // A thread that panicked with the lock has left the files whole: they always are.
        let file = self.stripes[usize::from(stripe)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lock_file(&file, || path_in(&self.folder, stripe))?;
        Ok(LockGuard { file })
    }
}

fn path_in(folder: &Path, stripe: u8) -> PathBuf {
    folder.join(format!("{stripe:02x}"))
}

/// By the last byte of the digest; the first one names the session's folder.
fn stripe_of(digest: &KeyDigest) -> u8 {
    digest.as_bytes()[KeyDigest::BYTES - 1] % STRIPES
}

fn lock_file(file: &File, path: impl Fn() -> PathBuf) -> Result<(), Error> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        match fs4::FileExt::try_lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(source)) => {
                let message = format!(
                    "cannot lock {}: {source}; the store needs a file system with `flock`",
                    path().display()
                );
                return Err(unavailable(message).with_source(source));
            }
            Err(TryLockError::WouldBlock) => {
                if begun.elapsed() > Duration::from_secs(LOCK_WAIT_SECS_MAX) {
                    let path = path();
                    let path = path.display();
                    return Err(unavailable(format!(
                        "another process has held the lock {path} for more than \
                         LOCK_WAIT_SECS_MAX = {LOCK_WAIT_SECS_MAX} s; `fuser {path}` shows the \
                         processes that use it: let the one that was stopped go on, or end it"
                    )));
                }
                thread::sleep(pause);
                pause = (2 * pause).min(Duration::from_micros(PAUSE_MICROS_MAX));
            }
        }
    }
}
