//! The clauses of [`Subjects`](cloakroom_core::store::Subjects), one function each.
//!
//! Each takes a store that offers the capability, and makes subjects of its own.
//!
//! # Panics
//! Every function panics where its clause does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;

use cloakroom_core::engine::TokenStore;
use cloakroom_core::store::{
    KeyDigest, LIST_PAGE_ITEMS_MAX, Listed, ROTATION_HOPS_MAX, Record, Revoke, ScanCursor,
};
use cloakroom_core::{ErrorKind, SUBJECT_BYTES_MAX, Subject, Timestamp};

use futures_util::future::{join_all, join3};

use crate::sample::{Sample, after, digest, key, listed_as, load, sample, stored, subjects};

/// A subject that no other clause uses.
fn somebody() -> Subject {
    Subject::new(key().digest().to_hex()).expect("64 bytes")
}

async fn begin<T: TokenStore>(store: &T, subject: &Subject, text: &str) -> Sample {
    let mut record = sample(text);
    record.subject = Some(subject.clone());
    Sample::with_record(store, record).await
}

async fn list<T: TokenStore>(store: &T, subject: &Subject) -> Vec<Listed> {
    let listed = subjects(store)
        .sessions_of(&listed_as(subject), usize::MAX)
        .await;
    let mut listed = listed.expect("the store answers");
    listed.sort_by_key(|listed| listed.digest);
    listed
}

async fn digests<T: TokenStore>(store: &T, subject: &Subject) -> Vec<KeyDigest> {
    let listed = list(store, subject).await;
    listed.iter().map(|listed| listed.digest).collect()
}

async fn revoke<T: TokenStore>(store: &T, subject: &Subject, which: Revoke) -> Vec<KeyDigest> {
    let ended = subjects(store).revoke(&listed_as(subject), which).await;
    let mut ended = ended.expect("the store answers");
    ended.sort();
    ended
}

fn header(record: &Record) -> Record {
    Listed::new(key().digest(), record.clone()).record
}

/// A subject's sessions are listed with their headers, and nobody else's are.
pub async fn sessions_are_listed_by_subject<T: TokenStore>(store: &T) {
    let (one, other) = (somebody(), somebody());
    assert_eq!(list(store, &one).await, []);
    let mut samples = [
        begin(store, &one, "laptop").await,
        begin(store, &one, "phone").await,
    ];
    let alien = begin(store, &other, "alien").await;
    samples.sort_by_key(|sample| digest(store, &sample.token));
    let expected = samples
        .each_ref()
        .map(|sample| Listed::new(digest(store, &sample.token), sample.record.clone()));
    assert_eq!(list(store, &one).await, expected);
    assert_eq!(digests(store, &other).await, [digest(store, &alien.token)]);
}

/// The list shows the header as updates and touches have left it.
pub async fn a_list_shows_the_present_header<T: TokenStore>(store: &T) {
    let subject = somebody();
    let mut sample = begin(store, &subject, "phone").await;
    sample.record.label = None;
    sample.record.expires_at = after(sample.record.expires_at, 60);
    let written = store.update_token(&sample.token, &sample.record).await;
    sample.record.revision = written.expect("updated").revision;
    let mut record = sample.record.clone();
    record.last_seen_at = after(record.last_seen_at, 60);
    record.expires_at = after(record.expires_at, 60);
    let touched = store.touch_token(&sample.token, &record).await;
    touched.expect("touched");
    let listed = list(store, &subject).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].record, header(&record));
}

/// A rotated session is listed once, at its new digest. Its rotation mark is not
/// listed.
pub async fn a_rotation_moves_the_entry<T: TokenStore>(store: &T) {
    let subject = somebody();
    let sample = begin(store, &subject, "moved").await;
    let new = key();
    let until = after(sample.record.created_at, 60);
    let rotated = store
        .rotate_token(&sample.token, &new, &sample.record, until)
        .await;
    rotated.expect("rotated");
    assert_eq!(digests(store, &subject).await, [new.digest()]);
}

/// A session is listed under the subject that a rotation or an update gives it, and no
/// longer under the one it had.
pub async fn a_list_follows_a_change_of_subject<T: TokenStore>(store: &T) {
    let (one, other) = (somebody(), somebody());
    let mut anonymous = sample("anonymous");
    anonymous.subject = None;
    let first = key();
    let written = store.create_token(&first, &anonymous).await;
    let mut record = anonymous.at_revision(written.expect("created").revision);
    record.subject = Some(one.clone());
    let new = key();
    let until = after(record.created_at, 60);
    let rotated = store
        .rotate_token(&first.to_token(), &new, &record, until)
        .await;
    record.revision = rotated.expect("rotated").revision;
    assert_eq!(digests(store, &one).await, [new.digest()]);
    record.subject = Some(other.clone());
    let written = store.update_token(&new.to_token(), &record).await;
    record.revision = written.expect("updated").revision;
    assert_eq!(digests(store, &one).await, []);
    assert_eq!(digests(store, &other).await, [new.digest()]);
    record.subject = None;
    let written = store.update_token(&new.to_token(), &record).await;
    written.expect("updated");
    assert_eq!(digests(store, &other).await, []);
}

/// What was deleted is not listed.
pub async fn a_deleted_session_leaves_the_list<T: TokenStore>(store: &T) {
    let subject = somebody();
    let sample = begin(store, &subject, "deleted").await;
    store.delete_token(&sample.token).await.expect("deleted");
    assert_eq!(digests(store, &subject).await, []);
    assert_eq!(revoke(store, &subject, Revoke::All).await, []);
}

/// Subjects are told apart by every byte: one that begins like another, one of
/// the greatest length, one that is empty.
pub async fn subjects_are_told_apart<T: TokenStore>(store: &T) {
    let base = somebody();
    let texts = [
        base.as_str().to_owned(),
        format!("{} ", base.as_str()),
        format!("{}\0", base.as_str()),
        base.as_str().to_uppercase() + "é",
        format!("{}\u{301}", base.as_str().to_uppercase() + "e"),
        format!("{:x<1$}", base.as_str(), SUBJECT_BYTES_MAX),
        format!("{:x<1$}", base.as_str(), SUBJECT_BYTES_MAX - 1),
    ];
    let mut expected = Vec::new();
    for text in texts {
        let subject = Subject::new(text).expect("within the limit");
        let sample = begin(store, &subject, "told apart").await;
        expected.push((subject, digest(store, &sample.token)));
    }
    for (subject, digest) in &expected {
        assert_eq!(digests(store, subject).await, [*digest], "one each");
    }
}

/// Revoking all ends all of the subject's sessions and no other.
pub async fn revoking_all_ends_the_subjects_sessions_and_no_other<T: TokenStore>(store: &T) {
    let (one, other) = (somebody(), somebody());
    let mut meant = Vec::new();
    for text in ["a", "b", "c"] {
        meant.push(begin(store, &one, text).await);
    }
    let alien = begin(store, &other, "alien").await;
    let mut expected: Vec<_> = meant
        .iter()
        .map(|sample| digest(store, &sample.token))
        .collect();
    expected.sort();
    assert_eq!(revoke(store, &one, Revoke::All).await, expected);
    for sample in &meant {
        assert!(load(store, &sample.token).await.is_none());
    }
    alien.assert_stands(store).await;
    assert_eq!(digests(store, &one).await, []);
    assert_eq!(revoke(store, &one, Revoke::All).await, []);
}

/// "Log out everywhere else" spares the named session, also if it has been rotated
/// since.
pub async fn revoking_all_but_one_spares_it<T: TokenStore>(store: &T) {
    let subject = somebody();
    let here = begin(store, &subject, "here").await;
    let there = begin(store, &subject, "there").await;
    let which = Revoke::AllBut(digest(store, &here.token));
    assert_eq!(
        revoke(store, &subject, which).await,
        [digest(store, &there.token)]
    );
    here.assert_stands(store).await;
    let new = key();
    let until = after(here.record.created_at, 60);
    let rotated = store
        .rotate_token(&here.token, &new, &here.record, until)
        .await;
    rotated.expect("rotated");
    let elsewhere = begin(store, &subject, "elsewhere").await;
    let ended = revoke(store, &subject, which).await;
    assert_eq!(ended, [digest(store, &elsewhere.token)]);
    assert!(stored(store, &new.to_token()).await.is_some());
}

/// One session is ended by its digest, also by one it had before a rotation. The digest
/// of another subject's session ends nothing.
pub async fn revoking_one_ends_no_one_elses<T: TokenStore>(store: &T) {
    let (one, other) = (somebody(), somebody());
    let kept = begin(store, &one, "kept").await;
    let meant = begin(store, &one, "meant").await;
    let which = Revoke::One(digest(store, &meant.token));
    assert_eq!(revoke(store, &other, which).await, []);
    meant.assert_stands(store).await;
    assert_eq!(revoke(store, &one, Revoke::One(key().digest())).await, []);
    assert_eq!(
        revoke(store, &one, which).await,
        [digest(store, &meant.token)]
    );
    assert!(load(store, &meant.token).await.is_none());
    let new = key();
    let until = after(kept.record.created_at, 60);
    let rotated = store
        .rotate_token(&kept.token, &new, &kept.record, until)
        .await;
    rotated.expect("rotated");
    let which = Revoke::One(digest(store, &kept.token));
    assert_eq!(revoke(store, &one, which).await, [new.digest()]);
    assert!(stored(store, &new.to_token()).await.is_none());
}

/// A revocation that names a session follows [`ROTATION_HOPS_MAX`] rotation marks from
/// there. Where there is one mark more, it answers
/// [`Unavailable`](ErrorKind::Unavailable), whether the session is to be ended or
/// spared, and ends nothing.
pub async fn a_revocation_follows_marks_to_their_limit_and_no_further<T: TokenStore>(store: &T) {
    let subject = somebody();
    let mut far = begin(store, &subject, "moved far").await;
    let left = far.rotate(store, ROTATION_HOPS_MAX + 1).await;
    let [too_far, furthest] = [0, 1].map(|number: usize| digest(store, &left[number]));
    let other = begin(store, &subject, "other").await;
    for which in [Revoke::One(too_far), Revoke::AllBut(too_far)] {
        let refused = subjects(store).revoke(&listed_as(&subject), which).await;
        let kind = refused.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Unavailable), "{which:?}");
        far.assert_stands(store).await;
        other.assert_stands(store).await;
    }
    let ended = revoke(store, &subject, Revoke::AllBut(furthest)).await;
    assert_eq!(ended, [digest(store, &other.token)]);
    far.assert_stands(store).await;
    let ended = revoke(store, &subject, Revoke::One(furthest)).await;
    assert_eq!(ended, [digest(store, &far.token)]);
    assert!(load(store, &far.token).await.is_none());
}

/// More sessions than a page of a list holds, or a step of a revocation should end.
const MANY: usize = LIST_PAGE_ITEMS_MAX + 44;

async fn begin_many<T: TokenStore>(store: &T, subject: &Subject) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(MANY);
    while samples.len() < MANY {
        let some = (0..50).map(|_| begin(store, subject, "one of many"));
        samples.extend(join_all(some).await);
    }
    samples
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match std::mem::replace(&mut has_yielded, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// A list comes in pages of [`LIST_PAGE_ITEMS_MAX`] sessions at most. What stands from the
/// first page to the last is in one of them, also where others end between two pages.
pub async fn a_list_comes_in_pages_and_misses_nothing_that_stands<T: TokenStore>(store: &T) {
    let subject = &somebody();
    let samples = begin_many(store, subject).await;
    let mut standing: BTreeMap<KeyDigest, &Sample> = samples
        .iter()
        .map(|sample| (digest(store, &sample.token), sample))
        .collect();
    let mut next: Option<ScanCursor> = None;
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        // The cursor goes through its text.
        let from = next.map(|cursor| ScanCursor::new(cursor.as_str()));
        let listed = listed_as(subject);
        let page = subjects(store).list_sessions(&listed, from.as_ref()).await;
        let page = page.expect("the store answers");
        assert!(page.sessions.len() <= LIST_PAGE_ITEMS_MAX, "it is bounded");
        found.extend(page.sessions.iter().map(|listed| listed.digest));
        pages += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
        if pages == 1 {
            let listed: BTreeSet<_> = found.iter().copied().collect();
            let (here, there): (Vec<_>, Vec<_>) =
                standing.keys().partition(|digest| listed.contains(digest));
            for ended in here.iter().take(9).chain(there.iter().take(9)) {
                let sample = standing.remove(ended).expect("it stands");
                store.delete_token(&sample.token).await.expect("deleted");
            }
        }
    }
    assert!(pages > 1, "{MANY} sessions are more than a page");
    let seen: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(seen.len(), found.len(), "each once");
    let missed = standing.keys().filter(|digest| !seen.contains(*digest));
    assert_eq!(missed.count(), 0, "sessions were missed");
    let first = subjects(store).sessions_of(&listed_as(subject), 7).await;
    assert_eq!(first.expect("the store answers").len(), 7);
    revoke(store, subject, Revoke::All).await;
}

/// A cursor of another kind of store is refused.
pub async fn a_list_refuses_a_foreign_cursor<T: TokenStore>(store: &T) {
    for text in ["", "no cursor", "\u{1f9e5}"] {
        let cursor = ScanCursor::new(text);
        let subject = listed_as(&somebody());
        let page = subjects(store).list_sessions(&subject, Some(&cursor)).await;
        let kind = page.map_err(|error| error.kind()).err();
        assert_eq!(kind, Some(ErrorKind::Mismatch), "{text:?}");
    }
}

/// However many sessions a subject has, all that stood when a revocation was called are
/// ended when it is answered, also one that moves meanwhile; the one that it
/// spares stands, wherever it has moved.
pub async fn a_revocation_of_many_misses_none_that_moves<T: TokenStore>(store: &T) {
    let subject = &somebody();
    let mut samples = begin_many(store, subject).await;
    let (mut spared, mut moving) = (samples.remove(0), samples.remove(0));
    let meant: BTreeSet<KeyDigest> = samples
        .iter()
        .map(|sample| digest(store, &sample.token))
        .collect();
    let which = Revoke::AllBut(digest(store, &spared.token));
    let until = after(spared.record.created_at, 3_600);
    let mut ended = {
        let revocation = revoke(store, subject, which);
        // Neither moves more often than a revocation has to follow.
        let spare = spared.rotate(store, ROTATION_HOPS_MAX / 2);
        let go_on = async {
            for _ in 0..ROTATION_HOPS_MAX / 2 {
                let new = key();
                let moved = store.rotate_token(&moving.token, &new, &moving.record, until);
                match moved.await {
                    Ok(written) => moving.record.revision = written.revision,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Gone);
                        return;
                    }
                }
                moving.token = new.to_token();
                // A store whose writes never wait would not let the revocation go on.
                yield_now().await;
            }
        };
        let (ended, _, ()) = join3(revocation, spare, go_on).await;
        BTreeSet::from_iter(ended)
    };
    assert!(load(store, &moving.token).await.is_none(), "it was ended");
    for digest in &meant {
        assert!(ended.remove(digest), "each is answered");
    }
    assert_eq!(ended.len(), 1, "and the one that moved");
    for sample in samples.iter().step_by(29) {
        assert!(load(store, &sample.token).await.is_none());
    }
    assert_eq!(
        digests(store, subject).await,
        [digest(store, &spared.token)]
    );
    spared.assert_stands(store).await;
    let all = revoke(store, subject, Revoke::All).await;
    assert_eq!(all, [digest(store, &spared.token)]);
}

/// A sweep takes a session out of the list together with its record.
pub async fn a_sweep_takes_the_entry_as_well<T: TokenStore>(store: &T) {
    let Some(sweep) = store.token_capabilities().sweep else {
        return;
    };
    let subject = somebody();
    let due = begin(store, &subject, "due").await;
    let mut live = begin(store, &subject, "live").await;
    live.record.expires_at = Timestamp::MAX;
    live.record.absolute_deadline = None;
    let written = store.update_token(&live.token, &live.record).await;
    live.record.revision = written.expect("updated").revision;
    let now = after(due.record.expires_at, 60);
    while sweep.sweep(now, 100).await.expect("it answers").more {}
    assert_eq!(digests(store, &subject).await, [digest(store, &live.token)]);
    store.delete_token(&live.token).await.expect("deleted");
}
