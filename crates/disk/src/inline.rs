//! Short work on the disk: on the caller's thread while the disk is fast, on background
//! threads while it is slow.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::hint;
use std::io;
use std::iter;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use crate::deadlines::Deadlines;
use crate::jobs::{JobLost, JobThreads};

/// Work that takes longer than this is slow. A busy machine that stops a thread for some
/// milliseconds is no slow disk.
const SLOW_MILLIS: u64 = 25;

/// How long all work stays away from the callers' threads after work that was slow.
const AWAY_SECS: u64 = 2;

/// How long a caller waits for work on a background thread.
const WAIT_SECS_MAX: u64 = 10;

/// Background threads for work that is slow.
const THREADS: usize = 4;

/// Callers' threads that work at the same time, at most.
const INLINE_MAX: usize = 12;

/// How long one more waits for one of them, in microseconds: less than a hop costs.
const TURN_MICROS_MAX: u64 = 20;

/// Runs short work on the caller's thread, since a hop to another thread costs more than
/// the work: microseconds, where the system has the pages in memory.
///
/// Where the disk is slow, or hangs, the work leaves the callers' threads, which are those
/// of an async runtime: while any work has not ended within 25 ms, and for 2 s after such
/// work has ended. It is then done by four background threads, and fails after 10 s. The
/// work that shows it has held the thread of its caller, but no second one: fewer threads
/// work at the same time than this machine has processors.
pub struct InlineWork {
    watch: Arc<Watch>,
    threads: JobThreads,
    deadlines: Deadlines,
}

impl fmt::Debug for InlineWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineWork").finish_non_exhaustive()
    }
}

impl InlineWork {
    /// Starts the background threads, which do nothing while the disk is fast.
    ///
    /// # Errors
    /// The system's, where a thread cannot be started.
    pub fn start(name: &str) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with(name, processors, Duration::from_secs(WAIT_SECS_MAX))
    }

    fn with(name: &str, processors: usize, wait_max: Duration) -> io::Result<Self> {
        Ok(Self {
            watch: Arc::new(Watch::new((processors - 1).clamp(1, INLINE_MAX))),
            threads: JobThreads::start(name, THREADS)?,
            deadlines: Deadlines::start(name, wait_max)?,
        })
    }

    /// Runs work, and answers what it returns. Where it is dropped, work that has not begun
    /// on a background thread is not done.
    ///
    /// # Errors
    /// [`NotDone`] where a background thread has not done it in time, or panicked. Nobody
    /// knows how much of it is done, or will be. A panic of work on the caller's thread is
    /// the caller's.
    pub async fn run<C, T>(
        &self,
        context: &Arc<C>,
        work: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<T, NotDone>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
    {
        if let Some(watched) = self.watch.begin_inline() {
            let done = work(context);
            drop(watched);
            return Ok(done);
        }
        let (watch, context) = (self.watch.clone(), context.clone());
        self.run_away(move || {
            let _watched = watch.begin_away();
            work(&context)
        })
        .await
    }

    async fn run_away<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let mut passed = self.deadlines.set();
        let mut done = pin!(self.threads.ask(|reply| {
            Box::new(move || {
                if reply.is_awaited() {
                    reply.send(work());
                }
            })
        }));
        poll_fn(|cx| match done.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(NotDone::Lost)),
            Poll::Pending => Pin::new(&mut passed)
                .poll(cx)
                .map(|_| Err(NotDone::TimedOut)),
        })
        .await
    }
}

/// When the work began that is being done, by callers and by background threads.
struct Watch {
    base: Instant,
    /// Microseconds since `base`; 0 where no work is done.
    inline: Box<[AtomicU64]>,
    away: Box<[AtomicU64]>,
    /// Until then, in microseconds since `base`, no work is done inline.
    away_until: AtomicU64,
}

/// Work that is being done; dropped when it has ended.
struct Watched<'w> {
    watch: &'w Watch,
    begun: &'w AtomicU64,
}

impl Watch {
    fn new(inline_max: usize) -> Self {
        let none = |count| iter::repeat_with(AtomicU64::default).take(count).collect();
        Self {
            base: Instant::now(),
            inline: none(inline_max),
            away: none(THREADS),
            away_until: AtomicU64::new(0),
        }
    }

    /// Microseconds since `base`, and never 0.
    fn now(&self) -> u64 {
        let micros = self.base.elapsed().as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).max(1)
    }

    /// `None` where the caller's thread must not do it.
    fn begin_inline(&self) -> Option<Watched<'_>> {
        let now = self.now();
        let all = self.inline.iter().chain(&self.away);
        let is_slow = |begun: &AtomicU64| is_slow(begun.load(Ordering::Relaxed), now);
        if now < self.away_until.load(Ordering::Relaxed) || all.into_iter().any(is_slow) {
            return None;
        }
        loop {
            let claimed = self.claim(&self.inline, now);
            if claimed.is_some() || self.now() - now > TURN_MICROS_MAX {
                return claimed;
            }
            hint::spin_loop();
        }
    }

    fn begin_away(&self) -> Option<Watched<'_>> {
        self.claim(&self.away, self.now())
    }

    fn claim<'w>(&'w self, of: &'w [AtomicU64], now: u64) -> Option<Watched<'w>> {
        let is_free = |begun: &&AtomicU64| {
            let claimed = begun.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            claimed.is_ok()
        };
        let begun = of.iter().find(is_free)?;
        Some(Watched { watch: self, begun })
    }
}

fn is_slow(begun: u64, now: u64) -> bool {
    begun != 0 && now.saturating_sub(begun) > SLOW_MILLIS * 1_000
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let now = self.watch.now();
        if is_slow(self.begun.swap(0, Ordering::Relaxed), now) {
            let until = now + AWAY_SECS * 1_000_000;
            self.watch.away_until.fetch_max(until, Ordering::Relaxed);
        }
    }
}

/// Why work on a background thread has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// The disk has not done it within 10 s, or is still busy with what came before.
    TimedOut,
    /// It panicked.
    Lost(JobLost),
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(
                f,
                "the disk has not answered within {WAIT_SECS_MAX} s; see whether it hangs, or has \
                 more to do than it can"
            ),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for NotDone {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use std::sync::mpsc::{Receiver, Sender, channel};

    use futures_executor::block_on;

    use super::*;

    fn work(processors: usize, wait_max: Duration) -> Arc<InlineWork> {
        Arc::new(InlineWork::with("test", processors, wait_max).unwrap())
    }

    /// Where it was done.
    fn done_by(work: &InlineWork) -> Result<String, NotDone> {
        let name = |(): &()| thread::current().name().unwrap().to_owned();
        block_on(work.run(&Arc::new(()), name))
    }

    fn is_away(work: &InlineWork) -> bool {
        done_by(work).unwrap().starts_with("test-")
    }

    /// Work that hangs on a thread of its own, until something is sent or the sender is
    /// dropped; and who is told what became of it.
    fn hang(work: &Arc<InlineWork>) -> (Sender<()>, Receiver<Result<(), NotDone>>) {
        let ((release, released), (begin, begun)) = (channel::<()>(), channel());
        let (tell, told) = channel();
        let work = work.clone();
        thread::spawn(move || {
            let hang = move |(): &()| {
                begin.send(()).unwrap();
                let _ = released.recv();
            };
            let done = block_on(work.run(&Arc::new(()), hang));
            let _ = tell.send(done);
        });
        begun.recv().unwrap();
        (release, told)
    }

    #[test]
    fn fast_work_is_done_on_the_callers_thread() {
        // A machine that stops the thread for 10 ms makes its work look slow.
        assert!((0..10).any(|_| {
            let work = work(2, Duration::from_secs(60));
            (0..100).all(|_| !is_away(&work))
        }));
    }

    #[test]
    fn work_that_hangs_holds_one_thread_of_two_and_the_next_is_done_elsewhere() {
        let work = work(2, Duration::from_secs(60));
        let hung = hang(&work);
        assert!(is_away(&work), "at once, since there is one other thread");
        drop(hung);
    }

    #[test]
    fn after_work_that_hung_no_other_is_done_on_a_callers_thread_of_many() {
        let work = work(64, Duration::from_secs(60));
        let (release, told) = hang(&work);
        thread::sleep(Duration::from_millis(2 * SLOW_MILLIS));
        assert!(is_away(&work), "while it hangs");
        drop(release);
        assert_eq!(told.recv().unwrap(), Ok(()));
        assert!(is_away(&work), "and for a while after");
        thread::sleep(Duration::from_secs(AWAY_SECS) + Duration::from_millis(1));
        // On a machine that is busy, what was away may have been slow again.
        assert!((0..4).any(|_| {
            let is_back = !is_away(&work);
            thread::sleep(Duration::from_secs(AWAY_SECS * u64::from(!is_back)));
            is_back
        }));
    }

    #[test]
    fn work_that_hangs_elsewhere_fails_after_its_time_and_keeps_others_away() {
        let work = work(2, Duration::from_millis(300));
        let inline = hang(&work);
        let away: Vec<_> = (0..THREADS).map(|_| hang(&work)).collect();
        for (_, told) in &away {
            assert_eq!(told.recv().unwrap(), Err(NotDone::TimedOut));
        }
        // No thread is left for this one, so it has not begun.
        assert_eq!(done_by(&work), Err(NotDone::TimedOut));
        drop(inline.0);
        assert_eq!(inline.1.recv().unwrap(), Ok(()));
        work.watch.away_until.store(0, Ordering::Relaxed);
        assert_eq!(
            done_by(&work),
            Err(NotDone::TimedOut),
            "the disk still hangs"
        );
        drop(away);
        let mut late = (0..100).map(|_| done_by(&work));
        assert!(late.any(|done| done.is_ok()), "what hung has ended");
    }

    #[test]
    fn work_that_nobody_waits_for_is_not_begun_elsewhere() {
        let work = work(2, Duration::from_millis(300));
        let hung: Vec<_> = (0..=THREADS).map(|_| hang(&work)).collect();
        let (begin, begun) = channel();
        let tell = move |(): &()| begin.send(()).unwrap();
        let timed_out = block_on(work.run(&Arc::new(()), tell));
        assert_eq!(timed_out, Err(NotDone::TimedOut));
        drop(hung);
        drop(work);
        assert!(begun.recv().is_err(), "it was dropped");
    }
}
