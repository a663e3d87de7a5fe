//! Opening the database, and opening it again: waiting until it is free, and clearing away
//! what a kill has left.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{check_private_folder, make_private_folder, next_step, reread_from_disk};

use crate::error::{NAME, damaged, gone, is_locked, not_opened, unavailable};
use crate::torn_files::{self, Cleared};
use crate::trees::Trees;

/// How long an opening waits for a database that is being closed, and how often it looks
/// at least, however slow the machine is.
const LOCK_WAIT_SECS_MAX: u64 = 2;
const LOCK_LOOKS_MIN: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Opens the database, and makes it where there is none.
pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<(sled::Db, Trees), Error> {
    make_private_folder(path).map_err(|source| {
        let message = format!(
            "cannot use the folder {}: {source}{}",
            path.display(),
            next_step(&source)
        );
        unavailable(message).with_source(source)
    })?;
    open_existing(path, cache_bytes)
}

/// Opens a database again, after its disk has failed. sled's log is read from the disk up
/// to where it ends there: behind all that was acknowledged. A database that is gone is not
/// made anew: that would end all sessions.
pub(crate) fn open_again(path: &Path, cache_bytes: u64) -> Result<(sled::Db, Trees), Error> {
    reread(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => gone(path),
        _ => not_opened(path, source.into()),
    })?;
    open_existing(path, cache_bytes)
}

fn reread(path: &Path) -> io::Result<()> {
    reread_from_disk(&path.join("db"))?;
    for blob in fs::read_dir(path.join("blobs"))? {
        reread_from_disk(&blob?.path())?;
    }
    Ok(())
}

fn open_existing(path: &Path, cache_bytes: u64) -> Result<(sled::Db, Trees), Error> {
    check_private_folder(path).map_err(|source| {
        let error = Error::new(ErrorKind::Misconfigured, source.to_string());
        error.in_store(NAME).with_source(source)
    })?;
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(1_000));
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let log_bytes = fs::metadata(path.join("db")).map_or(0, |log| log.len());
        let db = open_unlocked(&config, path)?;
        if log_bytes > 0 && !Trees::are_in(&db) {
            tracing::warn!(
                event = "database_lost_sessions",
                path = %path.display(),
                log_bytes,
                "the log of the database holds no sessions that can be read: unless a process \
                 was killed while it made the database, all of them are lost; restore the \
                 folder from a backup to get them back"
            );
        }
        let trees = Trees::open(&db)?;
        Ok((db, trees))
    }));
    let opened = opened.map_err(|_| damaged(path))?;
    opened.map_err(|source| not_opened(path, source))
}

/// How long somebody has waited for the lock, and whether they may wait on.
struct LockWait {
    begun: Instant,
    looks: u32,
}

impl LockWait {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            looks: 0,
        }
    }

    fn may_go_on(&mut self) -> bool {
        self.looks += 1;
        let wait_max = Duration::from_secs(LOCK_WAIT_SECS_MAX);
        self.looks < LOCK_LOOKS_MIN || self.begun.elapsed() < wait_max
    }
}

/// Waits until sled's own threads have given back the lock of a database that was closed.
pub(crate) fn wait_until_closed(path: &Path) -> Result<(), Error> {
    let mut wait = LockWait::begin();
    while torn_files::is_locked(path).map_err(|source| not_opened(path, source.into()))? {
        if !wait.may_go_on() {
            return Err(unavailable(format!(
                "the database in {} is still locked {LOCK_WAIT_SECS_MAX} s after it was closed; \
                 close it again, or restart the process",
                path.display()
            )));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Opens the database once nobody holds its lock. sled's own threads keep the lock for a
/// moment after the last handle is gone: on a busy machine, milliseconds.
fn open_unlocked(config: &sled::Config, path: &Path) -> sled::Result<sled::Db> {
    let mut wait = LockWait::begin();
    loop {
        let may_wait = wait.may_go_on();
        // While the database is locked, sled is asked at the end alone: it could find the
        // database free, and open it before the torn files are cleared.
        let cleared = torn_files::clear(path)? == Cleared::Yes;
        if cleared || !may_wait {
            match config.open() {
                Err(error) if is_locked(&error) && may_wait => {}
                opened => return opened,
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}
