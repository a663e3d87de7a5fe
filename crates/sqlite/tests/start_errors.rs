//! What an operator reads where a store does not open: the path, the reason, and what to do.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cloakroom_core::ErrorKind;
use cloakroom_sqlite::SqliteStore;
use tempfile::TempDir;

use common::{aside, file, folder, open};

/// Opens it in vain, and answers why.
fn refused(path: &Path, kind: ErrorKind) -> String {
    let builder = SqliteStore::builder().timeout(Duration::from_millis(200));
    let error = builder.open(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

fn assert_says(text: &str, path: &Path, reason: &str, what_to_do: &str) {
    for part in [path.to_str().unwrap(), reason, what_to_do] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A file system of a given size, for as long as this lives.
struct Disk(TempDir);

impl Disk {
    fn of(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("{options},mode=0700"), "x"]);
        let mounted = mount.arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "CI runs this as root, where a tmpfs can be mounted"
        );
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        None
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.db")
    }

    fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]);
        assert!(mount.arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn where_the_way_is_no_folder() {
    let folder = folder();
    let in_the_way = folder.path().join("a file");
    fs::write(&in_the_way, "in the way, and no database at all").unwrap();
    let text = refused(&in_the_way.join("sessions.db"), ErrorKind::Unavailable);
    assert_says(&text, &in_the_way, "not a directory", "give a path");
    // A folder that is missing is made.
    SqliteStore::open(folder.path().join("new").join("sessions.db")).unwrap();
}

#[test]
fn where_there_is_a_folder_at_the_path() {
    let folder = folder();
    let path = folder.path().join("a folder");
    fs::create_dir(&path).unwrap();
    let text = refused(&path, ErrorKind::Unavailable);
    assert_says(&text, &path, "is a directory", "give the path of a file");
}

const FORBIDDEN: &str = "CLOAKROOM_SQLITE_TEST_FORBIDDEN";

/// The process of the test below; without the file, nothing.
#[test]
fn a_process_without_rights() {
    if let Some(path) = std::env::var_os(FORBIDDEN) {
        let error = SqliteStore::open(PathBuf::from(path)).unwrap_err();
        println!("{:?}: {error}", error.kind());
    }
}

#[test]
fn where_this_process_may_not() {
    const NOBODY: u32 = 65_534;
    let folder = folder();
    let path = file(&folder);
    drop(open(&folder));
    // It lies where nobody but its owner comes, and where others come but may not write.
    for mode in [0o700, 0o755] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_process_without_rights", "--nocapture"]);
        let output = child.env(FORBIDDEN, &path).uid(NOBODY).output();
        let Ok(output) = output else {
            assert!(std::env::var_os("CI").is_none(), "CI runs this as root");
            eprintln!("SKIPPED: only root can start a process as somebody else");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_says(
            &text,
            &path,
            "Permission denied",
            "let the user of this process",
        );
        assert!(text.contains("Misconfigured"), "{text}");
    }
}

#[test]
fn where_the_file_system_is_read_only() {
    let Some(disk) = Disk::of("size=8m") else {
        return;
    };
    drop(SqliteStore::open(disk.file()).unwrap());
    disk.remount("ro");
    let new = disk.0.path().join("new.db");
    for path in [disk.file(), new] {
        let text = refused(&path, ErrorKind::Unavailable);
        assert_says(&text, &path, "Read-only file system", "mount");
    }
}

#[test]
fn where_the_disk_is_full() {
    let Some(disk) = Disk::of("size=64k") else {
        return;
    };
    let _ = fs::write(disk.0.path().join("ballast"), vec![0; 64 * 1024]);
    let text = refused(&disk.file(), ErrorKind::Unavailable);
    assert_says(&text, &disk.file(), "full", "make room");
    fs::remove_file(disk.0.path().join("ballast")).unwrap();
    disk.remount("size=8m");
    SqliteStore::open(disk.file()).unwrap();
}

#[test]
fn where_the_file_is_no_database() {
    let folder = folder();
    cloakroom_disk::replace_file(&file(&folder), &[b'x'; 4_096]).unwrap();
    let text = refused(&file(&folder), ErrorKind::Misconfigured);
    assert_says(&text, &file(&folder), "no SQLite database", "another path");
}

#[test]
fn where_another_keeps_it_locked() {
    let folder = folder();
    drop(open(&folder));
    let conn = aside(&folder);
    let lock = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE";
    conn.execute_batch(lock).unwrap();
    let text = refused(&file(&folder), ErrorKind::Unavailable);
    assert_says(&text, &file(&folder), "another process", "look for");
}
