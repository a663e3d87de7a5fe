//! What the store does, in terms of files and locks.
//!
//! One invariant carries all of it: a file that stands is replaced or removed
//! only by who holds its lock and has looked at it since.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use cloakroom_core::store::{
    FrameHead, FrameKind, KeyDigest, ROTATION_HOPS_MAX, Record, Revision, Stored, SubjectDigest,
    Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::access::{make_folder, make_way, sync_folder, too_open};
use crate::folder::{Folder, failed};
use crate::locks::Locks;
use crate::sweep::Cursor;
use crate::{Durability, NAME, unavailable};

pub(crate) struct Files {
    pub(crate) folder: Folder,
    pub(crate) locks: Locks,
    pub(crate) cursor: Mutex<Cursor>,
}

impl Files {
    /// All folders stand, on the disk, before the first write: no write has to
    /// think of them.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, Error> {
        let unusable = |source: io::Error| {
            let message = format!("cannot use the folder {}: {source}", path.display());
            unavailable(message).with_source(source)
        };
        make_way(path).map_err(unusable)?;
        if let Some(mode) = too_open(path).map_err(unusable)? {
            let quoted = path.display().to_string().replace('\'', r"'\''");
            return Err(misconfigured(format!(
                "others than its owner may enter the folder {} (mode {mode:o}), and sessions lie \
                 in it as they are; run: chmod 700 '{quoted}'",
                path.display()
            )));
        }
        let folder = Folder::new(path, durability);
        let locks = make_folders(&folder).map_err(unusable)?;
        folder.probe().map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                let path = path.display();
                let message = format!("the file system of {path} makes no hard links: {source}");
                misconfigured(message).with_source(source)
            }
            _ => unusable(source),
        })?;
        let probe = locks.hold(&KeyDigest::from_bytes([0; KeyDigest::BYTES]));
        probe.map(drop).map_err(|error| {
            let (path, why) = (path.display(), error.message());
            unavailable(format!("cannot use the folder {path}: {why}")).with_source(error.clone())
        })?;
        Ok(Self {
            folder,
            locks,
            cursor: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder.path
    }

    pub(crate) fn durability(&self) -> Durability {
        self.folder.durability
    }

    /// What stands at a digest that a write wants a record at.
    fn present(&self, digest: &KeyDigest) -> Result<(FrameHead, Vec<u8>), Error> {
        let frame = self.folder.read(digest)?.ok_or(ErrorKind::Gone)?;
        let head = FrameHead::read(&frame).map_err(no_frame)?;
        match head.kind {
            FrameKind::Record => Ok((head, frame)),
            // A mark is nothing to write to.
            FrameKind::Rotated => Err(ErrorKind::Gone.into()),
        }
    }

    /// The compare of compare-and-swap; answers whose the record was as well.
    fn follow(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<(Revision, Option<SubjectDigest>), Error> {
        let frame = self.folder.read(digest)?.ok_or(ErrorKind::Gone)?;
        let (head, subject) = FrameHead::read_with_subject(&frame).map_err(no_frame)?;
        if head.kind == FrameKind::Rotated {
            return Err(ErrorKind::Gone.into());
        }
        let next = record.next_revision_after(head.revision)?;
        Ok((next, subject))
    }

    pub(crate) fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let Some(frame) = self.folder.read(digest)? else {
            return Ok(None);
        };
        Self::decode(&frame).map(Some)
    }

    pub(crate) fn decode(frame: &[u8]) -> Result<Stored, Error> {
        Stored::decode(frame).map_err(no_frame)
    }

    /// Nothing else takes a name that is free, and a link does so in one step: it
    /// needs no lock but for its entry.
    pub(crate) fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        self.free(digest)?;
        let stored = Stored::Record(record.at_revision(Revision::FIRST));
        self.put_free(digest, &stored)?;
        Ok(Revision::FIRST)
    }

    pub(crate) fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<bool, Error> {
        match self
            .free(digest)
            .and_then(|()| self.put_free(digest, stored))
        {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put_free(&self, digest: &KeyDigest, stored: &Stored) -> Result<(), Error> {
        let staged = self.folder.stage(digest, &stored.encode()?)?;
        let Some(entry) = self.announce(subject_of(stored).as_ref(), digest)? else {
            staged.take_free(digest).map_err(not_linked)?;
            return self.folder.sync(&[*digest]);
        };
        let held = self.locks.hold(digest)?;
        let named = entry.renew(&self.folder);
        let named = named.and_then(|()| staged.take_free(digest).map_err(not_linked));
        drop(held);
        if let Err(error) = named {
            self.withdraw(&entry);
            return Err(error);
        }
        self.folder.sync(&[*digest])
    }

    /// A look that spares a write that would be refused.
    fn free(&self, digest: &KeyDigest) -> Result<(), Error> {
        match self.folder.place(digest).try_exists() {
            Ok(true) => Err(ErrorKind::Exists.into()),
            Ok(false) => Ok(()),
            Err(source) => Err(failed("cannot look for a session's file", source)),
        }
    }

    pub(crate) fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        // Which revision follows is known before the lock is held, so what is
        // slow is done before; this look only spares a write in vain.
        let (next, was_of) = self.follow(digest, record)?;
        let frame = record.at_revision(next).encode()?;
        let staged = self.folder.stage(digest, &frame)?;
        let subject = record.subject_digest();
        let changes_hands = was_of != subject;
        let entry = match changes_hands {
            true => self.announce(subject.as_ref(), digest)?,
            false => None,
        };
        let held = self.locks.hold(digest)?;
        let replaced = self.follow(digest, record).and_then(|_| {
            entry
                .iter()
                .try_for_each(|entry| entry.renew(&self.folder))?;
            staged.replace(digest)
        });
        drop(held);
        if let Err(error) = replaced {
            entry.iter().for_each(|entry| self.withdraw(entry));
            return Err(error);
        }
        self.folder.sync(&[*digest])?;
        if changes_hands {
            self.withdraw_of(was_of.as_ref(), digest);
        }
        Ok(next)
    }

    /// The new file is synced before it replaces the old one, or a crash could
    /// take the session with the touch. Its name is not: either will do.
    pub(crate) fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        loop {
            let (head, seen) = self.present(digest)?;
            if head.revision != revision {
                return Ok(());
            }
            let Some(frame) = FrameHead::touched(&seen, touch)? else {
                return Ok(());
            };
            let staged = self.folder.stage(digest, &frame)?;
            let _held = self.locks.hold(digest)?;
            // Where it differs, another write has been made meanwhile: look again.
            if self.folder.read(digest)?.as_deref() == Some(&seen[..]) {
                return staged.replace(digest);
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
        let (next, was_of) = self.follow(old, record)?;
        self.free(new)?;
        // Both are written before either has a name, so that a full disk leaves
        // both digests as they were.
        let moved = record.at_revision(next).encode()?;
        let moved = self.folder.stage(new, &moved)?;
        let mark = self.folder.stage(old, &mark.encode()?)?;
        let entry = self.announce(record.subject_digest().as_ref(), new)?;
        let held = self.locks.hold_both(old, new)?;
        let done = self.follow(old, record).and_then(|_| {
            entry
                .iter()
                .try_for_each(|entry| entry.renew(&self.folder))?;
            moved.take_free(new).map_err(not_linked)?;
            // The new name is on the disk before the old one changes hands.
            let done = self.folder.sync(&[*new]).and_then(|()| mark.replace(old));
            done.inspect_err(|_| {
                // Nobody has been told the new key yet; but if the old one no
                // longer opens the session, whatever the error says, the new one
                // must.
                if self.follow(old, record).is_ok() {
                    let _ = self.folder.remove(new);
                }
            })
        });
        drop(held);
        if let Err(error) = done {
            // A name that was taken and given up must be gone from the disk first.
            if self.folder.sync(&[*new]).is_ok() {
                entry.iter().for_each(|entry| self.withdraw(entry));
            }
            return Err(error);
        }
        self.folder.sync(&[*old])?;
        self.withdraw_of(was_of.as_ref(), old);
        Ok(next)
    }

    pub(crate) fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        let mut relied_on = Vec::new();
        let ended = self.end(digest, &mut relied_on, |_, _| true)?;
        self.folder.sync(&relied_on)?;
        if let Some(Ended { digest, subject }) = ended {
            self.withdraw_of(subject.as_ref(), &digest);
        }
        Ok(())
    }

    /// Removes the session that is, or has moved on from, there, if it is meant.
    /// What this relies on has to be on the disk before it is answered: the marks
    /// it followed, and the absence of what another has just removed.
    pub(crate) fn end(
        &self,
        digest: &KeyDigest,
        relied_on: &mut Vec<KeyDigest>,
        is_meant: impl Fn(&KeyDigest, &Result<Option<SubjectDigest>, Error>) -> bool,
    ) -> Result<Option<Ended>, Error> {
        let mut at = *digest;
        for _ in 0..ROTATION_HOPS_MAX {
            relied_on.push(at);
            let _held = self.locks.hold(&at)?;
            let Some(frame) = self.folder.read(&at)? else {
                break;
            };
            if let Ok(Stored::Rotated { to, .. }) = Stored::decode(&frame) {
                at = to;
                continue;
            }
            let subject = owner_of(&frame);
            if !is_meant(&at, &subject) {
                break;
            }
            self.folder
                .remove(&at)
                .map_err(|source| failed("cannot remove a session's file", source))?;
            let (digest, subject) = (at, subject.unwrap_or_default());
            return Ok(Some(Ended { digest, subject }));
        }
        Ok(None)
    }
}

/// A session that was removed.
pub(crate) struct Ended {
    pub(crate) digest: KeyDigest,
    /// Whose it was, where that could be read.
    pub(crate) subject: Option<SubjectDigest>,
}

/// Whose record a frame holds; a mark is nobody's.
pub(crate) fn owner_of(frame: &[u8]) -> Result<Option<SubjectDigest>, Error> {
    Ok(FrameHead::read_with_subject(frame)?.1)
}

fn subject_of(stored: &Stored) -> Option<SubjectDigest> {
    match stored {
        Stored::Record(record) => record.subject_digest(),
        Stored::Rotated { .. } => None,
    }
}

fn make_folders(folder: &Folder) -> io::Result<Locks> {
    make_folder(&folder.locks())?;
    for first in 0..=u8::MAX {
        make_folder(&folder.fan(first))?;
        make_folder(&folder.subject_fan(first))?;
    }
    let locks = Locks::open(&folder.locks())?;
    for made in [
        &folder.locks(),
        &folder.subjects(),
        folder.root(),
        &folder.path,
    ] {
        sync_folder(made)?;
    }
    Ok(locks)
}

fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message).in_store(NAME)
}

/// A file that is longer than any frame is no frame.
fn no_frame(error: Error) -> Error {
    match error.kind() {
        ErrorKind::TooLarge => {
            Error::new(ErrorKind::Corrupt, "file is longer than any frame").with_source(error)
        }
        _ => error,
    }
}

fn not_linked(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AlreadyExists => ErrorKind::Exists.into(),
        _ => failed("cannot name a session's file", source),
    }
}
