//! The contract, and what is this store's own: durability, locking, damage.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_core::engine::AnyStore;
use cloakroom_core::store::{
    EndReason, Ending, Import as _, KeyDigest, ROTATION_HOPS_MAX, Revision, Revoke,
    SessionStore as _, Stored, Subjects as _, Sweep as _, Swept, Tombstone,
};
use cloakroom_core::{ErrorKind, Subject, Timestamp};
use cloakroom_redb::RedbStore;
use cloakroom_testkit::{
    Profile, conformance, key, listed_as, races_of_subjects, sample, survives_reopening,
    touch_until,
};
use redb::ReadableTable as _;
use tempfile::TempDir;

use common::{DAY_SECS, file, later, subject_of, with_tables};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn conforms() {
    let folder = folder();
    let store = RedbStore::open(file(&folder)).unwrap();
    conformance(&store, &Profile::DURABLE).await;
}

#[tokio::test]
async fn conforms_erased() {
    let folder = folder();
    let store = AnyStore::new(RedbStore::open(file(&folder)).unwrap());
    conformance(&store, &Profile::DURABLE).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_reopening() {
    let folder = folder();
    let open = async || RedbStore::open(file(&folder)).unwrap();
    survives_reopening(&Profile::DURABLE, open).await;
}

#[test]
fn a_second_opening_says_that_the_database_is_held() {
    let folder = folder();
    let path = file(&folder);
    let store = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    drop(store);
    RedbStore::open(&path).unwrap();
}

const HELD: &str = "CLOAKROOM_REDB_TEST_FILE";

/// The second process of the test below; without the file, nothing.
#[test]
fn a_process_that_comes_second() {
    if let Some(path) = std::env::var_os(HELD) {
        println!("it is {:?}", RedbStore::open(path).unwrap_err().kind());
    }
}

#[test]
fn a_second_process_is_told_so() {
    let folder = folder();
    let _store = RedbStore::open(file(&folder)).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_comes_second", "--nocapture"])
        .env(HELD, file(&folder))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("it is Locked"), "{text}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = folder();
    let in_the_way = folder.path().join("a file");
    cloakroom_disk::replace_file(&in_the_way, b"in the way").unwrap();
    let directory = folder.path().join("a file that is a folder");
    std::fs::create_dir(&directory).unwrap();
    for path in [in_the_way.join("sessions.redb"), in_the_way, directory] {
        let error = RedbStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("a file"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("made").join("sessions.redb");
    let _store = RedbStore::open(&path).unwrap();
    let mode = |path: &std::path::Path| {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        mode & 0o777
    };
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_use_is_refused_and_one_for_its_group_is_opened() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("sessions.redb");
    drop(RedbStore::open(&path).unwrap());
    for mode in [0o666, 0o604, 0o602] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = RedbStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
        // What a `main` that returns it prints.
        let debug = format!("{error:?}");
        assert_eq!(debug.matches("chmod go-rwx").count(), 1, "{debug}");
    }
    set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
    RedbStore::open(&path).unwrap();
}

/// Every page of the file in turn, and the file as a whole: an error at opening
/// or at use, never a panic that comes out, and never a hang.
#[tokio::test]
async fn a_damaged_database_is_an_error_and_never_a_panic() {
    let folder = folder();
    let digests: Vec<_> = (0..40).map(|_| key().digest()).collect();
    {
        let store = RedbStore::open(file(&folder)).unwrap();
        for digest in &digests {
            store.create(digest, &sample("x")).await.unwrap();
        }
    }
    let whole = std::fs::read(file(&folder)).unwrap();
    let mut damages: Vec<Vec<u8>> = [(4_096, 0xff), (600_000, 0xa5), (100, 0)]
        .map(|(length, fill)| vec![fill; length])
        .into();
    damages.push(whole[..whole.len() / 2].to_vec());
    for page in 0..(whole.len() / 4_096).min(64) {
        let mut damaged = whole.clone();
        damaged[page * 4_096..][..4_096].fill(0xa5);
        damages.push(damaged);
    }
    let mut refused = 0;
    for damage in damages {
        std::fs::write(file(&folder), damage).unwrap();
        match RedbStore::open(file(&folder)) {
            Ok(store) => {
                for digest in &digests {
                    let _ = store.load(digest).await;
                    let _ = store.delete(digest).await;
                }
                let _ = store.create(&key().digest(), &sample("x")).await;
                let _ = store.sweep(Timestamp::MAX, 100).await;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("sessions.redb"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 4, "{refused} refused");
}

fn subject(step: u64) -> Option<Subject> {
    let texts = [None, Some("a"), Some("ab"), Some("")];
    texts[usize::try_from(step % 4).unwrap()].map(|text| Subject::new(text).unwrap())
}

fn ending() -> Ending {
    Ending::new(EndReason::LoggedOut, later(0))
}

/// Every write there is, some of each: sessions that stay, move, change hands,
/// end with and without a trace, and are taken over.
async fn schedule(store: &RedbStore) {
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
    schedule(&RedbStore::open(file(&folder)).unwrap()).await;
    with_tables(&folder, |raw| {
        let [records, deadlines, entries] = raw.lengths();
        assert!(records > 20 && entries > 10);
        let (mut listed, mut tombstones) = (0, 0);
        for entry in raw.records.iter().unwrap() {
            let (key, value) = entry.unwrap();
            let (indexed_at, digest) = key.value();
            let (listed_under, begin) = subject_of(value.value());
            let stored = Stored::decode(&value.value()[begin..]).unwrap();
            assert!(indexed_at <= stored.expires_at().as_millis());
            let leads_to = raw.indexed_at(&KeyDigest::from_bytes(*digest));
            assert_eq!(leads_to, indexed_at);
            let subject = stored.listed_under();
            assert_eq!(listed_under, subject);
            tombstones += u64::from(matches!(stored, Stored::Ended(_)));
            if let Some(subject) = subject {
                let entry = raw.subjects.get((subject.as_bytes(), digest));
                assert!(entry.unwrap().is_some());
                listed += 1;
            }
        }
        // And nothing is left of others.
        assert_eq!((deadlines, entries), (records, listed));
        assert!(tombstones > 10);
    });
}

/// Damaged in any part of its frame, a session is ended by who owns it, and a
/// sweep leaves no entry of it. Its tombstone does not say whose it was.
#[tokio::test]
async fn a_damaged_record_is_ended_and_leaves_no_entry() {
    for (is_swept, ending) in [(true, None), (false, None), (false, Some(ending()))] {
        let folder = folder();
        let digests: Vec<_> = (0..4).map(|_| key().digest()).collect();
        {
            let store = RedbStore::open(file(&folder)).unwrap();
            for digest in &digests {
                store.create(digest, &sample("x")).await.unwrap();
            }
        }
        with_tables(&folder, |raw| {
            for (digest, at) in digests.iter().zip([0, 32]) {
                raw.change(digest, |frame| frame[at] ^= 1);
            }
            raw.change(&digests[2], |frame| *frame = vec![1, 2, 3]);
        });
        {
            let store = RedbStore::open(file(&folder)).unwrap();
            let whose = sample("x").subject.unwrap();
            assert_eq!(
                store
                    .sessions_of(&listed_as(&whose), usize::MAX)
                    .await
                    .unwrap()
                    .len(),
                1
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
                    let whose = (*digest == digests[3]).then_some(whose);
                    let left = ending.as_ref().map(|ending| Tombstone::new(ending, whose));
                    let stored = store.load(digest).await.unwrap();
                    assert_eq!(stored, left.map(Stored::Ended));
                }
            }
            let day_over = later(DAY_SECS + 7_200);
            while store.sweep(day_over, 10).await.unwrap().removed > 0 {}
        }
        assert_eq!(with_tables(&folder, |raw| raw.lengths()), [0, 0, 0]);
    }
}

/// So many rotation marks, and the session that they lead to; the digests in order.
async fn rotated(store: &RedbStore, marks: usize) -> Vec<KeyDigest> {
    let digests: Vec<_> = (0..=marks).map(|_| key().digest()).collect();
    for pair in digests.windows(2) {
        let until = later(60);
        let mark = Stored::Rotated { to: pair[1], until };
        assert!(store.import(&pair[0], &mark).await.unwrap());
    }
    store.create(&digests[marks], &sample("x")).await.unwrap();
    digests
}

#[tokio::test]
async fn a_delete_follows_as_many_marks_as_it_may_and_is_refused_where_there_are_more() {
    let folder = folder();
    let store = RedbStore::open(file(&folder)).unwrap();
    let digests = rotated(&store, ROTATION_HOPS_MAX + 1).await;
    let session = digests.last().unwrap();
    let error = store.delete(&digests[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.load(session).await.unwrap().is_some());
    store.delete(&digests[1]).await.unwrap();
    assert!(store.load(session).await.unwrap().is_none());
    for mark in &digests[..=ROTATION_HOPS_MAX] {
        assert!(store.load(mark).await.unwrap().is_some(), "marks stay");
    }
}

#[tokio::test]
async fn a_revocation_that_cannot_find_the_session_to_spare_ends_none() {
    let folder = folder();
    let store = RedbStore::open(file(&folder)).unwrap();
    let digests = rotated(&store, ROTATION_HOPS_MAX + 1).await;
    let spared = digests.last().unwrap();
    let other = key().digest();
    store.create(&other, &sample("x")).await.unwrap();
    let whose = listed_as(&sample("x").subject.unwrap());
    let revoked = store.revoke(&whose, Revoke::AllBut(digests[0])).await;
    assert_eq!(revoked.unwrap_err().kind(), ErrorKind::Unavailable);
    for standing in [spared, &other] {
        assert!(store.load(standing).await.unwrap().is_some());
    }
    let revoked = store.revoke(&whose, Revoke::AllBut(digests[1])).await;
    assert_eq!(revoked.unwrap(), [other]);
    assert!(store.load(spared).await.unwrap().is_some());
    assert!(store.load(&other).await.unwrap().is_none());
}

/// A mark that cannot be read may lead to the session to be spared.
#[tokio::test]
async fn nothing_is_ended_where_a_mark_to_the_spared_session_cannot_be_read() {
    let folder = folder();
    let (digests, other) = {
        let store = RedbStore::open(file(&folder)).unwrap();
        let other = key().digest();
        store.create(&other, &sample("x")).await.unwrap();
        (rotated(&store, 3).await, other)
    };
    with_tables(&folder, |raw| {
        raw.change(&digests[0], |frame| *frame = vec![1, 2, 3]);
        raw.change(&digests[1], |frame| *frame.last_mut().unwrap() ^= 1);
    });
    let store = RedbStore::open(file(&folder)).unwrap();
    let whose = listed_as(&sample("x").subject.unwrap());
    for mark in &digests[..2] {
        let revoked = store.revoke(&whose, Revoke::AllBut(*mark)).await;
        let error = revoked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("spared"), "{error}");
    }
    // From behind them, the session is found.
    let revoked = store.revoke(&whose, Revoke::AllBut(digests[2])).await;
    assert_eq!(revoked.unwrap(), [other]);
    assert!(store.load(&digests[3]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_behind_a_mark_that_cannot_be_read_is_not_answered_to_have_ended() {
    let folder = folder();
    let digests = {
        let store = RedbStore::open(file(&folder)).unwrap();
        rotated(&store, 2).await
    };
    with_tables(&folder, |raw| {
        raw.change(&digests[1], |frame| *frame.last_mut().unwrap() ^= 1);
    });
    let store = RedbStore::open(file(&folder)).unwrap();
    let error = store.delete(&digests[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(store.load(&digests[2]).await.unwrap().is_some());
    store.delete(&digests[2]).await.unwrap();
    assert!(store.load(&digests[2]).await.unwrap().is_none());
}

#[test]
fn logins_that_race_a_revocation_are_ended_or_listed() {
    let folder = folder();
    let store = RedbStore::open(file(&folder)).unwrap();
    races_of_subjects(&store, 30);
}

#[tokio::test]
async fn no_key_reaches_the_disk() {
    let folder = folder();
    let key = key();
    {
        let store = RedbStore::open(file(&folder)).unwrap();
        store.create(&key.digest(), &sample("x")).await.unwrap();
    }
    let whole = std::fs::read(file(&folder)).unwrap();
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
        let store = RedbStore::open(file(&folder)).unwrap();
        for digest in &digests {
            store.create(digest, &sample("x")).await.unwrap();
        }
    }
    with_tables(&folder, |raw| {
        raw.change(&digests[0], |frame| frame[32] ^= 1);
        raw.change(&digests[1], |frame| *frame = vec![1, 2, 3]);
        raw.change(&digests[2], Vec::clear);
    });
    let store = RedbStore::open(file(&folder)).unwrap();
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
async fn writers_that_wait_together_share_a_commit_and_all_survive() {
    let folder = folder();
    let mut digests = Vec::new();
    {
        let store = RedbStore::open(file(&folder)).unwrap();
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
    let store = RedbStore::open(file(&folder)).unwrap();
    for digest in digests {
        assert!(store.load(&digest).await.unwrap().is_some());
    }
}

/// Refusals of each kind between writes that are made: all in one transaction,
/// since the first poll of each puts it into the queue.
#[tokio::test]
async fn a_refused_write_does_not_disturb_the_others_of_its_batch() {
    let folder = folder();
    let store = RedbStore::open(file(&folder)).unwrap();
    let [one, two, three] = [key().digest(), key().digest(), key().digest()];
    for digest in [&one, &two] {
        store.create(digest, &sample("x")).await.unwrap();
    }
    let record = sample("y").at_revision(Revision::FIRST);
    let (made, taken, stale, conflict, gone, moved, again, deleted) = tokio::join!(
        store.create(&three, &record),
        store.create(&one, &record),
        store.rotate(&one, &two, &record, later(60)),
        async {
            let stale = record.at_revision(Revision::from_u64(9));
            store.update(&two, &stale).await
        },
        async {
            store
                .touch(&key().digest(), Revision::FIRST, touch_until(later(1)))
                .await
        },
        store.update(&one, &record),
        store.update(&one, &record),
        store.delete(&two),
    );
    made.unwrap();
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(conflict.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(moved.unwrap(), Revision::FIRST.next());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    deleted.unwrap();
    drop(store);
    let store = RedbStore::open(file(&folder)).unwrap();
    let found = store.load(&one).await.unwrap().unwrap();
    assert_eq!(found.into_record().unwrap().data, record.data);
    assert!(store.load(&two).await.unwrap().is_none());
    assert!(store.load(&three).await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_whose_making_was_cut_short_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    drop(RedbStore::open(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    // redb makes the file long, writes a header with no magic number, and then
    // that.
    let mut begun = vec![0; whole.len()];
    for header in [0..0, 9..320] {
        begun[header.clone()].copy_from_slice(&whole[header]);
        std::fs::write(&path, &begun).unwrap();
        let digest = key().digest();
        let store = RedbStore::open(&path).unwrap();
        store.create(&digest, &sample("kept")).await.unwrap();
        drop(store);
        let store = RedbStore::open(&path).unwrap();
        assert!(store.load(&digest).await.unwrap().is_some());
    }
}

#[test]
fn a_database_that_has_lost_its_start_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    drop(RedbStore::open(&path).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..320].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused() {
    let folder = folder();
    let path = file(&folder);
    let (store, digest) = (RedbStore::open(&path).unwrap(), key().digest());
    store.create(&digest, &sample("")).await.unwrap();
    let as_killed = std::fs::read(&path).unwrap();
    drop(store);
    for whole in [as_killed, std::fs::read(&path).unwrap()] {
        for tenths in 1..10 {
            std::fs::write(&path, &whole[..whole.len() * tenths / 10]).unwrap();
            let error = RedbStore::open(&path).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Unavailable,
                "{tenths} tenths: {error}"
            );
        }
    }
}
