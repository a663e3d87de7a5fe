//! Lists by subject, over time and in a crowd.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, ROTATION_HOPS_MAX, Record, Revoke, SessionStore as _, Stored,
    Subjects as _, Tombstone, Touch,
};
use cloakroom_core::{Clock as _, ErrorKind, Subject, SystemClock, Timestamp};
use cloakroom_redis::RedisStore;
use cloakroom_testkit::{key, listed_as, sample};
use tokio::time::sleep;

use crate::common::Setup;

/// What the server adds to every deadline.
const GRACE: Duration = Duration::from_secs(60);

fn somebody() -> Subject {
    Subject::new(key().digest().to_hex()).unwrap()
}

fn record_of(subject: &Subject) -> Record {
    let mut record = sample("text");
    record.subject = Some(subject.clone());
    record
}

/// A record that the server drops after three seconds.
fn short(subject: &Subject) -> Record {
    let mut record = record_of(subject);
    let grace = u64::try_from(GRACE.as_millis()).unwrap();
    let at = SystemClock.now().as_millis() - grace + 3_000;
    record.last_seen_at = Timestamp::from_millis(at);
    record.expires_at = Timestamp::from_millis(at);
    record
}

/// What waits a while is done on the single server and the cluster side by side.
async fn on_both_at_once(work: impl AsyncFn(Setup)) {
    let both = common::both().await.into_iter();
    futures_util::future::join_all(both.map(|setup| work(setup))).await;
}

/// Until the server has dropped a record.
async fn outlive(record: &Record) {
    let at = record.expires_at.saturating_add(GRACE).as_millis() + 1_400;
    let left = at.saturating_sub(SystemClock.now().as_millis());
    sleep(Duration::from_millis(left)).await;
}

async fn create(store: &RedisStore, record: &Record) -> (KeyDigest, Record) {
    let digest = key().digest();
    let revision = store.create(&digest, record).await.unwrap();
    (digest, record.at_revision(revision))
}

async fn digests(store: &RedisStore, subject: &Subject) -> Vec<KeyDigest> {
    let listed = store
        .sessions_of(&listed_as(subject), usize::MAX)
        .await
        .unwrap();
    let mut digests: Vec<KeyDigest> = listed.iter().map(|listed| listed.digest).collect();
    digests.sort();
    digests
}

/// The keys of the indexes: one, where one subject has sessions.
fn index(setup: &Setup, subject: &Subject) -> String {
    format!("{}u:{}", setup.prefix, listed_as(subject).to_hex())
}

fn entries(setup: &Setup, subject: &Subject) -> usize {
    let count = setup.ask(&["ZCARD", &index(setup, subject)]);
    count.parse().unwrap()
}

#[tokio::test]
async fn logins_at_once_are_all_listed() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let logins = (0..64).map(|number| async move {
            if number % 2 == 0 {
                return create(store, &record_of(subject)).await.0;
            }
            let mut anonymous = sample("anonymous");
            anonymous.subject = None;
            let (old, mut record) = create(store, &anonymous).await;
            record.subject = Some(subject.clone());
            let (new, until) = (key().digest(), record.expires_at);
            store.rotate(&old, &new, &record, until).await.unwrap();
            new
        });
        let mut expected = futures_util::future::join_all(logins).await;
        expected.sort();
        assert_eq!(digests(store, subject).await, expected);
        let mut ended = store
            .revoke(&listed_as(subject), Revoke::All)
            .await
            .unwrap();
        ended.sort();
        assert_eq!(ended, expected);
        assert_eq!(entries(&setup, subject), 0, "and the index is gone");
    }
}

#[tokio::test]
async fn sessions_that_expire_by_themselves_leave_no_entry_for_ever() {
    on_both_at_once(async |setup| {
        let (listed, crowded) = (&somebody(), &somebody());
        let store = &setup.store;
        let mut last = record_of(listed);
        for subject in [listed, crowded] {
            for _ in 0..10 {
                last = short(subject);
                create(store, &last).await;
            }
        }
        // One that lives keeps the index.
        let (live, _) = create(store, &record_of(listed)).await;
        create(store, &record_of(crowded)).await;
        assert_eq!(entries(&setup, listed), 11);
        outlive(&last).await;
        assert_eq!(digests(store, listed).await, [live]);
        assert_eq!(entries(&setup, listed), 1, "a list takes them out");
        for _ in 0..3 {
            create(store, &record_of(crowded)).await;
        }
        assert_eq!(entries(&setup, crowded), 4, "so do logins, four each");
    })
    .await;
}

#[tokio::test]
async fn an_old_entry_of_a_session_that_was_touched_stays() {
    on_both_at_once(async |setup| {
        let subject = &somebody();
        let store = &setup.store;
        let (touched, record) = create(store, &short(subject)).await;
        let later = SystemClock.now().saturating_add(Duration::from_secs(600));
        let touch = Touch {
            last_seen_at: later,
            expires_at: later,
        };
        store.touch(&touched, record.revision, touch).await.unwrap();
        outlive(&record).await;
        let mut expected = vec![touched, create(store, &record_of(subject)).await.0];
        expected.sort();
        assert_eq!(digests(store, subject).await, expected);
        assert_eq!(entries(&setup, subject), 2);
    })
    .await;
}

#[tokio::test]
async fn an_index_outlives_every_record_in_it() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let (digest, mut record) = create(store, &short(subject)).await;
        let name = format!("{}s:{}", setup.prefix, digest.to_hex());
        let left = |name: &str| -> i64 { setup.ask(&["PTTL", name]).parse().unwrap() };
        let outlives = |step: &str| {
            let (index, record) = (left(&index(&setup, subject)), left(&name));
            // A record's time begins when it is written, a moment after the script has
            // looked at the clock: that is far less than the grace.
            assert!(
                index + 1_000 >= record,
                "{step}: {index} ms, the record has {record}"
            );
        };
        outlives("create");
        let now = SystemClock.now();
        let after = |secs| now.saturating_add(Duration::from_secs(secs));
        for secs in [60, 90, 100_000, 130_000] {
            let touch = Touch {
                last_seen_at: now,
                expires_at: after(secs),
            };
            store.touch(&digest, record.revision, touch).await.unwrap();
            outlives("touch");
        }
        for secs in [200_000, 300_000, 10_000_000, 60] {
            record.expires_at = after(secs);
            record.revision = store.update(&digest, &record).await.unwrap();
            outlives("update");
        }
        record.expires_at = Timestamp::MAX;
        store.update(&digest, &record).await.unwrap();
        outlives("for ever");
    }
}

/// Rotates a session so many times, and gives the keys it has had and its record.
async fn rotate_times(
    store: &RedisStore,
    subject: &Subject,
    times: usize,
) -> (Vec<KeyDigest>, Record) {
    let (digest, mut record) = create(store, &record_of(subject)).await;
    let mut keys = vec![digest];
    for _ in 0..times {
        let (new, until) = (key().digest(), record.expires_at);
        let rotated = store.rotate(&keys[keys.len() - 1], &new, &record, until);
        record.revision = rotated.await.unwrap();
        keys.push(new);
    }
    (keys, record)
}

#[tokio::test]
async fn a_delete_ends_what_rotation_hops_max_marks_lead_to_and_fails_beyond() {
    for setup in common::both().await {
        let (store, subject) = (&setup.store, &somebody());
        let (keys, _) = rotate_times(store, subject, ROTATION_HOPS_MAX).await;
        store.delete(&keys[0]).await.unwrap();
        assert_eq!(store.load(&keys[ROTATION_HOPS_MAX]).await.unwrap(), None);
        let (keys, record) = rotate_times(store, subject, ROTATION_HOPS_MAX + 1).await;
        let error = store.delete(&keys[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("ROTATION_HOPS_MAX"), "{error}");
        let last = store.load(&keys[ROTATION_HOPS_MAX + 1]).await.unwrap();
        assert_eq!(last, Some(Stored::Record(record)), "it stands");
    }
}

/// Rotates a session until that is refused, and gives the keys it has had.
async fn rotate_on(store: RedisStore, mut at: KeyDigest, mut record: Record) -> Vec<KeyDigest> {
    let mut keys = vec![at];
    // Marks are followed so many times; a user does not rotate more in a minute.
    for _ in 0..20 {
        let (new, until) = (key().digest(), record.expires_at);
        match store.rotate(&at, &new, &record, until).await {
            Ok(revision) => record.revision = revision,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Gone);
                break;
            }
        }
        at = new;
        keys.push(new);
    }
    keys
}

async fn opens(store: &RedisStore, keys: &[KeyDigest]) -> bool {
    for key in keys {
        if matches!(store.load(key).await.unwrap(), Some(Stored::Record(_))) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_sessions_that_move_meanwhile() {
    for setup in common::both().await {
        let store = &setup.store;
        for round in 0..20 {
            let subject = somebody();
            let mut moving = Vec::new();
            for _ in 0..4 {
                let (digest, record) = create(store, &record_of(&subject)).await;
                moving.push(tokio::spawn(rotate_on(store.clone(), digest, record)));
            }
            sleep(Duration::from_micros(300 * round)).await;
            store
                .revoke(&listed_as(&subject), Revoke::All)
                .await
                .unwrap();
            for keys in moving {
                let keys = keys.await.unwrap();
                assert!(!opens(store, &keys).await, "ended wherever it was");
            }
            assert_eq!(digests(store, &subject).await, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_spared_is_spared_while_it_moves() {
    for setup in common::both().await {
        let store = &setup.store;
        for round in 0..20 {
            let subject = somebody();
            let (here, record) = create(store, &record_of(&subject)).await;
            let (there, _) = create(store, &record_of(&subject)).await;
            let moving = tokio::spawn(rotate_on(store.clone(), here, record));
            sleep(Duration::from_micros(300 * round)).await;
            let which = Revoke::AllBut(here);
            let ended = store.revoke(&listed_as(&subject), which).await.unwrap();
            assert_eq!(ended, [there]);
            let keys = moving.await.unwrap();
            assert_eq!(keys.len(), 21, "no rotation was refused");
            assert_eq!(digests(store, &subject).await, [keys[20]]);
        }
    }
}

#[tokio::test]
async fn a_damaged_session_is_not_listed_and_can_be_revoked() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let (whole, _) = create(store, &record_of(subject)).await;
        let mut damaged = Vec::new();
        for at in ["0", "20", "140"] {
            let (digest, _) = create(store, &record_of(subject)).await;
            let name = format!("{}s:{}", setup.prefix, digest.to_hex());
            setup.ask(&["SETRANGE", &name, at, "?"]);
            damaged.push(digest);
        }
        assert_eq!(digests(store, subject).await, [whole]);
        let mut expected = [damaged.clone(), vec![whole]].concat();
        expected.sort();
        let mut ended = store
            .revoke(&listed_as(subject), Revoke::All)
            .await
            .unwrap();
        ended.sort();
        assert_eq!(ended, expected);
        assert!(!opens(store, &expected).await);
    }
}

/// The head of the record says whose it was, or the index that lists it.
#[tokio::test]
async fn a_damaged_session_is_remembered_once_it_has_ended() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let ending = Ending::new(EndReason::LoggedOut, SystemClock.now());
        let of_nobody = Stored::Ended(Tombstone::new(&ending, None));
        let of_subject = Stored::Ended(Tombstone::new(&ending, Some(listed_as(subject))));
        let damaged = async |at: &str, by: &str| {
            let (digest, _) = create(store, &record_of(subject)).await;
            let name = format!("{}s:{}", setup.prefix, digest.to_hex());
            setup.ask(&["SETRANGE", &name, at, by]);
            digest
        };
        // In the frame, which the head outlives; in the subject; at the end of the head.
        for (at, by, expected) in [
            ("140", "?", &of_subject),
            ("80", "?", &of_nobody),
            ("80", "-", &of_nobody),
            ("133", "?", &of_nobody),
        ] {
            let one = damaged(at, by).await;
            store.end(&one, Some(&ending)).await.unwrap();
            assert_eq!(store.load(&one).await.unwrap().as_ref(), Some(expected));
            if by == "-" {
                continue; // it reads as somebody else's
            }
            let another = damaged(at, by).await;
            let theirs = listed_as(subject);
            let ended = store.end_sessions(&theirs, Revoke::All, Some(&ending));
            assert_eq!(ended.await.unwrap(), [another]);
            let left = store.load(&another).await.unwrap();
            assert_eq!(left.as_ref(), Some(&of_subject));
        }
    }
}

/// A crash, or damage, may leave the entry of a session that has ended.
#[tokio::test]
async fn a_session_that_has_ended_is_an_orphan_to_its_index() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let at = SystemClock.now();
        let (ended, _) = create(store, &record_of(subject)).await;
        let first = Ending::new(EndReason::LoggedOut, at);
        store.end(&ended, Some(&first)).await.unwrap();
        assert_eq!(entries(&setup, subject), 0);
        let tombstone = store.load(&ended).await.unwrap();
        assert!(matches!(tombstone, Some(Stored::Ended(_))));
        let index = index(&setup, subject);
        let later = Ending::new(EndReason::AllEnded, at);
        for ending in [None, Some(&later)] {
            for which in [Revoke::All, Revoke::One(ended)] {
                setup.ask(&["ZADD", &index, "1", &ended.to_hex()]);
                assert_eq!(digests(store, subject).await, []);
                assert_eq!(entries(&setup, subject), 0, "a list takes it out");
                setup.ask(&["ZADD", &index, "1", &ended.to_hex()]);
                let theirs = listed_as(subject);
                let ended = store.end_sessions(&theirs, which, ending);
                assert_eq!(ended.await.unwrap(), []);
            }
        }
        assert_eq!(store.load(&ended).await.unwrap(), tombstone);
        // Its entry goes with it.
        store.delete(&ended).await.unwrap();
        assert_eq!(store.load(&ended).await.unwrap(), None);
        assert_eq!(digests(store, subject).await, []);
    }
}

/// Somebody has taken its TTL away.
#[tokio::test]
async fn an_old_entry_of_a_session_without_a_ttl_stays() {
    for setup in common::both().await {
        let subject = &somebody();
        let store = &setup.store;
        let (kept, _) = create(store, &record_of(subject)).await;
        let name = format!("{}s:{}", setup.prefix, kept.to_hex());
        assert_eq!(setup.ask(&["PERSIST", &name]), "1");
        let index = index(&setup, subject);
        setup.ask(&["ZADD", &index, "1", &kept.to_hex()]);
        create(store, &record_of(subject)).await;
        assert_eq!(entries(&setup, subject), 2);
        assert!(digests(store, subject).await.contains(&kept));
    }
}

/// A node of an older build lists a session that a newer one has written: its
/// entry is old, the session is not.
#[tokio::test]
async fn a_list_keeps_the_old_entry_of_a_live_session_that_it_cannot_read() {
    on_both_at_once(async |setup| {
        let subject = &somebody();
        let store = &setup.store;
        let (digest, record) = create(store, &short(subject)).await;
        let later = SystemClock.now().saturating_add(Duration::from_secs(600));
        let touch = Touch {
            last_seen_at: later,
            expires_at: later,
        };
        store.touch(&digest, record.revision, touch).await.unwrap();
        outlive(&record).await;
        if setup.servers() > 1 {
            // There a touch writes the entry anew.
            setup.ask(&["ZADD", &index(&setup, subject), "1", &digest.to_hex()]);
        }
        let name = format!("{}s:{}", setup.prefix, digest.to_hex());
        setup.ask(&["SETRANGE", &name, "2", "2"]);
        assert_eq!(digests(store, subject).await, []);
        assert_eq!(entries(&setup, subject), 1);
        let ended = store
            .revoke(&listed_as(subject), Revoke::All)
            .await
            .unwrap();
        assert_eq!(ended, [digest]);
        assert_eq!(setup.ask(&["EXISTS", &name]), "0");
    })
    .await;
}

/// What the store is told to end is nobody else's business.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_others_go_on_while_one_is_revoked() {
    for setup in common::both().await {
        let store = &setup.store;
        let (one, other) = (somebody(), somebody());
        let stop = Arc::new(AtomicBool::new(false));
        let (mine, _) = create(store, &record_of(&other)).await;
        let watching = {
            let (store, other, stop) = (store.clone(), other.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(digests(&store, &other).await, [mine]);
                }
            })
        };
        for _ in 0..50 {
            create(store, &record_of(&one)).await;
        }
        assert_eq!(
            store
                .revoke(&listed_as(&one), Revoke::All)
                .await
                .unwrap()
                .len(),
            50
        );
        stop.store(true, Ordering::SeqCst);
        watching.await.unwrap();
    }
}

/// More than one step reads of the index in a cluster, let alone on a single node.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_ended_wherever_they_move_meanwhile() {
    for setup in common::both().await {
        let (store, subject) = (&setup.store, &somebody());
        let mut all = Vec::new();
        for _ in 0..24 {
            let record = &record_of(subject);
            let some = (0..50).map(|_| create(store, record));
            all.extend(futures_util::future::join_all(some).await);
        }
        let (here, record) = all.swap_remove(17);
        let moving = all.split_off(all.len() - 4).into_iter();
        let moving: Vec<_> = moving
            .map(|(at, record)| tokio::spawn(rotate_on(store.clone(), at, record)))
            .collect();
        let which = Revoke::AllBut(here);
        let ended = store.revoke(&listed_as(subject), which).await.unwrap();
        assert_eq!(ended.len(), all.len() + 4, "each once");
        for keys in moving {
            assert!(!opens(store, &keys.await.unwrap()).await);
        }
        for (digest, _) in all.iter().step_by(100) {
            assert_eq!(store.load(digest).await.unwrap(), None);
        }
        assert_eq!(digests(store, subject).await, [here]);
        let stands = store.load(&here).await.unwrap();
        assert_eq!(stands, Some(Stored::Record(record)));
        assert_eq!(entries(&setup, subject), 1);
    }
}
