//! Paths of the layout, as the documentation says that they are.

#![allow(dead_code)] // Not every file of tests uses all of it.

use std::fs;
use std::path::{Path, PathBuf};

use cloakroom_core::Subject;
use cloakroom_core::store::KeyDigest;
use tempfile::TempDir;

/// A folder for its owner alone.
pub(crate) fn folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder.tempdir().unwrap()
}

/// The path of a session's file.
pub(crate) fn session_path(folder: &Path, digest: &KeyDigest) -> PathBuf {
    let name = digest.to_hex();
    folder.join("v1").join(&name[..2]).join(name)
}

/// The files below a folder whose name contains the text.
pub(crate) fn files_below(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, text));
        } else if path.file_name().unwrap().to_string_lossy().contains(text) {
            found.push(path);
        }
    }
    found
}

/// Where the documentation says that an entry is.
#[allow(dead_code)] // Not every file of tests asks.
pub(crate) fn entry_path(folder: &Path, subject: &Subject, digest: &KeyDigest) -> PathBuf {
    let subject = cloakroom_testkit::listed_as(subject).to_hex();
    let name = format!("{subject}.{}", digest.to_hex());
    folder.join("v1/subjects").join(&subject[..2]).join(name)
}
