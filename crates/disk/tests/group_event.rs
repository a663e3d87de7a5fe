//! The event about rights of a group. A binary of its own: a subscriber of one thread may
//! miss an event that another thread was the first to send.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs::{File, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use cloakroom_disk::{check_private_file, check_private_folder};

/// What is written to a log, for a test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn rights_of_a_group_are_told_with_the_path() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _logs = tracing::subscriber::set_default(subscriber.finish());
    let told = || String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let (folder, path) = (temporary.path(), temporary.path().join("file"));
    let file = File::create(&path).unwrap();
    let mode = |folder_mode, file_mode| {
        set_permissions(folder, Permissions::from_mode(folder_mode)).unwrap();
        set_permissions(&path, Permissions::from_mode(file_mode)).unwrap();
        check_private_folder(folder).unwrap();
        check_private_file(&file, &path).unwrap();
    };
    mode(0o700, 0o600);
    assert_eq!(told(), "");
    mode(0o2770, 0o640);
    let told = told();
    assert_eq!(told.matches("WARN").count(), 2, "{told}");
    for part in ["mode=770", "mode=640", path.to_str().unwrap()] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
