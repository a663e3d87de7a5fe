//! The contract, and what only this store promises: durability, locking, damage.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::time::Duration;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    EndReason, Ending, Import as _, Revision, Revoke, SessionStore as _, Stored, SubjectDigest,
    Subjects as _, Sweep as _, Swept, Tombstone,
};
use cloakroom_core::{ErrorKind, Subject, Timestamp};
use cloakroom_sled::SledStore;
use cloakroom_testkit::{
    Profile, conformance, key, listed_as, races, races_of_subjects, sample, survives_reopening,
    touch_until,
};
use common::{DAY_SECS, folder, later, with_trees};

#[test]
fn writers_that_race_from_threads_conform() {
    let folder = folder();
    races(&SledStore::open(folder.path()).unwrap(), 50);
}

#[tokio::test]
async fn conforms() {
    let folder = folder();
    let store = SledStore::open(folder.path()).unwrap();
    conformance(&store, &Profile::DURABLE).await;
}

#[tokio::test]
async fn conforms_erased() {
    let folder = folder();
    let store = AnyStore::new(SledStore::open(folder.path()).unwrap());
    conformance(&store, &Profile::DURABLE).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let folder = folder();
    let open = async || SledStore::open(folder.path()).unwrap();
    survives_reopening(&Profile::DURABLE, open).await;
}

/// A log that was deleted takes writes from whoever has it open, and nobody finds them.
#[tokio::test]
async fn no_write_to_a_deleted_database_is_acknowledged_and_the_folder_may_come_back() {
    let folder = folder();
    let [path, away] = ["sessions", "away"].map(|name| folder.path().join(name));
    let store = SledStore::open(&path).unwrap();
    let (digest, record) = (key().digest(), sample(""));
    store.create(&digest, &record).await.unwrap();
    std::fs::rename(&path, &away).unwrap();
    let error = store.create(&key().digest(), &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // Nobody is logged out, and no empty database is made in its place.
    let error = store.load(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("deleted, moved"), "{error}");
    assert!(!path.exists());
    std::fs::rename(&away, &path).unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while store.create(&key().digest(), &record).await.is_err() {
        assert!(std::time::Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(store.load(&digest).await.unwrap().is_some());
}

#[test]
fn a_second_opening_says_that_the_database_is_held() {
    let folder = folder();
    let path = folder.path().join("sessions");
    let store = SledStore::open(&path).unwrap();
    let error = SledStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    drop(store);
    SledStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_snapshot_that_a_killed_recovery_left_half_written_is_no_damage() {
    let folder = folder();
    let (key, record) = (key(), sample("kept"));
    let digest = key.digest();
    let store = SledStore::open(folder.path()).unwrap();
    store.create(&digest, &record).await.unwrap();
    drop(store);
    // sled writes its snapshot in three pieces to a file of this name.
    for torn in [&b""[..], &[7; 100]] {
        let left = folder.path().join("snap.00000000FFFFFFFF.generating");
        std::fs::write(&left, torn).unwrap();
        let store = SledStore::open(folder.path()).unwrap();
        assert!(store.load(&digest).await.unwrap().is_some());
        drop(store);
        assert!(!left.exists());
    }
}

#[test]
fn settings_that_a_killed_first_opening_left_half_written_are_no_damage() {
    let other = folder();
    drop(SledStore::open(other.path()).unwrap());
    let whole = std::fs::read(other.path().join("conf")).unwrap();
    // sled writes the checksum, of four bytes, apart from the rest.
    let torn = &whole[..whole.len() - 4];
    for db_was_made in [false, true] {
        let folder = folder();
        let settings = folder.path().join("conf");
        std::fs::write(&settings, torn).unwrap();
        if db_was_made {
            std::fs::write(folder.path().join("db"), b"").unwrap();
        }
        drop(SledStore::open(folder.path()).unwrap());
        assert_eq!(std::fs::read(&settings).unwrap(), whole);
        SledStore::open(folder.path()).unwrap();
    }
}

#[test]
fn an_opening_waits_for_one_that_is_being_closed() {
    let folder = folder();
    let held = SledStore::open(folder.path()).unwrap();
    let closing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
    });
    loop {
        let is_closed = closing.is_finished();
        match SledStore::open(folder.path()) {
            // A slow disk takes its time to close.
            Err(error) if error.kind() == ErrorKind::Locked && !is_closed => {}
            opened => break drop(opened.unwrap()),
        }
    }
    closing.join().unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = folder();
    let file = folder.path().join("a file");
    std::fs::write(&file, "in the way").unwrap();
    let error = SledStore::open(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("a file"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_new_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("sessions");
    let _store = SledStore::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_may_enter_is_refused_and_one_for_its_group_is_opened() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("sessions");
    drop(SledStore::open(&path).unwrap());
    for mode in [0o755, 0o701, 0o777] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = SledStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    }
    set_permissions(&path, Permissions::from_mode(0o2770)).unwrap();
    SledStore::open(&path).unwrap();
}

#[test]
fn a_damaged_database_is_an_error_at_opening_and_never_a_panic() {
    for (length, fill) in [(4_096, 0xff), (600_000, 0xa5), (100, 0)] {
        let folder = folder();
        drop(SledStore::open(folder.path()).unwrap());
        std::fs::write(folder.path().join("db"), vec![fill; length]).unwrap();
        match SledStore::open(folder.path()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
}

/// The bytes of a subject in the indexes; none for a record without a subject.
fn subject_bytes(subject: Option<SubjectDigest>) -> Vec<u8> {
    subject.map_or_else(Vec::new, |subject| subject.as_bytes().to_vec())
}

fn subject(step: u64) -> Option<Subject> {
    let texts = [None, Some("a"), Some("ab"), Some("")];
    texts[usize::try_from(step % 4).unwrap()].map(|text| Subject::new(text).unwrap())
}

fn ending() -> Ending {
    Ending::new(EndReason::LoggedOut, later(0))
}

/// Some of every write there is: sessions that stay, rotate, change their subject, end
/// with and without a trace, and are imported.
async fn schedule(store: &SledStore) {
    for step in 0..120_u64 {
        let (digest, mut record) = (key().digest(), sample("x"));
        record.subject = subject(step);
        if step % 8 < 6 {
            record.revision = store.create(&digest, &record).await.unwrap();
        } else {
            let stored = Stored::Record(record.clone());
            assert!(store.import(&digest, &stored).await.unwrap());
            assert!(!store.import(&digest, &stored).await.unwrap());
        }
        if step % 2 == 0 {
            let revision = record.revision;
            store
                .touch(&digest, revision, touch_until(later(4_000 + step)))
                .await
                .unwrap();
        }
        if step % 3 == 0 {
            record.expires_at = later(1_000 * step);
            record.subject = subject(step / 3);
            record.revision = store.update(&digest, &record).await.unwrap();
        }
        if step % 5 == 0 {
            let new = key().digest();
            record.subject = subject(step / 5);
            store
                .rotate(&digest, &new, &record, later(60))
                .await
                .unwrap();
        }
        if step % 7 == 0 {
            store.delete(&digest).await.unwrap();
        }
        if step % 9 == 0 {
            store.end(&digest, Some(&ending())).await.unwrap();
        }
        if step % 11 == 0 {
            store.sweep(later(10 * step), 3).await.unwrap();
        }
        if let (0, Some(whose)) = (step % 13, subject(step / 13)) {
            let which = match step % 4 {
                0 => Revoke::All,
                1 => Revoke::AllBut(digest),
                _ => Revoke::One(digest),
            };
            let ending = (step % 2 == 0).then(ending);
            let whose = listed_as(&whose);
            let ended = store.end_sessions(&whose, which, ending.as_ref());
            ended.await.unwrap();
        }
    }
}

#[tokio::test]
async fn each_record_has_its_entries_and_no_entry_is_without_one() {
    let folder = folder();
    schedule(&SledStore::open(folder.path()).unwrap()).await;
    with_trees(&folder, |[records, expiry, subjects]| {
        assert!(records.len() > 20 && subjects.len() > 10);
        assert_eq!(records.len(), expiry.len());
        let (mut listed, mut tombstones) = (0, 0);
        for entry in records.iter() {
            let (digest, stored) = entry.unwrap();
            let indexed_at: [u8; 8] = stored[..8].try_into().unwrap();
            let stored = Stored::decode(&stored[8..]).unwrap();
            assert!(u64::from_be_bytes(indexed_at) <= stored.expires_at().as_millis());
            let entry = expiry.get([&indexed_at[..], &digest].concat()).unwrap();
            let subject = subject_bytes(stored.listed_under());
            tombstones += usize::from(matches!(stored, Stored::Ended(_)));
            assert_eq!(entry.unwrap(), subject);
            if !subject.is_empty() {
                let entry = [&subject[..], &digest].concat();
                assert!(subjects.contains_key(entry).unwrap());
                listed += 1;
            }
        }
        assert_eq!(subjects.len(), listed);
        assert!(tombstones > 10);
    });
}

/// A session with damage in any of the three parts of its row is ended by its owner, and a
/// sweep leaves no entry of it. The tombstone of one whose frame is damaged does not say whose
/// it was.
#[tokio::test]
async fn a_damaged_record_is_ended_and_leaves_no_entry() {
    for (is_swept, ending) in [(true, None), (false, None), (false, Some(ending()))] {
        let folder = folder();
        let digests: Vec<_> = (0..4).map(|_| key().digest()).collect();
        {
            let store = SledStore::open(folder.path()).unwrap();
            for digest in &digests {
                store.create(digest, &sample("x")).await.unwrap();
            }
        }
        with_trees(&folder, |[records, ..]| {
            for (digest, at) in digests.iter().zip([4, 40]) {
                let mut flipped = records.get(digest.as_bytes()).unwrap().unwrap().to_vec();
                flipped[at] ^= 1;
                records.insert(digest.as_bytes(), flipped).unwrap();
            }
            records.insert(digests[2].as_bytes(), &[1, 2, 3]).unwrap();
        });
        {
            let store = SledStore::open(folder.path()).unwrap();
            let whose = sample("x").subject.unwrap();
            // The first is listed, since its frame is whole.
            assert_eq!(
                store
                    .sessions_of(&listed_as(&whose), usize::MAX)
                    .await
                    .unwrap()
                    .len(),
                2
            );
            if !is_swept {
                let whose = listed_as(&whose);
                let ended = store.end_sessions(&whose, Revoke::All, ending.as_ref());
                let mut ended = ended.await.unwrap();
                let mut expected = digests.clone();
                ended.sort();
                expected.sort();
                assert_eq!(ended, expected);
                for digest in &digests {
                    let is_whole = digests[1..3].iter().all(|damaged| damaged != digest);
                    let whose = is_whole.then_some(whose);
                    let left = ending.as_ref().map(|ending| Tombstone::new(ending, whose));
                    let stored = store.load(digest).await.unwrap();
                    assert_eq!(stored, left.map(Stored::Ended));
                }
            }
            let day_over = later(DAY_SECS + 7_200);
            while store.sweep(day_over, 10).await.unwrap().more {}
        }
        with_trees(&folder, |[records, expiry, subjects]| {
            assert_eq!((records.len(), expiry.len()), (0, 0));
            assert_eq!(subjects.len(), 0);
        });
    }
}

#[test]
fn logins_that_race_a_revocation_are_ended_or_listed() {
    let folder = folder();
    let store = SledStore::open(folder.path()).unwrap();
    races_of_subjects(&store, 30);
}

#[tokio::test]
async fn no_key_reaches_the_disk() {
    let folder = folder();
    let key = key();
    {
        let store = SledStore::open(folder.path()).unwrap();
        store.create(&key.digest(), &sample("x")).await.unwrap();
    }
    let mut whole = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            whole.extend(std::fs::read(path).unwrap());
        }
    }
    let contains = |needle: &[u8]| whole.windows(needle.len()).any(|window| window == needle);
    assert!(
        contains(key.digest().as_bytes()),
        "the search finds what is there"
    );
    assert!(!contains(key.expose_bytes()));
    assert!(!contains(key.to_token().expose().as_bytes()));
}

#[tokio::test]
async fn a_damaged_record_is_corrupt_alone_and_is_swept() {
    let folder = folder();
    let digests: Vec<_> = (0..4).map(|_| key().digest()).collect();
    {
        let store = SledStore::open(folder.path()).unwrap();
        for digest in &digests {
            store.create(digest, &sample("x")).await.unwrap();
        }
    }
    with_trees(&folder, |[records, ..]| {
        let mut flipped = records
            .get(digests[0].as_bytes())
            .unwrap()
            .unwrap()
            .to_vec();
        flipped[40] ^= 1;
        records.insert(digests[0].as_bytes(), flipped).unwrap();
        records.insert(digests[1].as_bytes(), &[1, 2, 3]).unwrap();
        records.insert(digests[2].as_bytes(), &[]).unwrap();
    });
    let store = SledStore::open(folder.path()).unwrap();
    for digest in &digests[..3] {
        let error = store.load(digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let error = store
            .touch(digest, Revision::FIRST, touch_until(Timestamp::MAX))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert!(store.load(&digests[3]).await.unwrap().is_some());
    store.delete(&digests[1]).await.unwrap();
    assert!(store.load(&digests[1]).await.unwrap().is_none());
    let swept = store.sweep(later(7_200), 10).await.unwrap();
    assert_eq!(swept, Swept::new(3, false));
    for digest in &digests[..3] {
        assert!(store.load(digest).await.unwrap().is_none());
    }
    let whole = store.load(&digests[3]).await.unwrap();
    assert!(matches!(whole, Some(Stored::Ended(_))), "{whole:?}");
    let swept = store.sweep(later(DAY_SECS + 7_200), 10).await.unwrap();
    assert_eq!(swept, Swept::new(1, false));
    assert!(store.load(&digests[3]).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_wait_together_share_a_sync_and_all_survive() {
    let folder = folder();
    let mut digests = Vec::new();
    {
        let store = SledStore::open(folder.path()).unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let digest = key().digest();
                    store.create(&digest, &sample("x")).await.unwrap();
                    digest
                })
            })
            .collect();
        for task in tasks {
            digests.push(task.await.unwrap());
        }
    }
    let store = SledStore::open(folder.path()).unwrap();
    for digest in digests {
        assert!(store.load(&digest).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn sessions_too_large_for_sleds_log_survive_reopening_and_lie_in_blobs() {
    let folder = folder();
    let large = |byte: u8| {
        let mut record = sample("");
        record.data = cloakroom_core::store::Data::from_bytes(vec![byte; 64 * 1024]);
        record
    };
    let mut digests = Vec::new();
    {
        let store = SledStore::open(folder.path()).unwrap();
        for byte in 0..40 {
            let digest = key().digest();
            store.create(&digest, &large(byte)).await.unwrap();
            digests.push((digest, byte));
        }
    }
    let blobs = std::fs::read_dir(folder.path().join("blobs"))
        .unwrap()
        .count();
    assert!(blobs > 0, "this test is about blobs");
    let store = SledStore::open(folder.path()).unwrap();
    for (digest, byte) in digests {
        let stored = store.load(&digest).await.unwrap();
        assert_eq!(
            stored.unwrap().into_record().unwrap().data,
            large(byte).data
        );
    }
}
