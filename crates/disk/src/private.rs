//! Whether others than its owner may read or change a file or a folder, and who owns it.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::next_step::SaysNextStep;

static REFUSE_GROUP_RIGHTS: AtomicBool = AtomicBool::new(false);

/// From now on, and in the whole process, the rights of a group to a private file or
/// folder are an error and no event: for a machine on which strangers may be in the
/// group. To be called before the first store or key file is opened; those that are open
/// are not looked at again.
pub fn refuse_group_rights() {
    REFUSE_GROUP_RIGHTS.store(true, Ordering::Relaxed);
}

/// Checks that a folder is private: only its owner may enter, list or change it, and the
/// owner is the user of this process, or root. A link is followed, and what it leads to is
/// judged. On a system without modes every folder passes.
///
/// Rights of the folder's group are not refused but told, by an event at `WARN`: container
/// platforms give them to a volume at each start, and a site must not be down for it.
/// After [`refuse_group_rights`] they are refused.
///
/// # Errors
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) where it is not private; the text
/// names the folder, what is wrong, and the command that mends it.
pub fn check_private_folder(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|error| about("cannot look at the folder", path, &error))?;
    judge("folder", path, &metadata)
}

/// As [`check_private_folder`], of a file that is open: nobody puts another in its place
/// between the look at it and its use. The path is for the text of the error.
pub fn check_private_file(file: &std::fs::File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| about("cannot look at the file", path, &error))?;
    judge("file", path, &metadata)
}

/// Checks that this process may read and write a file, and make others beside it, without
/// opening it: whoever closes a file drops the locks that the process has on it. For a
/// library that does not say why it cannot open its file. On a system without modes
/// everything passes.
///
/// # Errors
/// The system's; the text names the file or the folder.
#[cfg(unix)]
pub fn check_access(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    use rustix::io::Errno;

    // Not every system can be asked: who opens the file then finds out.
    let check =
        |what: &str, path: &Path, access| match accessat(CWD, path, access, AtFlags::EACCESS) {
            Err(error @ (Errno::ACCESS | Errno::ROFS)) => Err(about(what, path, &error.into())),
            _ => Ok(()),
        };
    let both = Access::READ_OK | Access::WRITE_OK;
    check("cannot read and write the file", path, both)?;
    let folder = crate::folder::parent_of(path).unwrap_or(path);
    let what = "cannot make files in the folder";
    check(what, folder, both | Access::EXEC_OK)
}

/// See the other one: the system is asked when the file is opened.
#[cfg(not(unix))]
pub fn check_access(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
pub(crate) fn judge(what: &str, path: &Path, metadata: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    const ROOT: u32 = 0;
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    let user = rustix::process::geteuid().as_raw();
    let shown = path.display();
    let quoted = path.display().to_string().replace('\'', r"'\''");
    let why = if owner != user && owner != ROOT {
        format!(
            "the {what} {shown} is owned by another user (its owner is {owner}, this process \
             runs as {user}), who could read and change sessions; run: chown {user} '{quoted}'"
        )
    } else if mode & 0o070 != 0 && REFUSE_GROUP_RIGHTS.load(Ordering::Relaxed) {
        format!(
            "the group has rights to the {what} {shown} (mode {mode:o}), and this process \
             refuses them; run: chmod go-rwx '{quoted}'"
        )
    } else if mode & 0o007 != 0 {
        format!(
            "others than its owner have rights to the {what} {shown} (mode {mode:o}), and what \
             is in it is private; run: chmod go-rwx '{quoted}'"
        )
    } else {
        if mode & 0o070 != 0 {
            tracing::warn!(
                event = "group_has_rights",
                path = %shown,
                mode = format_args!("{mode:o}"),
                "the group has rights to this {what}: its members may read sessions, or change them"
            );
        }
        return Ok(());
    };
    let why = SaysNextStep(why);
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// The folder around a file decides who may read it here.
#[cfg(not(unix))]
pub(crate) fn judge(_: &str, _: &Path, _: &Metadata) -> io::Result<()> {
    Ok(())
}

/// The system's own texts do not say which path they are about.
pub(crate) fn about(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
