//! The locks that writers of all processes share: one of 64 for each session.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::Error;
use cloakroom_core::store::KeyDigest;
use cloakroom_disk::{FileIdentity, private_options};
use fs4::TryLockError;

use crate::error::{failed, unavailable};
use crate::layout::Layout;

/// How many sessions can be written at the same instant. All processes must agree on
/// the number, so it belongs to the layout on the disk.
const STRIPES: u8 = 64;

/// A lock is held for a rename or two. A process that holds one for longer than this
/// has been stopped.
pub(crate) const LOCK_WAIT_SECS_MAX: u64 = 10;

/// A lock that another process holds for longer than this is stalled. Nobody waits for it
/// who holds another.
const STALLED: Duration = Duration::from_millis(500);

/// Threads that may wait for stalled locks at the same time: half of those that write.
const STALLED_WAITERS_MAX: usize = crate::THREADS / 2;

/// A stall that nobody has met for this long may have ended, and is measured anew.
const STALL_FORGOTTEN: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// The locks, and until when the holder of this waits for them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Locks {
    shared: Arc<Shared>,
    deadline: Instant,
}

struct Shared {
    layout: Arc<Layout>,
    stripes: Vec<Stripe>,
    stalled_waiters: AtomicUsize,
}

/// A lock is a file that is locked against other processes, and a flag against the other
/// threads of this one: the lock of a file belongs to the opened file, which the threads
/// share.
struct Stripe {
    /// Of the thread that has taken the stripe.
    file: Mutex<LockFile>,
    state: Mutex<State>,
    released: Condvar,
}

/// A file that is locked, as long as it is the one at its path.
struct LockFile {
    file: File,
    identity: FileIdentity,
}

impl LockFile {
    /// Opens it, and makes it where it is missing.
    fn open(layout: &Layout, stripe: u8) -> io::Result<Self> {
        let mut options = private_options();
        options.write(true).create(true).truncate(false);
        let path = path_of(layout, stripe);
        // A crash may take it back: then it is made again.
        let open = || options.open(&path);
        let (file, _) = layout.make_in_unsynced(&layout.locks_folder(), open)?;
        let identity = FileIdentity::of(&file)?;
        Ok(Self { file, identity })
    }

    fn unlock(&self) {
        // By the trait's name: since Rust 1.89 `File` has a method of this name, which
        // the crate's oldest Rust has not.
        let _ = fs4::FileExt::unlock(&self.file);
    }
}

#[derive(Default)]
struct State {
    /// One thread has the lock, or asks the system for it.
    taken: bool,
    /// Another process has it.
    stall: Option<Stall>,
}

#[derive(Clone, Copy)]
struct Stall {
    since: Instant,
    seen: Instant,
}

/// A lock that is held until this is dropped.
pub(crate) struct LockGuard<'l>(&'l Stripe);

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.0.file().unlock();
        self.0.release();
    }
}

impl Locks {
    pub(crate) fn open(layout: &Arc<Layout>) -> io::Result<Self> {
        let stripes = (0..STRIPES).map(|stripe| {
            Ok(Stripe {
                file: Mutex::new(LockFile::open(layout, stripe)?),
                state: Mutex::default(),
                released: Condvar::new(),
            })
        });
        let shared = Shared {
            layout: layout.clone(),
            stripes: stripes.collect::<io::Result<_>>()?,
            stalled_waiters: AtomicUsize::new(0),
        };
        let locks = Self {
            shared: Arc::new(shared),
            deadline: Instant::now(),
        };
        Ok(locks.renewed())
    }

    /// The same locks, for work that arrives now: it waits 10 s for all that it takes
    /// together.
    pub(crate) fn renewed(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            deadline: Instant::now() + Duration::from_secs(LOCK_WAIT_SECS_MAX),
        }
    }

    /// Whether the work has arrived so long ago that it would wait for no lock.
    pub(crate) fn is_too_late(&self) -> bool {
        self.deadline <= Instant::now()
    }

    /// Waits for the lock of a digest.
    pub(crate) fn lock(&self, digest: &KeyDigest) -> Result<LockGuard<'_>, Error> {
        self.wait(stripe_of(digest))
    }

    /// Waits for the locks of two digests.
    pub(crate) fn lock_both(
        &self,
        one: &KeyDigest,
        other: &KeyDigest,
    ) -> Result<Vec<LockGuard<'_>>, Error> {
        let mut stripes = vec![stripe_of(one), stripe_of(other)];
        stripes.sort_unstable();
        stripes.dedup();
        self.lock_each(&stripes)
    }

    /// Waits for all locks. Until they are dropped, nobody writes.
    pub(crate) fn lock_all(&self) -> Result<Vec<LockGuard<'_>>, Error> {
        self.lock_each(&Vec::from_iter(0..STRIPES))
    }

    /// Whoever takes several locks takes the one of the lower number first, so that no two
    /// writers wait for each other. One that is stalled is waited for alone: those that
    /// were taken before it are given back, and taken again behind it.
    fn lock_each(&self, stripes: &[u8]) -> Result<Vec<LockGuard<'_>>, Error> {
        loop {
            let mut locks = Vec::with_capacity(stripes.len());
            let mut stalled = None;
            for stripe in stripes {
                match self.take(*stripe, Wait::UntilStalled)? {
                    Some(lock) => locks.push(lock),
                    None => {
                        stalled = Some(*stripe);
                        break;
                    }
                }
            }
            let Some(stalled) = stalled else {
                return Ok(locks);
            };
            drop(locks);
            if self.is_too_late() {
                return Err(self.failed(stalled, STALLED));
            }
            self.wait(stalled).map(drop)?;
        }
    }

    fn wait(&self, stripe: u8) -> Result<LockGuard<'_>, Error> {
        match self.take(stripe, Wait::UntilDeadline)? {
            Some(lock) => Ok(lock),
            None => Err(self.failed(stripe, STALLED)),
        }
    }

    /// `None` where the lock is stalled and is not waited for.
    fn take(&self, stripe: u8, wait: Wait) -> Result<Option<LockGuard<'_>>, Error> {
        let at = &self.shared.stripes[usize::from(stripe)];
        // Work that takes long meets locks behind its deadline, which are rarely stalled.
        let begun = Instant::now();
        let deadline = self.deadline.max(begun + STALLED);
        let mut waiter = None;
        let mut state = at.state();
        // First against the threads of this process.
        while state.taken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                return Err(self.failed(stripe, begun.elapsed()));
            }
            if state.is_stalled() && !self.may_wait(wait, &mut waiter) {
                return Ok(None);
            }
            let woken = at.released.wait_timeout(state, left.min(STALLED));
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.taken = true;
        drop(state);
        let taken = self.take_from_system(stripe, deadline, wait, &mut waiter);
        if !matches!(taken, Ok(true)) {
            at.release();
        }
        Ok(taken?.then_some(LockGuard(at)))
    }

    /// Then against other processes, whom nobody can be woken by. Where a cleaner has removed
    /// the file that this one has open, they lock another, and so does this one.
    fn take_from_system<'l>(
        &'l self,
        stripe: u8,
        deadline: Instant,
        wait: Wait,
        waiter: &mut Option<StalledWaiter<'l>>,
    ) -> Result<bool, Error> {
        let at = &self.shared.stripes[usize::from(stripe)];
        let path = path_of(&self.shared.layout, stripe);
        let mut pause = Duration::from_micros(20);
        let mut file = at.file();
        loop {
            match fs4::FileExt::try_lock(&file.file) {
                Ok(()) if !file.identity.has_left(&path) => {
                    at.state().stall = None;
                    return Ok(true);
                }
                Ok(()) => {
                    file.unlock();
                    *file = LockFile::open(&self.shared.layout, stripe).map_err(|source| {
                        failed("open a lock", &self.shared.layout.locks_folder(), source)
                    })?;
                    if deadline > Instant::now() {
                        continue;
                    }
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {
                    continue;
                }
                Err(TryLockError::Error(source)) => {
                    let message = format!(
                        "cannot lock {}: {source}; the store needs a file system with `flock`",
                        path.display()
                    );
                    return Err(unavailable(message).with_source(source));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            let stalled_for = at.state().note_stall();
            let wait_max = Duration::from_secs(LOCK_WAIT_SECS_MAX);
            if deadline <= Instant::now() || stalled_for > wait_max {
                return Err(self.failed(stripe, stalled_for));
            }
            if stalled_for > STALLED && !self.may_wait(wait, waiter) {
                return Ok(false);
            }
            thread::sleep(pause);
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Whether this thread may go on waiting for a lock that is stalled.
    fn may_wait<'l>(&'l self, wait: Wait, waiter: &mut Option<StalledWaiter<'l>>) -> bool {
        if wait == Wait::UntilStalled {
            return false;
        }
        if waiter.is_none() {
            *waiter = StalledWaiter::count(&self.shared.stalled_waiters);
        }
        waiter.is_some()
    }

    fn failed(&self, stripe: u8, waited: Duration) -> Error {
        let path = path_of(&self.shared.layout, stripe);
        let path = path.display();
        let stripe = &self.shared.stripes[usize::from(stripe)];
        unavailable(match stripe.state().stall {
            Some(_) => format!(
                "another process has held the lock {path} for more than {waited:.1?}; \
                 `fuser {path}` shows the processes that use it: let the one that was stopped go \
                 on, or end it"
            ),
            None => format!(
                "waited {waited:.1?} for the lock {path} behind other work of this process; see \
                 whether the disk is slow"
            ),
        })
    }
}

impl Stripe {
    fn file(&self) -> MutexGuard<'_, LockFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that panicked with the state has left it whole: it always is.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        self.state().taken = false;
        self.released.notify_one();
    }
}

impl State {
    fn is_stalled(&self) -> bool {
        self.stall
            .is_some_and(|stall| stall.since.elapsed() > STALLED)
    }

    /// Another process has the lock; since when, as far as this one knows.
    fn note_stall(&mut self) -> Duration {
        let now = Instant::now();
        let known = self.stall.filter(|it| now - it.seen < STALL_FORGOTTEN);
        let since = known.map_or(now, |it| it.since);
        self.stall = Some(Stall { since, seen: now });
        now - since
    }
}

/// How long a thread waits for a lock at most.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    UntilDeadline,
    /// It holds others.
    UntilStalled,
}

/// A thread that waits for a stalled lock, and is counted until this is dropped.
struct StalledWaiter<'l>(&'l AtomicUsize);

impl<'l> StalledWaiter<'l> {
    fn count(waiters: &'l AtomicUsize) -> Option<Self> {
        let counted = Self(waiters);
        (waiters.fetch_add(1, Ordering::Relaxed) < STALLED_WAITERS_MAX).then_some(counted)
    }
}

impl Drop for StalledWaiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn path_of(layout: &Layout, stripe: u8) -> PathBuf {
    layout.locks_folder().join(format!("{stripe:02x}"))
}

/// By the last byte of the digest; the first one names the session's folder.
fn stripe_of(digest: &KeyDigest) -> u8 {
    digest.as_bytes()[KeyDigest::BYTES - 1] % STRIPES
}
