//! The lock on a session's own file, which is taken behind that of its digest.
//!
//! A cleaner of old files may remove a lock of [`Locks`](crate::locks::Locks) while somebody
//! has it: another process then makes and takes another file of that name, and both have the
//! lock. So whoever replaces or removes a session's file locks that one too, and looks whether
//! it is still the one at its path. A cleaner that removes it has ended the session.

use std::fs::{File, OpenOptions};
use std::thread;
use std::time::Duration;

use cloakroom_core::store::{FRAME_BYTES_CEILING, KeyDigest};
use cloakroom_core::{Error, ErrorKind};
use cloakroom_disk::FileIdentity;

use crate::error::unavailable;
use crate::files::Files;
use crate::layout::read_opened;

/// The pause between two attempts. Few ever wait: the lock of the digest keeps others away.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(unix)]
mod system {
    use std::fs::File;
    use std::io;

    use fs4::TryLockError;

    /// Whether the file is locked now; not where another process has locked it.
    pub(super) fn try_lock(file: &File) -> io::Result<bool> {
        match fs4::FileExt::try_lock(file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn unlock(file: &File) {
        let _ = fs4::FileExt::unlock(file);
    }
}

/// A file that is locked cannot be read by others here, and no cleaner can remove one that
/// is open: the lock of the digest is enough.
#[cfg(not(unix))]
mod system {
    use std::fs::File;
    use std::io;

    pub(super) fn try_lock(_: &File) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn unlock(_: &File) {}
}

/// A session's file that nobody else replaces or removes until this is dropped.
pub(crate) struct LockedFile {
    /// What it holds; [`Corrupt`](ErrorKind::Corrupt) where it cannot be read.
    pub(crate) frame: Result<Vec<u8>, Error>,
    /// `None` where it cannot even be opened.
    _lock: Option<Lock>,
}

struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that was just forked has it open, too.
        system::unlock(&self.0);
    }
}

impl Files {
    /// Locks and reads the file under a digest, where there is one. The caller holds the lock
    /// of the digest.
    pub(crate) fn lock_file(&self, digest: &KeyDigest) -> Result<Option<LockedFile>, Error> {
        let layout = &self.layout;
        let failed = |source| layout.session_failed("lock a session's file", digest, source);
        // A network file system locks only what is open for writing.
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        loop {
            let opened = layout.if_found(layout.open(digest, &options));
            let file = match opened.map_err(|source| layout.unreadable(digest, source)) {
                Ok(Some(file)) => file,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return Ok(Some(LockedFile {
                        frame: Err(error),
                        _lock: None,
                    }));
                }
                Err(error) => return Err(error),
            };
            if system::try_lock(&file).map_err(failed)? {
                let lock = Lock(file);
                let identity = FileIdentity::of(&lock.0).map_err(failed)?;
                if !identity.has_left(&layout.session_path(digest)) {
                    let frame = read_opened(&lock.0, FRAME_BYTES_CEILING + 1);
                    let frame = frame.map_err(|source| layout.unreadable(digest, source));
                    let is_outage = |error: &Error| error.kind() != ErrorKind::Corrupt;
                    return match frame {
                        Err(error) if is_outage(&error) => Err(error),
                        frame => Ok(Some(LockedFile {
                            frame,
                            _lock: Some(lock),
                        })),
                    };
                }
            }
            if self.locks.is_too_late() {
                return Err(self.is_kept());
            }
            thread::sleep(PAUSE);
        }
    }

    fn is_kept(&self) -> Error {
        let folder = self.layout.path.display();
        unavailable(format!(
            "another process keeps the file of a session in {folder} locked; let the one that \
             was stopped go on, or end it"
        ))
    }
}
