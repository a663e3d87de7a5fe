//! The sweep in the background.

mod clock;
mod measure;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::engine::{AnyStore, TokenStore as _};
use cloakroom_core::store::Sweep;
use cloakroom_core::{Clock, Error, SystemClock, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::clock::SweepClock;
use self::measure::Measures;

/// How many records one step removes, so that others get their turn.
const STEP: usize = 1_000;

/// The shortest rhythm.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest pause after errors.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// Removes expired sessions in the background, until stopped or dropped.
///
/// An error is logged and does not end it: it tries again, after a pause that
/// doubles with each error up to an hour.
///
/// **A clock that jumped ahead ends no session.** What expired less than five minutes ago
/// is left. Where the clock has gone ahead of the time that has passed by more than that,
/// the sweep goes on by the time that has passed, for a day; and where the store has a
/// clock of its own, as PostgreSQL and MySQL have, nothing is swept that is not due by
/// both. Each is an event at `WARN`. A process that starts with a wrong clock over a store
/// on its own machine cannot know: have the machine set its clock, by NTP, before it starts
/// services.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
///
/// let store = cloakroom::open("memory:").await?;
/// let _sweeper = cloakroom::Sweeper::spawn(store, Duration::from_secs(600));
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Sweeper {
    task: JoinHandle<()>,
    report: Arc<Mutex<SweepReport>>,
}

/// What a [`Sweeper`] has done since it began.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// Whole passes over what was due.
    pub passes: u64,
    /// When the last of them ended, by the sweeper's clock.
    pub last_pass_at: Option<Timestamp>,
    /// Records and rotation marks removed.
    pub removed: u64,
    /// Passes that ended in an error.
    pub errors: u64,
    /// The last of these errors.
    pub last_error: Option<Error>,
}

impl Sweeper {
    /// Sweeps the store now and from then on in this rhythm, a second at least. A
    /// store that cannot sweep is left alone.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    #[must_use = "the sweep ends when the sweeper is dropped"]
    pub fn spawn(store: AnyStore, every: Duration) -> Self {
        Self::spawn_with(store, every, Arc::new(SystemClock))
    }

    /// As [`spawn`](Self::spawn), by another clock.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[must_use = "the sweep ends when the sweeper is dropped"]
    pub fn spawn_with(store: AnyStore, every: Duration, clock: Arc<dyn Clock>) -> Self {
        let report = Arc::new(Mutex::new(SweepReport::default()));
        let told = report.clone();
        let task = tokio::spawn(async move {
            let mut errors = 0_u32;
            let mut clock = SweepClock::new(clock);
            let name = store.token_capabilities().name;
            let mut passes = Passes {
                store: name,
                report: &told,
                measures: Measures::of(name),
                since: Instant::now(),
            };
            while let Some(sweep) = store.token_capabilities().sweep {
                let begun = Instant::now();
                let mut removed = 0;
                let step = |more| {
                    removed += more;
                    passes.removed(more);
                };
                match pass(sweep, &mut clock, step).await {
                    Ok(()) => {
                        errors = 0;
                        passes.done(begun, removed, clock.reading());
                    }
                    Err(error) => {
                        errors = errors.saturating_add(1);
                        passes.measures.failed();
                        tracing::error!(event = "sweep_failed", store = name, error = %error, errors, "sweep failed; it will go on");
                        note(&told, |report| {
                            report.errors += 1;
                            report.last_error = Some(error);
                        });
                    }
                }
                let every = every.max(EVERY_MIN);
                let factor = 1_u32.checked_shl(errors).unwrap_or(u32::MAX);
                let longest = PAUSE_MAX.max(every);
                sleep(every.saturating_mul(factor).min(longest)).await;
            }
        });
        Self { task, report }
    }

    /// Sweeps the store once, for a job that somebody else starts, and answers how many
    /// records and rotation marks were removed; `step` is told as many after each step. A
    /// store that cannot sweep is left alone. No clock is compared with the time that has
    /// passed, but the store's own is, and what expired less than five minutes ago is left.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let store = cloakroom::open("memory:").await?;
    /// let removed = cloakroom::Sweeper::once(&store, |_so_far| ()).await?;
    /// assert_eq!(removed, 0);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store does not answer; what
    /// was removed stays removed.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time enabled.
    pub async fn once(store: &AnyStore, mut step: impl FnMut(u64)) -> Result<u64, Error> {
        let mut removed = 0;
        if let Some(sweep) = store.token_capabilities().sweep {
            let mut clock = SweepClock::new(Arc::new(SystemClock));
            pass(sweep, &mut clock, |more| {
                removed += more;
                step(removed);
            })
            .await?;
        }
        Ok(removed)
    }

    /// Ends the sweep, and waits until it holds the store no more: a step that is under way
    /// in the store is done to its end there. A drop ends it too, but a moment later.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let store = cloakroom::open("memory:").await?;
    /// # let sweeper = cloakroom::Sweeper::spawn(store.clone(), std::time::Duration::from_secs(600));
    /// // When the last request is answered:
    /// sweeper.stop().await;
    /// store.close().await?;
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    pub async fn stop(mut self) {
        self.task.abort();
        // It ends as cancelled; it panics only where the store does.
        let _ = (&mut self.task).await;
    }

    /// What it has done.
    #[must_use]
    pub fn report(&self) -> SweepReport {
        read(&self.report)
    }

    /// What asks for the [`report`](Self::report) from elsewhere, such as a page, while the
    /// sweeper itself stays where it is stopped.
    pub fn reporter(&self) -> impl Fn() -> SweepReport + Clone + Send + Sync + use<> + 'static {
        let report = self.report.clone();
        move || read(&report)
    }
}

fn read(report: &Mutex<SweepReport>) -> SweepReport {
    let report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.clone()
}

fn note(report: &Mutex<SweepReport>, change: impl FnOnce(&mut SweepReport)) {
    change(&mut report.lock().unwrap_or_else(PoisonError::into_inner));
}

/// One pass over what is due; `removed` is told what each step has removed.
async fn pass(
    sweep: &dyn Sweep,
    clock: &mut SweepClock,
    mut removed: impl FnMut(u64),
) -> Result<(), Error> {
    let due_by = clock.due_by(sweep).await?;
    loop {
        let swept = sweep.sweep(due_by, STEP).await?;
        removed(swept.removed as u64);
        if !swept.more {
            return Ok(());
        }
    }
}

/// What the passes over one store have in common.
struct Passes<'r> {
    store: &'static str,
    report: &'r Mutex<SweepReport>,
    measures: Measures,
    /// The beginning of the last whole pass: what became due right after it has waited since.
    since: Instant,
}

impl Passes<'_> {
    fn removed(&self, records: u64) {
        self.measures.removed(records);
        note(self.report, |report| report.removed += records);
    }

    /// Tells of a whole pass.
    fn done(&mut self, begun: Instant, removed: u64, ended_at: Timestamp) {
        note(self.report, |report| {
            report.passes += 1;
            report.last_pass_at = Some(ended_at);
        });
        let (took, lag) = (begun.elapsed(), self.since.elapsed());
        self.since = begun;
        self.measures.swept(took, lag);
        let store = self.store;
        if removed > 0 {
            tracing::info!(
                event = "sweep",
                store,
                removed,
                ?took,
                ?lag,
                "the sweep has removed what was due"
            );
        } else {
            tracing::debug!(
                event = "sweep_without_work",
                store,
                ?took,
                ?lag,
                "the sweep has found nothing that was due"
            );
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}
