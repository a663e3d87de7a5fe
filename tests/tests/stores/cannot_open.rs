//! What keeps a store on the disk from opening: each error names the path, the reason, and
//! what to do next. `cargo test cannot_open -- --nocapture` prints them all.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cloakroom::AnyStore;
use cloakroom_tests::embedded::Embedded;

use crate::full_disk::SmallDisk;

/// The stores whose errors are held to this.
const STORES: [Embedded; 4] = [
    Embedded::File,
    Embedded::Redb,
    Embedded::Sled,
    Embedded::Sqlite,
];

const STORE: &str = "CLOAKROOM_CANNOT_OPEN_STORE";
const PATH: &str = "CLOAKROOM_CANNOT_OPEN_PATH";
const CHILD: &str = "cannot_open::the_child_opens_a_store_as_nobody";
const NOBODY: u32 = 65_534;

async fn open(store: Embedded, path: &Path) -> Result<AnyStore, String> {
    let opened = cloakroom::open(&format!("{store}:{}", path.display())).await;
    opened.map_err(|error| error.to_string())
}

/// The text of the error says where, why, in one of these words, and what to do.
fn check(store: Embedded, situation: &str, path: &Path, reasons: &[&str], text: &str) {
    println!("{store}, {situation}:\n    {text}");
    let path = path.display().to_string();
    assert!(text.contains(&path), "{situation}: no path {path}: {text}");
    let has_reason = reasons.iter().any(|reason| text.contains(reason));
    assert!(has_reason, "{situation}: none of {reasons:?}: {text}");
    // The last part of the sentence: a command, or an imperative.
    let (_, advice) = text.rsplit_once("; ").unwrap_or_default();
    let verbs = [
        "run: ", "let ", "make ", "mount ", "give ", "restore ", "put ", "stop ", "close ", "see ",
        "choose ",
    ];
    let has_advice = verbs.iter().any(|verb| advice.starts_with(verb));
    assert!(has_advice, "{situation}: no next step: {text}");
}

async fn check_refused(store: Embedded, situation: &str, path: &Path, reasons: &[&str]) {
    let opened = open(store, path).await;
    let text = opened.expect_err(&format!("{store}, {situation}"));
    check(store, situation, path, reasons, &text);
}

/// On its own it does nothing.
#[tokio::test]
async fn the_child_opens_a_store_as_nobody() {
    let Some(store) = std::env::var(STORE).ok() else {
        return;
    };
    let path = PathBuf::from(std::env::var_os(PATH).unwrap());
    let opened = open(Embedded::of_scheme(&store), &path).await;
    println!(
        "REFUSED {}",
        opened.expect_err("nobody has no right").replace('\n', " ")
    );
}

/// Root has every right, so this is asked as the user `nobody`.
fn refused_to_nobody(program: &Path, store: Embedded, path: &Path) -> String {
    let mut child = Command::new(program);
    child
        .args(["--exact", CHILD, "--nocapture"])
        .current_dir("/");
    child
        .env(STORE, store.to_string())
        .env(PATH, path)
        .uid(NOBODY);
    let output = loop {
        match child.output() {
            // Another test that starts a process has the copy open for writing until it
            // has started it.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            output => break output.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = text.lines().find_map(|line| line.split_once("REFUSED "));
    refused.unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

#[tokio::test]
async fn what_keeps_a_store_from_opening_is_told_with_its_path_its_reason_and_the_next_step() {
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        // A folder that is missing is made, and those around it.
        let made = folder.path().join("a/b").join(store.to_string());
        let opened = open(store, &made).await.unwrap();
        check_locked(store, &made, opened).await;
        // A file on the way.
        let file = folder.path().join("file");
        fs::write(&file, "in the way").unwrap();
        let below = file.join("sessions");
        check_refused(store, "a file on the way", &below, &["ot a directory"]).await;
        check_foreign(store, folder.path()).await;
    }
}

/// Several processes use one folder of files, or one database of SQLite: nobody locks it.
async fn check_locked(store: Embedded, path: &Path, opened: AnyStore) {
    if matches!(store, Embedded::Redb | Embedded::Sled) {
        check_refused(store, "locked", path, &["open"]).await;
    }
    drop(opened);
}

/// What is no database, and a path of the other kind.
async fn check_foreign(store: Embedded, folder: &Path) {
    let path = folder.join("foreign");
    match store {
        Embedded::Sled => {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            for name in ["db", "conf"] {
                fs::write(path.join(name), [7; 4_096]).unwrap();
            }
        }
        _ => fs::write(&path, [7; 4_096]).unwrap(),
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let reasons = [
        "not a directory",
        "no database",
        "no SQLite database",
        "damaged",
    ];
    check_refused(store, "not a database", &path, &reasons).await;
    let other = folder.join("other kind");
    match store {
        Embedded::Redb | Embedded::Sqlite => {
            fs::create_dir(&other).unwrap();
            check_refused(store, "a folder", &other, &["s a directory"]).await;
        }
        Embedded::File | Embedded::Sled => {
            fs::write(&other, "").unwrap();
            let reasons = ["not a directory"];
            check_refused(store, "a file", &other, &reasons).await;
        }
    }
}

#[tokio::test]
async fn a_store_that_may_not_read_its_path_says_so() {
    let folder = tempfile::tempdir().unwrap();
    if chown(folder.path(), Some(NOBODY), None).is_err() {
        assert!(std::env::var_os("CI").is_none(), "root in CI");
        eprintln!("SKIPPED: only root can ask as another user");
        return;
    }
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    for (situation, mode) in [("no permission", 0o700), ("no right to write", 0o755)] {
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        for store in STORES {
            let path = closed.join(store.to_string());
            let text = refused_to_nobody(&program, store, &path);
            check(store, situation, &path, &["Permission denied"], &text);
        }
    }
}

#[tokio::test]
async fn a_store_on_a_disk_that_is_read_only_or_full_says_so() {
    for store in STORES {
        let Some(disk) = SmallDisk::mount("8m") else {
            return;
        };
        let existing = disk.path("existing");
        drop(open(store, &existing).await.unwrap());
        disk.remount("ro");
        for (situation, path) in [
            ("read-only", existing.clone()),
            ("new, read-only", disk.path("new")),
        ] {
            check_refused(store, situation, &path, &["Read-only"]).await;
        }
        disk.remount("rw");
        fill(&disk);
        // A store of files opens here, and names its folder where a write is refused.
        if store == Embedded::File {
            continue;
        }
        let path = disk.path("new");
        check_refused(store, "full", &path, &["No space left", "is full"]).await;
    }
}

/// A folder without a byte left is full for whoever makes one more.
fn fill(disk: &SmallDisk) {
    use std::io::Write as _;
    let mut ballast = fs::File::create(disk.path("ballast")).unwrap();
    while ballast.write_all(&[0; 4_096]).is_ok() {}
}
