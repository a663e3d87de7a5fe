//! Opening the database: waiting until it is free, and clearing away what a kill has
//! left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::{check_private_folder, make_private_folder};

use crate::error::{NAME, damaged, is_locked, not_opened, unavailable};
use crate::torn_files::{self, Cleared};
use crate::trees::Trees;

/// How long an opening waits for a database that is being closed, and how often it looks
/// at least, however slow the machine is.
const LOCK_WAIT_SECS_MAX: u64 = 2;
const LOCK_LOOKS_MIN: u32 = 20;

pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<(sled::Db, Trees), Error> {
    make_private_folder(path).map_err(|source| {
        let message = format!(
            "cannot use the folder {}: {source}; give a path that this process may write to",
            path.display()
        );
        unavailable(message).with_source(source)
    })?;
    check_private_folder(path).map_err(|source| {
        let error = Error::new(ErrorKind::Misconfigured, source.to_string());
        error.in_store(NAME).with_source(source)
    })?;
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(1_000));
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let db = open_unlocked(&config, path)?;
        let trees = Trees::open(&db)?;
        Ok((db, trees))
    }));
    let opened = opened.map_err(|_| damaged(path))?;
    opened.map_err(|source| not_opened(path, source))
}

/// Opens the database once nobody holds its lock. sled's own threads keep the lock for a
/// moment after the last handle is gone: on a busy machine, milliseconds.
fn open_unlocked(config: &sled::Config, path: &Path) -> sled::Result<sled::Db> {
    let begun = Instant::now();
    let wait_max = Duration::from_secs(LOCK_WAIT_SECS_MAX);
    let mut looks = 0;
    loop {
        looks += 1;
        let may_wait = looks < LOCK_LOOKS_MIN || begun.elapsed() < wait_max;
        // While the database is locked, sled is asked at the end alone: it could find the
        // database free, and open it before the torn files are cleared.
        let cleared = torn_files::clear(path)? == Cleared::Yes;
        if cleared || !may_wait {
            match config.open() {
                Err(error) if is_locked(&error) && may_wait => {}
                opened => return opened,
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}
