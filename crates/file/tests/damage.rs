//! Damaged files, foreign files, what a crash leaves, a full disk.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cloakroom_core::store::{
    Data, EndReason, Ending, Import as _, KeyDigest, Revision, SessionStore as _, Stored,
    Sweep as _, Swept, Tombstone,
};
use cloakroom_core::{ErrorKind, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_testkit::{key, sample, touch_until};
use common::{files_below, folder, session_path};

fn later(seconds: u64) -> Timestamp {
    let began = sample("").created_at;
    began.saturating_add(Duration::from_secs(seconds))
}

fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let changed = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(changed).unwrap();
}

async fn sweep_all(store: &FileStore, now: Timestamp) -> usize {
    let mut removed = 0;
    loop {
        let swept = store.sweep(now, 10).await.unwrap();
        removed += swept.removed;
        if !swept.more {
            return removed;
        }
    }
}

async fn create(store: &FileStore) -> KeyDigest {
    let digest = key().digest();
    store.create(&digest, &sample("x")).await.unwrap();
    digest
}

#[tokio::test]
async fn a_damaged_file_is_corrupt_alone() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let whole = create(&store).await;
    let frame = fs::read(session_path(folder.path(), &whole)).unwrap();
    let mut flipped = frame.clone();
    flipped[40] ^= 1;
    let endless = vec![0; 17 * 1024 * 1024];
    for damage in [&flipped[..], &frame[..30], &frame[..3], &[], &endless] {
        let digest = create(&store).await;
        fs::write(session_path(folder.path(), &digest), damage).unwrap();
        let record = sample("y").at_revision(Revision::FIRST);
        let (new, until) = (key().digest(), Timestamp::MAX);
        for refused in [
            store.load(&digest).await.map(|_| ()),
            store.update(&digest, &record).await.map(|_| ()),
            store
                .touch(&digest, Revision::FIRST, touch_until(until))
                .await,
            store
                .rotate(&digest, &new, &record, until)
                .await
                .map(|_| ()),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let refused = store.create(&digest, &record).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exists);
        store.delete(&digest).await.unwrap();
        assert!(store.load(&digest).await.unwrap().is_none());
    }
    assert!(store.load(&whole).await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_file_is_swept_when_its_head_says_or_after_a_day() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let [body, head, live] = [
        create(&store).await,
        create(&store).await,
        create(&store).await,
    ];
    let path = session_path(folder.path(), &body);
    let mut frame = fs::read(&path).unwrap();
    frame[40] ^= 1;
    fs::write(&path, &frame).unwrap();
    fs::write(session_path(folder.path(), &head), [1, 2, 3]).unwrap();
    store
        .touch(&live, Revision::FIRST, touch_until(Timestamp::MAX))
        .await
        .unwrap();
    assert_eq!(sweep_all(&store, later(60)).await, 0);
    assert_eq!(sweep_all(&store, later(2 * 3_600)).await, 1);
    assert!(store.load(&body).await.unwrap().is_none());
    assert_eq!(sweep_all(&store, later(25 * 3_600)).await, 1);
    assert!(store.load(&head).await.unwrap().is_none());
    assert!(store.load(&live).await.unwrap().is_some());
}

/// A tombstone is not synced, so a crash of the machine may leave its file empty. The session
/// has ended all the same, and does not come back.
#[tokio::test]
async fn a_tombstone_that_a_crash_has_emptied_opens_nothing_and_is_swept() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let ending = Ending::new(EndReason::LoggedOut, later(0));
    let record = sample("x").at_revision(Revision::FIRST);
    let digests = [create(&store).await, create(&store).await];
    let paths = digests.map(|digest| session_path(folder.path(), &digest));
    for (digest, path) in digests.iter().zip(&paths) {
        store.end(digest, Some(&ending)).await.unwrap();
        fs::write(path, "").unwrap();
        let error = store.load(digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(store.update(digest, &record).await.is_err());
        let record = Stored::Record(record.clone());
        assert!(!store.import(digest, &record).await.unwrap());
    }
    // It can be ended again.
    store.end(&digests[1], Some(&ending)).await.unwrap();
    let ended = store.load(&digests[1]).await.unwrap();
    let left = Tombstone::new(&ending, None);
    assert_eq!(ended, Some(Stored::Ended(left)));
    assert_eq!(sweep_all(&store, later(60)).await, 0);
    assert_eq!(sweep_all(&store, later(25 * 3_600)).await, 2);
    assert!(!paths.iter().any(|path| path.exists()));
}

/// The newer build that wrote it will remove it.
#[tokio::test]
async fn a_record_of_a_newer_version_is_unsupported_and_never_swept() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = create(&store).await;
    let path = session_path(folder.path(), &digest);
    // Version 2, and its CRC-32.
    fs::write(&path, [0x02, 0xa1, 0x8e, 0x0c, 0x3c]).unwrap();
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    age(&path, 30 * 24 * 3_600);
    assert_eq!(sweep_all(&store, Timestamp::MAX).await, 0);
    assert!(path.exists());
}

#[tokio::test]
async fn foreign_files_stop_nothing_and_stay() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let due = create(&store).await;
    let in_folder = session_path(folder.path(), &due)
        .parent()
        .unwrap()
        .to_path_buf();
    let elsewhere = key().digest().to_hex();
    let upper = due.to_hex().to_uppercase();
    for name in ["README", ".hidden", "x.tmp", &upper, &elsewhere[..63]] {
        fs::write(in_folder.join(name), "not ours").unwrap();
    }
    // The name of a session, and not in its folder.
    let misplaced = KeyDigest::from_bytes([due.as_bytes()[0].wrapping_add(1); 32]);
    fs::write(in_folder.join(misplaced.to_hex()), "not ours").unwrap();
    let dir = KeyDigest::from_bytes([due.as_bytes()[0]; 32]);
    fs::create_dir(session_path(folder.path(), &dir)).unwrap();
    fs::write(folder.path().join("v1").join("notes"), "not ours").unwrap();
    #[cfg(unix)]
    {
        let mut link = [due.as_bytes()[0].wrapping_add(2); 32];
        link[0] = due.as_bytes()[0];
        let link = session_path(folder.path(), &KeyDigest::from_bytes(link));
        std::os::unix::fs::symlink(folder.path().join("v1").join("notes"), link).unwrap();
    }
    let before = files_below(folder.path(), "").len();
    assert_eq!(sweep_all(&store, Timestamp::MAX).await, 1);
    assert!(store.load(&due).await.unwrap().is_none());
    // The session's file and its entry.
    assert_eq!(files_below(folder.path(), "").len(), before - 2);
    drop(store);
    FileStore::open(folder.path()).unwrap();
}

#[tokio::test]
async fn what_a_crashed_writer_left_goes_after_an_hour_and_no_sooner() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let live = create(&store).await;
    let in_folder = session_path(folder.path(), &live)
        .parent()
        .unwrap()
        .to_path_buf();
    let (old, young) = (in_folder.join(".new-00-1"), in_folder.join(".new-00-2"));
    for path in [&old, &young] {
        fs::write(path, "half a fra").unwrap();
    }
    age(&old, 2 * 3_600);
    assert_eq!(sweep_all(&store, later(0)).await, 0);
    assert!(!old.exists() && young.exists());
    assert!(store.load(&live).await.unwrap().is_some());
}

/// A crash after the hard link, and before the temporary name was removed: the sweep
/// removes that name alone, and the session stands.
#[tokio::test]
async fn a_crash_between_link_and_unlink_costs_no_session() {
    let folder = folder();
    let store = FileStore::open(folder.path()).unwrap();
    let digest = create(&store).await;
    let path = session_path(folder.path(), &digest);
    let temporary = path.with_file_name(".new-00-1");
    fs::hard_link(&path, &temporary).unwrap();
    age(&path, 2 * 3_600);
    assert_eq!(sweep_all(&store, later(0)).await, 0);
    assert!(!temporary.exists());
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_sweep_goes_on_where_the_last_step_stopped() {
    let folder = folder();
    let store = FileStore::open_with(folder.path(), Durability::Lazy).unwrap();
    let mut record = sample("x");
    record.subject = None;
    for _ in 0..5_000 {
        store.create(&key().digest(), &record).await.unwrap();
    }
    // No step looks at more than 4,096 files, though none is due.
    let now = later(60);
    let nothing = |more| Swept::new(0, more);
    assert_eq!(store.sweep(now, 10).await.unwrap(), nothing(true));
    assert_eq!(store.sweep(now, 10).await.unwrap(), nothing(false));
    assert_eq!(store.sweep(now, 10).await.unwrap(), nothing(true));
    assert_eq!(store.sweep(now, 10).await.unwrap(), nothing(false));
    // Each leaves a tombstone, which is due a day later.
    for (now, left) in [(7_200, 5_000), (7_200 + 24 * 3_600, 0)] {
        let mut steps = 1;
        while store.sweep(later(now), 100).await.unwrap().more {
            steps += 1;
        }
        assert_eq!(steps, 50);
        let files = files_below(&folder.path().join("v1"), "").len();
        assert_eq!(files, left + 64);
    }
}

#[cfg(unix)]
async fn scan_past_a_file_that_is_forbidden(path: &Path) {
    use cloakroom_core::Error;
    use cloakroom_core::store::Scan as _;
    use std::os::unix::fs::PermissionsExt as _;
    let store = FileStore::open(path).unwrap();
    let mut digests = Vec::new();
    for _ in 0..20 {
        digests.push(create(&store).await);
    }
    digests.sort();
    let forbidden = session_path(path, &digests[7]);
    fs::set_permissions(&forbidden, fs::Permissions::from_mode(0o000)).unwrap();
    let (mut scanned, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(cursor.as_ref(), 3).await.unwrap();
        scanned.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    for (item, digest) in scanned.iter().zip(&digests) {
        assert_eq!(item.digest, *digest);
        let failed = item.stored.as_ref().err().map(Error::kind);
        let expected = (*digest == digests[7]).then_some(ErrorKind::Unavailable);
        assert_eq!(failed, expected);
    }
    assert_eq!(scanned.len(), digests.len());
    // A folder that cannot be listed fails the page: nobody knows what is in it.
    let in_folder = forbidden.parent().unwrap();
    for (mode, fails) in [(0o000, true), (0o700, false)] {
        fs::set_permissions(in_folder, fs::Permissions::from_mode(mode)).unwrap();
        let failed = store.scan(None, 30).await.err().map(|error| error.kind());
        assert_eq!(failed, fails.then_some(ErrorKind::Unavailable));
    }
}

/// Root can read every file, so as root this runs again as the user `nobody`.
#[cfg(unix)]
#[tokio::test]
async fn a_scan_goes_on_past_a_file_that_cannot_be_read() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    const FOLDER: &str = "CLOAKROOM_TEST_AS_NOBODY";
    if let Some(path) = std::env::var_os(FOLDER) {
        scan_past_a_file_that_is_forbidden(Path::new(&path)).await;
        println!("scanned as nobody");
        return;
    }
    let around = folder();
    let path = around.path().join("sessions");
    if chown(around.path(), Some(NOBODY), None).is_err() {
        return scan_past_a_file_that_is_forbidden(&path).await;
    }
    // In a folder that `nobody` may enter.
    let program = around.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = std::process::Command::new(program);
    child.args(["--exact", "a_scan_goes_on_past_a_file_that_cannot_be_read"]);
    child.arg("--nocapture").env(FOLDER, &path).uid(NOBODY);
    child.current_dir("/");
    let output = loop {
        // A child that a test beside this one has just forked may have it open yet.
        match child.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            ended => break ended.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("scanned as nobody"), "{text}");
}

/// A file system of a given size, for as long as this lives.
#[cfg(target_os = "linux")]
struct Disk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Disk {
    fn of(size: &str) -> Option<Self> {
        let folder = folder();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "x"]);
        let mounted = mount.arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "CI runs this as root, where a tmpfs can be mounted"
        );
        eprintln!("SKIPPED: no tmpfs can be mounted here, so no disk gets full");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_refuses_a_write_and_loses_nothing() {
    let Some(disk) = Disk::of("1m") else { return };
    let store = FileStore::open(disk.0.path()).unwrap();
    let mut record = sample("");
    record.data = Data::from_bytes(vec![b'a'; 8_000]);
    let mut created = Vec::new();
    let error = loop {
        let digest = key().digest();
        match store.create(&digest, &record).await {
            Ok(_) => created.push(digest),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(created.len() > 50, "{} sessions", created.len());

    let based = record.at_revision(Revision::FIRST);
    let mut changed = based.clone();
    changed.data = Data::from_bytes(vec![b'b'; 8_000]);
    let new = key().digest();
    for refused in [
        store.update(&created[0], &changed).await.map(|_| ()),
        store
            .rotate(&created[0], &new, &changed, Timestamp::MAX)
            .await
            .map(|_| ()),
        store
            .touch(&created[0], Revision::FIRST, touch_until(Timestamp::MAX))
            .await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(store.load(&new).await.unwrap().is_none());
    assert!(files_below(disk.0.path(), ".new-").is_empty());
    for digest in &created {
        let stored = store.load(digest).await.unwrap().unwrap();
        assert_eq!(stored.into_record().unwrap(), based);
    }

    store.delete(&created[1]).await.unwrap();
    store.update(&created[0], &changed).await.unwrap();
    let stored = store.load(&created[0]).await.unwrap().unwrap();
    assert_eq!(stored.into_record().unwrap().data, changed.data);
}

/// A logout must not fail for want of room, nor a sweep, which is to make some.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_there_is_no_room_for_a_tombstone_a_session_ends_without_one() {
    use std::io::Write as _;
    let Some(disk) = Disk::of("4m") else { return };
    let store = FileStore::open(disk.0.path().join("sessions")).unwrap();
    let [ended, expired] = [create(&store).await, create(&store).await];
    let ballast = disk.0.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    let mut fill_up = || while file.write_all(&[0; 512]).is_ok() {};
    fill_up();
    let refused = store.create(&key().digest(), &sample("")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    let ending = Ending::new(EndReason::LoggedOut, later(0));
    store.end(&ended, Some(&ending)).await.unwrap();
    assert_eq!(store.load(&ended).await.unwrap(), None);
    fill_up();
    assert_eq!(sweep_all(&store, later(7_200)).await, 1);
    assert_eq!(store.load(&expired).await.unwrap(), None);
    assert!(files_below(disk.0.path(), ".new-").is_empty());
    // With room again, ends are remembered.
    fs::remove_file(ballast).unwrap();
    drop(file);
    let remembered = create(&store).await;
    store.end(&remembered, Some(&ending)).await.unwrap();
    let stored = store.load(&remembered).await.unwrap();
    assert!(matches!(stored, Some(Stored::Ended(_))), "{stored:?}");
}

/// What may stand in the place of a session's file and cannot be read as one.
#[cfg(target_os = "linux")]
fn unreadable(path: &Path, number: usize) {
    use std::os::unix::fs::symlink;
    fs::remove_file(path).unwrap();
    match number {
        0 => fs::create_dir(path).unwrap(),
        1 => symlink(path, path).unwrap(),
        2 => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        // Reading it is an error of the disk, EIO.
        3 => symlink("/proc/self/mem", path).unwrap(),
        4 => symlink("/dev/zero", path).unwrap(),
        _ => {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_read_as_a_file_is_corrupt_and_can_be_ended() {
    use cloakroom_core::store::{Revoke, Subjects as _};
    // A socket's path is short.
    let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let sessions = folder.path().join("s");
    let store = FileStore::open(&sessions).unwrap();
    let record = sample("x").at_revision(Revision::FIRST);
    let subject = cloakroom_testkit::listed_as(record.subject.as_ref().unwrap());
    for number in 0..6 {
        let [digest, revoked] = [create(&store).await, create(&store).await];
        for digest in [&digest, &revoked] {
            unreadable(&session_path(&sessions, digest), number);
        }
        let load = tokio::time::timeout(Duration::from_secs(60), store.load(&digest));
        let error = load.await.expect("it does not hang").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error}");
        let text = error.to_string();
        assert!(text.contains(&digest.short()), "{number}: {text}");
        assert!(!text.contains(&digest.to_hex()), "{number}: {text}");
        let (new, until) = (key().digest(), Timestamp::MAX);
        for refused in [
            store.update(&digest, &record).await.map(drop),
            store
                .touch(&digest, Revision::FIRST, touch_until(until))
                .await,
            store.rotate(&digest, &new, &record, until).await.map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt, "{number}");
        }
        let refused = store.create(&digest, &record).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exists);
        sweep_all(&store, later(0)).await;
        store.delete(&digest).await.unwrap();
        let ended = store.revoke(&subject, Revoke::All).await.unwrap();
        assert!(ended.contains(&revoked), "{number}");
        for digest in [&digest, &revoked] {
            let path = session_path(&sessions, digest);
            assert!(
                number == 0 || fs::symlink_metadata(path).is_err(),
                "{number}"
            );
        }
    }
}
