//! Removing what has expired, and what crashes have left, folder by folder.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cloakroom_core::store::{FrameHead, KeyDigest, Stored, Swept};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::error::failed;
use crate::files::{Files, subject_in};
use crate::layout::{Listed, SubjectEntry};

/// Files that one step looks at, however few it removes: some 20 ms.
const LOOKS_PER_STEP: usize = 4_096;

/// How long a writer may take from a new file or entry to its session. One that was
/// stopped for longer finds the file gone, and fails with nothing lost.
const WRITE_SECS_MAX: u64 = 60 * 60;

/// How long a file is kept that nobody can read, for whoever wants to look at it.
const DAMAGED_SECS_MAX: u64 = 24 * 60 * 60;

/// Where the next step goes on.
#[derive(Default)]
pub(crate) struct Cursor {
    /// Files of the folder that was listed last, which no step has looked at.
    left: Vec<Listed>,
    /// The folder to list next: 256 of sessions, then 256 of subjects' entries. Past the
    /// last one, the pass is over.
    next: u16,
}

enum Judged {
    /// Or a tombstone stands in its place.
    Removed,
    /// It is not due, or it is gone already, or it was no session.
    Nothing,
    /// A record of a newer version, which only the newer build may judge.
    Newer,
}

/// One step. Two at once take turns, and each goes on where the other stopped.
pub(crate) fn step(
    files: &Files,
    cursor: &Mutex<Cursor>,
    now: Timestamp,
    max: usize,
) -> Result<Swept, Error> {
    let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
    let mut removed = 0;
    let mut looks = LOOKS_PER_STEP;
    let mut skipped = Skipped::default();
    loop {
        while let Some(listed) = cursor.left.pop() {
            if removed == max || looks == 0 {
                cursor.left.push(listed);
                // Each look leaves less for the steps to come, so a caller who calls
                // again while there is more comes to an end.
                let more = max > 0;
                return Ok(Swept::new(removed, more));
            }
            looks -= 1;
            match look(files, now, &listed) {
                Ok(Judged::Removed) => removed += 1,
                Ok(Judged::Nothing) => {}
                Ok(Judged::Newer) => skipped.newer += 1,
                Err(error) => skipped.note(error),
            }
        }
        let [kind, first] = cursor.next.to_be_bytes();
        // A folder that cannot be read fails one step, and not the next.
        cursor.next += 1;
        cursor.left = match kind {
            0 => files.layout.list_sessions(first)?,
            1 => files.layout.list_entries(first)?,
            _ => {
                cursor.next = 0;
                let more = false;
                return Ok(Swept::new(removed, more));
            }
        };
    }
}

/// Files that a step could not judge, told in one event each at its end.
#[derive(Default)]
struct Skipped {
    newer: usize,
    failed: usize,
    last_error: Option<Error>,
}

impl Skipped {
    fn note(&mut self, error: Error) {
        self.failed += 1;
        self.last_error = Some(error);
    }
}

impl Drop for Skipped {
    fn drop(&mut self) {
        if self.newer > 0 {
            tracing::warn!(
                event = "sweep_left_newer_records",
                records = self.newer,
                "records of a newer version are due; this build leaves them"
            );
        }
        if let Some(error) = &self.last_error {
            tracing::warn!(event = "sweep_left_files", files = self.failed, %error, "files could not be swept");
        }
    }
}

fn look(files: &Files, now: Timestamp, listed: &Listed) -> Result<Judged, Error> {
    match listed {
        Listed::Temporary(path) => {
            if is_older(path, WRITE_SECS_MAX, now)? == Some(true) {
                cloakroom_disk::remove_file(path)
                    .map_err(|source| failed("remove a temporary file", folder_of(path), source))?;
            }
            Ok(Judged::Nothing)
        }
        Listed::SubjectEntry(entry) => {
            // The record of a young entry may not be written yet. This also spares most
            // entries a look at their record.
            let path = files.layout.entry_path(entry);
            let is_old = is_older(&path, WRITE_SECS_MAX, now)? == Some(true);
            if is_old && files.is_orphan(entry)? {
                files.remove_orphan(entry)?;
            }
            Ok(Judged::Nothing)
        }
        Listed::Session(digest) => {
            let start = files.layout.read_head(digest);
            match start.and_then(|start| start.map(|start| FrameHead::peek(&start)).transpose()) {
                Ok(None) => Ok(Judged::Nothing),
                Ok(Some(head)) if head.expires_at > now => Ok(Judged::Nothing),
                Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
                Ok(Some(_)) | Err(_) => judge(files, now, digest),
            }
        }
    }
}

/// Judges a session's file as it stands, in the same step as the removal.
fn judge(files: &Files, now: Timestamp, digest: &KeyDigest) -> Result<Judged, Error> {
    let _lock = files.locks.lock(digest)?;
    let Some(locked) = files.lock_file(digest)? else {
        return Ok(Judged::Nothing);
    };
    let frame = locked.frame.as_deref().unwrap_or_default();
    let is_due = match FrameHead::read(frame) {
        Ok(head) => head.expires_at <= now,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Judged::Newer),
        // A damaged file is due when its head says so, or by its age.
        Err(_) => match FrameHead::peek(frame) {
            Ok(head) => head.expires_at <= now,
            Err(_) => {
                let path = files.layout.session_path(digest);
                is_older(&path, DAMAGED_SECS_MAX, now)? == Some(true)
            }
        },
    };
    if !is_due {
        return Ok(Judged::Nothing);
    }
    let expired = Stored::decode(frame).ok();
    files.leave(digest, expired.and_then(|expired| expired.swept(now)))?;
    // A crash may bring the record back without its entry: it has expired, and is swept
    // again.
    let subject = subject_in(frame).unwrap_or_default();
    if let Some(entry) = SubjectEntry::of(subject, digest) {
        files.layout.remove_entry(&entry)?;
    }
    Ok(Judged::Removed)
}

/// Whether a file was last changed longer ago than this; `None` where it does not exist.
fn is_older(path: &Path, secs: u64, now: Timestamp) -> Result<Option<bool>, Error> {
    let changed = if_exists(fs::metadata(path).and_then(|found| found.modified()));
    let changed = changed.map_err(|source| failed("look at a file", folder_of(path), source))?;
    Ok(changed.map(|changed| {
        let since_epoch = changed.duration_since(SystemTime::UNIX_EPOCH);
        let since_epoch = since_epoch.unwrap_or(Duration::ZERO);
        since_epoch + Duration::from_secs(secs) < Duration::from_millis(now.as_millis())
    }))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// `None` where the file does not exist.
fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
