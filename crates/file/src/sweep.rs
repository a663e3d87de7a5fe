//! Removing what is due, folder by folder.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use cloakroom_core::store::{FrameHead, KeyDigest, Swept};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::files::{Files, owner_of};
use crate::folder::{Entry, failed, found};
use crate::subjects;

/// Files that one step looks at, however few it removes: some 20 ms.
const LOOKS_PER_STEP: usize = 4_096;

/// How long a file may be in the making. A writer that was stopped for longer
/// finds it missing, and fails with nothing lost.
const NEW_SECS_MAX: u64 = 60 * 60;

/// How long a file is kept that nobody can read, for whoever wants to look.
const DAMAGED_SECS_MAX: u64 = 24 * 60 * 60;

/// Where the next step goes on.
#[derive(Default)]
pub(crate) struct Cursor {
    /// What has not been looked at in the folder that was listed last.
    left: Vec<Entry>,
    /// The folder to list next, those of sessions before those of subjects; past
    /// the last one, the pass is over.
    next: u16,
}

enum Found {
    Removed,
    /// It is not due, or it is gone already.
    Nothing,
    /// It is of a newer version: not ours to judge.
    Unknown,
}

/// One step. Two at once take turns; each goes on where the other stopped.
pub(crate) fn step(files: &Files, now: Timestamp, max: usize) -> Result<Swept, Error> {
    let mut cursor = files.cursor.lock().unwrap_or_else(PoisonError::into_inner);
    let mut removed = 0;
    let mut looks = LOOKS_PER_STEP;
    let mut passed_over = PassedOver::default();
    loop {
        while let Some(entry) = cursor.left.pop() {
            if removed == max || looks == 0 {
                cursor.left.push(entry);
                // Each look leaves less for the steps to come: whoever calls
                // again while there is more comes to an end.
                let more = max > 0;
                return Ok(Swept::new(removed, more));
            }
            looks -= 1;
            match look(files, now, &entry) {
                Ok(Found::Removed) => removed += 1,
                Ok(Found::Nothing) => {}
                Ok(Found::Unknown) => passed_over.unknown += 1,
                Err(source) => passed_over.note(source),
            }
        }
        let [kind, first] = cursor.next.to_be_bytes();
        // A folder that cannot be read fails one step, and not the next.
        cursor.next += 1;
        let listed = match kind {
            0 => files.folder.list(first),
            1 => files.folder.list_subjects(first),
            _ => {
                cursor.next = 0;
                let more = false;
                return Ok(Swept::new(removed, more));
            }
        };
        cursor.left = listed.map_err(|source| failed("cannot list a folder", source))?;
    }
}

/// Files that a step could do nothing about, told once and together.
#[derive(Default)]
struct PassedOver {
    unknown: usize,
    failed: usize,
    last: Option<Error>,
}

impl PassedOver {
    fn note(&mut self, error: Error) {
        self.failed += 1;
        self.last = Some(error);
    }
}

impl Drop for PassedOver {
    fn drop(&mut self) {
        if self.unknown > 0 {
            tracing::warn!(
                records = self.unknown,
                "records of a newer version are due; this build leaves them"
            );
        }
        if let Some(error) = &self.last {
            tracing::warn!(files = self.failed, %error, "files could not be swept");
        }
    }
}

fn look(files: &Files, now: Timestamp, entry: &Entry) -> Result<Found, Error> {
    match entry {
        Entry::New(path) => {
            clean(path, now).map_err(|source| failed("cannot remove a leftover", source))?;
            // It was no session.
            Ok(Found::Nothing)
        }
        Entry::Listed(entry) => {
            // One in the making may not have its record yet. It would be made again;
            // so most are passed over without a look at the record.
            let is_old = found(is_older(&entry.place(&files.folder), NEW_SECS_MAX, now));
            let is_old = is_old.map_err(|source| failed("cannot look at an entry", source))?;
            if is_old == Some(true) && files.dangles(entry)? {
                files.remove_dangling(entry)?;
            }
            // It was no session.
            Ok(Found::Nothing)
        }
        Entry::Session(digest) => {
            let start = files
                .folder
                .read_head(digest)
                .map_err(|source| failed("cannot read a session's file", source))?;
            match start.map(|start| FrameHead::peek(&start)) {
                None => Ok(Found::Nothing),
                Some(Ok(head)) if head.expires_at > now => Ok(Found::Nothing),
                Some(_) => judge(files, now, digest),
            }
        }
    }
}

/// Judges the file as it stands, in the same step as the removal.
fn judge(files: &Files, now: Timestamp, digest: &KeyDigest) -> Result<Found, Error> {
    let _held = files.locks.hold(digest)?;
    let Some(frame) = files.folder.read(digest)? else {
        return Ok(Found::Nothing);
    };
    let due = match FrameHead::read(&frame) {
        Ok(head) => head.expires_at <= now,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Found::Unknown),
        // Damaged: by what its head says, or by its age.
        Err(_) => match FrameHead::peek(&frame) {
            Ok(head) => head.expires_at <= now,
            Err(_) => is_older(&files.folder.place(digest), DAMAGED_SECS_MAX, now)
                .map_err(|source| failed("cannot look at a damaged file", source))?,
        },
    };
    if !due {
        return Ok(Found::Nothing);
    }
    let removed = files.folder.remove(digest);
    removed.map_err(|source| failed("cannot remove a session's file", source))?;
    // Should a crash bring the record back alone, it is dead, and swept again.
    if let Ok(Some(subject)) = owner_of(&frame) {
        let entry = subjects::Entry::of(&subject, digest);
        let removed = found(fs::remove_file(entry.place(&files.folder)));
        removed.map_err(|source| failed("cannot remove an entry", source))?;
    }
    Ok(Found::Removed)
}

fn clean(path: &Path, now: Timestamp) -> io::Result<()> {
    if found(is_older(path, NEW_SECS_MAX, now))? == Some(true) {
        found(fs::remove_file(path))?;
    }
    Ok(())
}

fn is_older(path: &Path, secs: u64, now: Timestamp) -> io::Result<bool> {
    let changed = fs::metadata(path)?.modified()?;
    let changed = changed
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Ok(changed + Duration::from_secs(secs) < Duration::from_millis(now.as_millis()))
}
