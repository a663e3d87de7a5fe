//! The writes of a store. What is slow, writing and syncing a new file, comes before the
//! lock is taken, and the sync of the folder comes after it is given back.

use std::io;

use cloakroom_core::store::{
    Ending, FrameHead, FrameKind, KeyDigest, Record, Revision, RotationPath, Stored, SubjectDigest,
    Tombstone, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use cloakroom_disk::StagedFile;

use crate::files::{Files, subject_in};

impl Files {
    pub(crate) fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let stored = Stored::Record(record.at_revision(Revision::FIRST));
        self.write_new(digest, &stored)?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<bool, Error> {
        match self.write_new(digest, stored) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A hard link fails where the name is taken, in one step, so the session's file needs
    /// no lock: the lock is for its entry.
    fn write_new(&self, digest: &KeyDigest, stored: &Stored) -> Result<(), Error> {
        self.require_free(digest)?;
        let staged = self.layout.stage(digest, &stored.encode()?)?;
        let subject = stored.listed_under();
        if subject.is_none() {
            self.link(staged, digest)?;
            return self.layout.sync(&[*digest]);
        }
        self.add_entry(subject, digest)?;
        let lock = self.locks.lock(digest)?;
        let kept = self.keep_entry(subject, digest);
        let linked = kept.and_then(|()| self.link(staged, digest));
        drop(lock);
        if let Err(error) = linked {
            self.drop_entry(subject, digest);
            return Err(error);
        }
        self.layout.sync(&[*digest])
    }

    pub(crate) fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        // The next revision follows from the record alone, so the file can be written
        // before the comparison that counts, which is made again with the lock.
        let (next, old_subject) = self.next_revision(digest, record)?;
        let staged = self
            .layout
            .stage(digest, &record.at_revision(next).encode()?)?;
        let new_subject = record
            .subject_digest()
            .filter(|new| Some(*new) != old_subject);
        self.add_entry(new_subject, digest)?;
        let lock = self.locks.lock(digest)?;
        let replaced = self.lock_based_on(digest, record).and_then(|_locked| {
            self.keep_entry(new_subject, digest)?;
            self.replace(staged, digest)
        });
        drop(lock);
        if let Err(error) = replaced {
            self.drop_entry(new_subject, digest);
            return Err(error);
        }
        self.layout.sync(&[*digest])?;
        if old_subject != record.subject_digest() {
            self.drop_entry(old_subject, digest);
        }
        Ok(next)
    }

    /// The new file is synced before it replaces the old one: otherwise a crash could
    /// lose the session with the touch. The folder is not synced: after a crash, the
    /// session has the old deadline or the new one.
    pub(crate) fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        loop {
            let (head, frame) = self.require_record(digest)?;
            if head.revision != revision {
                return Ok(());
            }
            let Some(touched) = FrameHead::touched(&frame, touch)? else {
                return Ok(());
            };
            let staged = self.layout.stage(digest, &touched)?;
            let _lock = self.locks.lock(digest)?;
            let locked = self.lock_file(digest)?.ok_or(ErrorKind::Gone)?;
            // Where another write has come first, the touch is made again over it.
            if locked.frame.as_ref().is_ok_and(|found| *found == frame) {
                return self.replace(staged, digest);
            }
        }
    }

    pub(crate) fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let mark = Stored::Rotated {
            to: *new,
            until: mark_until,
        };
        let (next, old_subject) = self.next_revision(old, record)?;
        self.require_free(new)?;
        // Both files are written before either has a name, so that a full disk leaves
        // both digests as they were.
        let moved = self
            .layout
            .stage(new, &record.at_revision(next).encode()?)?;
        let mark = self.layout.stage(old, &mark.encode()?)?;
        let new_subject = record.subject_digest();
        self.add_entry(new_subject, new)?;
        let locks = self.locks.lock_both(old, new)?;
        let rotated = self.lock_based_on(old, record).and_then(|_locked| {
            self.keep_entry(new_subject, new)?;
            self.link(moved, new)?;
            // The new name is on the disk before the old one holds the mark.
            let marked = self
                .layout
                .sync(&[*new])
                .and_then(|()| self.replace(mark, old));
            marked.inspect_err(|_| {
                // Nobody has been told the new key yet. But where the old one opens the
                // session no more, whatever the error says, the new one must.
                if self.next_revision(old, record).is_ok() {
                    let _ = self.layout.remove(new);
                }
            })
        });
        drop(locks);
        if let Err(error) = rotated {
            // The entry may go only once the record is gone from the disk.
            if self.layout.sync(&[*new]).is_ok() {
                self.drop_entry(new_subject, new);
            }
            return Err(error);
        }
        self.layout.sync(&[*old])?;
        self.drop_entry(old_subject, old);
        Ok(next)
    }

    pub(crate) fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let mut seen = Vec::new();
        let outcome = self.end_where(digest, ending, &mut seen, |_, _| Ok(true))?;
        let ended = outcome.required()?;
        self.layout.sync(&seen)?;
        if let Some((digest, subject)) = ended {
            self.drop_entry(subject, &digest);
        }
        Ok(())
    }

    /// Ends the session under a digest, or where rotation marks lead from there, if it is
    /// meant. `is_meant` is asked with the lock of the session's digest, and told
    /// whose session it is.
    ///
    /// The digests that were looked at are added to `seen`: their folders have to be
    /// synced before the end is answered. A crash must take back neither a mark that was
    /// followed nor a removal that another has just made.
    pub(crate) fn end_where(
        &self,
        digest: &KeyDigest,
        ending: Option<&Ending>,
        seen: &mut Vec<KeyDigest>,
        is_meant: impl Fn(&KeyDigest, &Owner) -> Result<bool, Error>,
    ) -> Result<EndOutcome, Error> {
        let mut path = RotationPath::from(*digest);
        loop {
            let at = *path.at();
            seen.push(at);
            let _lock = self.locks.lock(&at)?;
            let Some(locked) = self.lock_file(&at)? else {
                return Ok(EndOutcome::Nothing);
            };
            let frame = locked.frame.as_deref().unwrap_or_default();
            let moved_to = Stored::moved_to(frame);
            match moved_to.and_then(|to| to.map(|to| path.follow(to)).transpose()) {
                Ok(Some(())) => continue,
                Ok(None) => {}
                Err(error) => return Ok(EndOutcome::OutOfReach(error)),
            }
            let owner = subject_in(frame);
            // The first end is the one that counts.
            let has_ended = ending.is_some() && is_tombstone(frame);
            if has_ended || !is_meant(&at, &owner)? {
                return Ok(EndOutcome::Nothing);
            }
            let left = ending.map(|ending| Tombstone::of_frame(frame, ending));
            self.leave(&at, left)?;
            return Ok(EndOutcome::Ended(at, owner.unwrap_or_default()));
        }
    }

    /// Puts a tombstone in the place of the file under a digest, or removes the file. The
    /// caller holds the locks of both.
    ///
    /// The tombstone is not synced: a crash may leave a file that nobody can read, and the
    /// session has ended all the same. Where the disk takes no new file, since it is full, the
    /// session's file is removed: an end must not fail for want of room.
    pub(crate) fn leave(&self, digest: &KeyDigest, left: Option<Tombstone>) -> Result<(), Error> {
        let Some(tombstone) = left else {
            return self.layout.remove(digest);
        };
        let frame = Stored::Ended(tombstone).encode()?;
        let staged = self.layout.stage_unsynced(digest, &frame);
        match staged.and_then(|staged| self.replace(staged, digest)) {
            Ok(()) => Ok(()),
            Err(_) => self.layout.remove(digest),
        }
    }

    fn link(&self, staged: StagedFile, digest: &KeyDigest) -> Result<(), Error> {
        let linked = staged.link_to(&self.layout.session_path(digest));
        linked.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Exists.into(),
            _ => self
                .layout
                .session_failed("name a session's file", digest, source),
        })
    }

    fn replace(&self, staged: StagedFile, digest: &KeyDigest) -> Result<(), Error> {
        let replaced = staged.rename_to(&self.layout.session_path(digest));
        replaced.map_err(|source| {
            let operation = "replace a session's file";
            self.layout.session_failed(operation, digest, source)
        })
    }
}

fn is_tombstone(frame: &[u8]) -> bool {
    FrameHead::read(frame).is_ok_and(|head| head.kind == FrameKind::Ended)
}

/// Whose a session is; an error where its file cannot be read as a frame.
pub(crate) type Owner = Result<Option<SubjectDigest>, Error>;

/// What came of the attempt to end a session.
pub(crate) enum EndOutcome {
    /// The session at this digest was ended. Whose it was is known where it could be
    /// read.
    Ended(KeyDigest, Option<SubjectDigest>),
    /// No session stands there, or it is not meant.
    Nothing,
    /// More rotation marks lead on than are followed, so a session may still stand.
    OutOfReach(Error),
}

impl EndOutcome {
    /// The session that was ended, if one stood there.
    ///
    /// # Errors
    /// Where a session may still stand.
    pub(crate) fn required(self) -> Result<Option<(KeyDigest, Option<SubjectDigest>)>, Error> {
        match self {
            Self::Ended(digest, subject) => Ok(Some((digest, subject))),
            Self::Nothing => Ok(None),
            Self::OutOfReach(error) => Err(error),
        }
    }
}
