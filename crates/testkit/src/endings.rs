//! The clauses of [`SessionStore::end`](cloakroom_core::store::SessionStore::end), one
//! function each: what a store remembers of a session that has ended.
//!
//! # Panics
//! Every function panics where its clause does not hold.

use cloakroom_core::engine::{Token, TokenStore};
use cloakroom_core::store::{EndReason, Ending, Revoke, Stored, TOMBSTONE_AGE_MAX, Tombstone};
use cloakroom_core::{Clock as _, ErrorKind, Label, Subject, SystemClock, Timestamp};

use crate::clauses::kind;
use crate::sample::{Sample, after, digest, key, listed_as, sample, stored, subjects};

fn ending(because: EndReason) -> Ending {
    let note = Label::new("Firefox on Linux").expect("short");
    Ending::new(because, SystemClock.now()).with_note(Some(note))
}

async fn end<T: TokenStore>(store: &T, token: &Token, ending: &Ending) {
    let ended = store.end_token(token, Some(ending)).await;
    ended.expect("the store answers");
}

async fn tombstone<T: TokenStore>(store: &T, token: &Token) -> Option<Tombstone> {
    let loaded = store.load_token(token).await.expect("the store answers");
    match loaded?.stored {
        Stored::Ended(tombstone) => Some(tombstone),
        Stored::Record(_) | Stored::Rotated { .. } => None,
    }
}

async fn sweep_all<T: TokenStore>(store: &T, now: Timestamp) {
    let Some(sweep) = store.token_capabilities().sweep else {
        return;
    };
    while sweep.sweep(now, 100).await.expect("the store answers").more {}
}

/// In the place of a session that was ended stands why, when, and the digest of whose it was.
pub async fn an_end_leaves_a_tombstone<T: TokenStore>(store: &T) {
    let whole = Sample::create(store, "to end").await;
    let bystander = Sample::create(store, "somebody else").await;
    let noted = ending(EndReason::LoggedOutElsewhere);
    end(store, &whole.token, &noted).await;
    let expected = Tombstone::new(&noted, whole.record.subject_digest());
    assert_eq!(tombstone(store, &whole.token).await, Some(expected));
    bystander.assert_stands(store).await;

    let mut anonymous = sample("of nobody");
    anonymous.subject = None;
    let anonymous = Sample::with_record(store, anonymous).await;
    let bare = Ending::new(EndReason::LoggedOut, SystemClock.now());
    end(store, &anonymous.token, &bare).await;
    let expected = Tombstone::new(&bare, None);
    assert_eq!(tombstone(store, &anonymous.token).await, Some(expected));
}

/// Nothing is written to a tombstone or put in its place, and the first end is the one that
/// counts.
pub async fn a_tombstone_takes_no_write<T: TokenStore>(store: &T) {
    let key_of_ended = key();
    let record = sample("to end");
    let created = store.create_token(&key_of_ended, &record).await;
    let created = created.expect("created");
    let token = created.token.expect("a new session comes with its token");
    let record = record.at_revision(created.revision);
    end(store, &token, &ending(EndReason::LoggedOut)).await;
    let left = tombstone(store, &token).await;
    assert!(left.is_some());

    let until = after(record.created_at, 60);
    let other = Sample::create(store, "other").await;
    for (refused, expected) in [
        (
            kind(store.update_token(&token, &record).await),
            ErrorKind::Gone,
        ),
        (
            kind(store.touch_token(&token, &record).await),
            ErrorKind::Gone,
        ),
        (
            kind(store.rotate_token(&token, &key(), &record, until).await),
            ErrorKind::Gone,
        ),
        (
            kind(store.create_token(&key_of_ended, &record).await),
            ErrorKind::Exists,
        ),
        (
            kind(
                store
                    .rotate_token(&other.token, &key_of_ended, &other.record, until)
                    .await,
            ),
            ErrorKind::Exists,
        ),
    ] {
        assert_eq!(refused, expected);
    }
    if let Some(import) = store.token_capabilities().import {
        let at = digest(store, &token);
        let put = import.import(&at, &Stored::Record(record)).await;
        assert!(!put.expect("the store answers"), "an end is final");
    }
    end(store, &token, &ending(EndReason::AllEnded)).await;
    assert_eq!(tombstone(store, &token).await, left);
    other.assert_stands(store).await;
}

/// Where nothing stands, an end leaves nothing: nobody fills a store by ending what never was.
pub async fn an_end_of_nothing_leaves_nothing<T: TokenStore>(store: &T) {
    let token = key().to_token();
    end(store, &token, &ending(EndReason::LoggedOut)).await;
    let loaded = store.load_token(&token).await.expect("the store answers");
    assert!(loaded.is_none());
}

/// An end under an old key leaves the tombstone where the session was last, and the marks stay.
pub async fn an_end_follows_marks_and_leaves_them<T: TokenStore>(store: &T) {
    let mut moved = Sample::create(store, "moved").await;
    let former = moved.rotate(store, 3).await;
    let noted = ending(EndReason::LoggedOut);
    end(store, &former[0], &noted).await;
    let expected = Tombstone::new(&noted, moved.record.subject_digest());
    assert_eq!(tombstone(store, &moved.token).await, Some(expected));
    for token in &former {
        let loaded = store.load_token(token).await.expect("the store answers");
        let stored = loaded.map(|loaded| loaded.stored);
        assert!(matches!(stored, Some(Stored::Rotated { .. })));
    }
}

/// A delete leaves no trace of a session, and removes the trace of one that has ended.
pub async fn a_delete_leaves_no_trace<T: TokenStore>(store: &T) {
    let nothing_at = async |token: &Token| {
        let loaded = store.load_token(token).await.expect("the store answers");
        assert!(loaded.is_none());
    };
    let deleted = Sample::create(store, "to delete").await;
    store.delete_token(&deleted.token).await.expect("deleted");
    nothing_at(&deleted.token).await;
    let ended = Sample::create(store, "to end").await;
    end(store, &ended.token, &ending(EndReason::LoggedOut)).await;
    store.delete_token(&ended.token).await.expect("deleted");
    nothing_at(&ended.token).await;
}

/// Of a subject's sessions that are ended together each leaves a tombstone; none of them is
/// listed, and none is ended again.
pub async fn sessions_that_are_ended_together_leave_tombstones<T: TokenStore>(store: &T) {
    let subject = Subject::new("ended-together").expect("short");
    let mut samples = Vec::new();
    for _ in 0..3 {
        let mut record = sample("to end");
        record.subject = Some(subject.clone());
        samples.push(Sample::with_record(store, record).await);
    }
    let (listed_as, spared) = (listed_as(&subject), samples.remove(0));
    let noted = ending(EndReason::LoggedOutElsewhere);
    let which = Revoke::AllBut(digest(store, &spared.token));
    let ended = subjects(store).end_sessions(&listed_as, which, Some(&noted));
    assert_eq!(ended.await.expect("the store answers").len(), 2);
    let expected = Tombstone::new(&noted, Some(listed_as));
    for gone in &samples {
        assert_eq!(
            tombstone(store, &gone.token).await.as_ref(),
            Some(&expected)
        );
    }
    spared.assert_stands(store).await;
    let again = subjects(store).end_sessions(&listed_as, which, Some(&noted));
    assert!(again.await.expect("the store answers").is_empty());
    let one = Revoke::One(digest(store, &spared.token));
    let last = subjects(store).end_sessions(&listed_as, one, Some(&noted));
    assert_eq!(last.await.expect("the store answers").len(), 1);
    assert_eq!(tombstone(store, &spared.token).await, Some(expected));
    let listed = subjects(store).sessions_of(&listed_as, 100).await;
    assert!(listed.expect("the store answers").is_empty());
}

/// A sweep leaves a tombstone of what expired less than a day before, which says why, and
/// removes each when its day is over.
pub async fn a_sweep_leaves_tombstones_for_a_day<T: TokenStore>(store: &T) {
    let idle = Sample::create(store, "idle").await;
    let mut record = sample("absolute");
    record.absolute_deadline = Some(record.expires_at);
    let absolute = Sample::with_record(store, record).await;
    let mut moved = Sample::create(store, "moved").await;
    let former = moved.rotate(store, 1).await;
    let ended = Sample::create(store, "ended").await;
    end(store, &ended.token, &ending(EndReason::LoggedOut)).await;

    let end = absolute.record.expires_at;
    // The mark stands for an hour from the beginning of its sample, as every sample lives.
    sweep_all(store, after(end, 60)).await;
    for (token, because, at, subject) in [
        (
            &idle.token,
            EndReason::Idle,
            Some(idle.record.expires_at),
            true,
        ),
        (&absolute.token, EndReason::Absolute, Some(end), true),
        (&former[0], EndReason::Rotated, None, false),
    ] {
        let left = tombstone(store, token).await;
        let left = left.unwrap_or_else(|| panic!("a tombstone that says {because}"));
        assert_eq!(left.because, because);
        assert!(at.is_none_or(|at| left.at == at), "{left:?}");
        assert_eq!(left.until, left.at.saturating_add(TOMBSTONE_AGE_MAX));
        assert_eq!(left.subject.is_some(), subject);
    }
    assert!(stored(store, &idle.token).await.is_none());
    let left = tombstone(store, &ended.token).await;
    assert_eq!(left.map(|left| left.because), Some(EndReason::LoggedOut));

    let day = after(end, 60 + TOMBSTONE_AGE_MAX.as_secs());
    // What expired longer ago leaves nothing at once.
    let late = Sample::create(store, "expired long ago").await;
    sweep_all(store, day).await;
    for token in [
        &idle.token,
        &absolute.token,
        &former[0],
        &ended.token,
        &late.token,
    ] {
        let loaded = store.load_token(token).await.expect("the store answers");
        assert!(loaded.is_none(), "{loaded:?}");
    }
}

/// A tombstone is found by a scan, and taken by an import where nothing stands.
pub async fn a_tombstone_is_scanned_and_imported<T: TokenStore>(store: &T) {
    let whole = Sample::create(store, "to end").await;
    end(store, &whole.token, &ending(EndReason::LoggedOut)).await;
    let left = tombstone(store, &whole.token).await.expect("it stands");
    let at = digest(store, &whole.token);
    let capabilities = store.token_capabilities();
    if let Some(scan) = capabilities.scan {
        let (mut found, mut from) = (None, None);
        loop {
            let page = scan.scan(from.as_ref(), 100).await;
            let page = page.expect("the store answers");
            let mut items = page.items.into_iter();
            found = found.or_else(|| items.find(|item| item.digest == at));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let found = found.map(|found| found.stored.expect("it can be read"));
        assert_eq!(found, Some(Stored::Ended(left.clone())));
    }
    if let Some(import) = capabilities.import {
        store.delete_token(&whole.token).await.expect("deleted");
        let put = import.import(&at, &Stored::Ended(left.clone())).await;
        assert!(put.expect("the store answers"));
        assert_eq!(tombstone(store, &whole.token).await, Some(left));
    }
}
