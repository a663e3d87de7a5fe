//! The clauses of the store contract, one function each.
//!
//! Each makes the sessions it needs under new random keys, so that they can run on one
//! store, in any order. They take a [`TokenStore`], and so test both kinds of stores:
//! each [`SessionStore`](cloakroom_core::store::SessionStore) is one too.
//!
//! # Panics
//! Every function panics where its clause does not hold.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use cloakroom_core::engine::{Token, TokenStore};
use cloakroom_core::store::{Data, ROTATION_HOPS_MAX, Record, Revision, Stored};
use cloakroom_core::{Clock as _, Error, ErrorKind, SessionExpiry, SystemClock, Timestamp};
use futures_util::future::{join_all, join3};

use crate::sample::{Sample, after, key, load, sample, stored};

/// How many writers the concurrent clauses send at once.
const WRITERS: usize = 16;

pub(crate) fn kind<V: fmt::Debug>(result: Result<V, Error>) -> ErrorKind {
    result.expect_err("the write must be refused").kind()
}

/// Text that cannot be a token is not well-formed, and opens nothing.
pub async fn what_is_no_token_opens_nothing<T: TokenStore>(store: &T) {
    let good = key().to_token();
    for text in [
        "",
        "x",
        "../../etc/passwd",
        "Robert'); DROP TABLE sessions;--",
        "\0",
        "é",
    ] {
        assert!(!store.is_well_formed(text), "{text:?}");
        assert!(load(store, &Token::new(text)).await.is_none(), "{text:?}");
    }
    let longer = format!("{}A", good.expose());
    assert!(load(store, &Token::new(longer)).await.is_none());
}

/// A new key opens nothing, and a load stores nothing.
pub async fn an_unknown_token_opens_nothing<T: TokenStore>(store: &T) {
    let token = key().to_token();
    assert!(load(store, &token).await.is_none());
    assert!(load(store, &token).await.is_none());
}

/// Every field of the header and all data come back as they were given.
pub async fn what_was_created_is_loaded_whole<T: TokenStore>(store: &T) {
    let full = Sample::create(store, "all of it").await;
    full.assert_stands(store).await;
    assert!(store.is_well_formed(full.token.expose()));

    let now = SystemClock.now();
    let bare = Sample::with_record(store, Record::new(now, after(now, 3_600))).await;
    bare.assert_stands(store).await;
}

/// A store neither reads nor changes the data.
pub async fn data_is_opaque_bytes<T: TokenStore>(store: &T) {
    let every_byte: Vec<u8> = (0..=255).collect();
    for bytes in [&[][..], &[0], &[0xff; 3], &every_byte] {
        let mut record = sample("");
        record.data = Data::from_bytes(bytes);
        let sample = Sample::with_record(store, record).await;
        let found = stored(store, &sample.token).await.expect("just created");
        assert_eq!(found.data.as_bytes(), bytes);
    }
}

/// A record comes back whose data is as large as the [`Profile`](crate::Profile) says.
pub async fn the_largest_record_comes_back<T: TokenStore>(store: &T, data_bytes_max: usize) {
    let bytes: Vec<u8> = (0..data_bytes_max).map(|at| (at * 31) as u8).collect();
    let mut record = sample("");
    record.data = Data::from_bytes(bytes);
    let sample = Sample::with_record(store, record).await;
    let found = stored(store, &sample.token).await.expect("just created");
    assert_eq!(found.data, sample.record.data);
    store.delete_token(&sample.token).await.expect("deleted");
}

/// `create` refuses a digest where anything is stored: a record, expired or not, or a
/// rotation mark.
pub async fn create_never_overwrites<T: TokenStore>(store: &T) {
    let (first, second) = (key(), key());
    let mut record = sample("first");
    let written = store.create_token(&first, &record).await.expect("created");
    record.revision = written.revision;
    let again = store.create_token(&first, &sample("second")).await;
    assert_eq!(kind(again), ErrorKind::Exists);
    let token = written.token.expect("a new session comes with its token");
    assert_eq!(stored(store, &token).await.as_ref(), Some(&record));

    let mark_until = after(record.created_at, 3_600);
    store
        .rotate_token(&token, &second, &record, mark_until)
        .await
        .expect("rotated");
    let over_mark = store.create_token(&first, &sample("third")).await;
    assert_eq!(kind(over_mark), ErrorKind::Exists);

    // An expired one, where the store still has it.
    let third = key();
    let mut expired = sample("expired");
    expired.expires_at = expired.created_at;
    let written = store.create_token(&third, &expired).await.expect("created");
    let token = written.token.expect("a new session comes with its token");
    if stored(store, &token).await.is_some() {
        let over_expired = store.create_token(&third, &sample("fourth")).await;
        assert_eq!(kind(over_expired), ErrorKind::Exists);
        store.delete_token(&token).await.expect("deleted");
    }
}

/// `create` stores revision 1 whatever it was given; each write adds one.
pub async fn revisions_count_up_from_the_first<T: TokenStore>(store: &T) {
    let record = sample("counting").at_revision(Revision::from_u64(41));
    let written = store.create_token(&key(), &record).await.expect("created");
    assert_eq!(written.revision, Revision::FIRST);
    let token = written.token.expect("a new session comes with its token");
    let mut revision = written.revision;
    for _ in 0..3 {
        let record = record.at_revision(revision);
        let written = store.update_token(&token, &record).await.expect("updated");
        assert_eq!(written.revision, revision.next());
        revision = written.revision;
        let found = stored(store, &token).await.expect("it stands");
        assert_eq!(found.revision, revision);
    }
    let rotated = store
        .rotate_token(
            &token,
            &key(),
            &record.at_revision(revision),
            after(record.created_at, 60),
        )
        .await
        .expect("rotated");
    assert_eq!(rotated.revision, revision.next());
}

/// An update on the stored revision replaces every field.
pub async fn an_update_replaces_header_and_data<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "before").await;
    let now = sample.record.created_at;
    let mut bare = Record::new(after(now, 1), after(now, 1_800));
    bare.revision = sample.record.revision;
    bare.data = Data::from_bytes(&b"after"[..]);
    let written = store
        .update_token(&sample.token, &bare)
        .await
        .expect("updated");
    sample.token = written.token.unwrap_or(sample.token);
    sample.record = bare.at_revision(written.revision);
    sample.assert_stands(store).await;
}

/// An update based on anything but the stored revision is refused, and changes
/// nothing.
pub async fn an_update_on_a_stale_revision_is_a_conflict<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "one").await;
    let stale = sample.saying("stale");
    sample.record = sample.saying("two");
    let written = store
        .update_token(&sample.token, &sample.record)
        .await
        .expect("updated");
    sample.record.revision = written.revision;
    for revision in [stale.revision, written.revision.next(), Revision::NONE] {
        let refused = store
            .update_token(&sample.token, &stale.at_revision(revision))
            .await;
        assert_eq!(kind(refused), ErrorKind::Conflict);
    }
    sample.assert_stands(store).await;
}

/// An update of a session that was never there does not make one.
pub async fn an_update_never_creates<T: TokenStore>(store: &T) {
    let token = key().to_token();
    let record = sample("nowhere").at_revision(Revision::FIRST);
    assert_eq!(
        kind(store.update_token(&token, &record).await),
        ErrorKind::Gone
    );
    let unnumbered = record.at_revision(Revision::NONE);
    assert_eq!(
        kind(store.update_token(&token, &unnumbered).await),
        ErrorKind::Gone
    );
    assert!(load(store, &token).await.is_none());
}

/// A touch based on an older revision does nothing, and succeeds: the deadline is that
/// of the later writer.
pub async fn a_touch_at_another_revision_does_nothing<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "loaded").await;
    let mut stale = sample.record.clone();
    stale.expires_at = after(stale.expires_at, 600);
    sample.record.expires_at = after(sample.record.created_at, 60);
    let written = store
        .update_token(&sample.token, &sample.record)
        .await
        .expect("updated");
    sample.record.revision = written.revision;
    store
        .touch_token(&sample.token, &stale)
        .await
        .expect("nothing to do is success");
    sample.assert_stands(store).await;
}

/// Deadlines and durations up to the largest come back.
pub async fn the_latest_deadline_comes_back<T: TokenStore>(store: &T) {
    let mut record = sample("for ever");
    let longest = std::time::Duration::from_millis(Timestamp::MAX.as_millis());
    record.last_seen_at = Timestamp::MAX;
    record.expires_at = Timestamp::MAX;
    record.absolute_deadline = Some(Timestamp::MAX);
    record.expiry = SessionExpiry::Idle(longest);
    let latest = Sample::with_record(store, record).await;
    latest.assert_stands(store).await;
    store.delete_token(&latest.token).await.expect("deleted");
}

/// A touch moves the deadline and the last use on, and leaves revision, data and
/// the rest of the header alone.
pub async fn a_touch_moves_the_deadline_and_nothing_else<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "touched").await;
    sample.record.last_seen_at = after(sample.record.last_seen_at, 50);
    sample.record.expires_at = after(sample.record.expires_at, 60);
    let written = store
        .touch_token(&sample.token, &sample.record)
        .await
        .expect("touched");
    sample.token = written.token.unwrap_or(sample.token);
    sample.assert_stands(store).await;
}

/// Of two touches that overtake each other, the later deadline wins.
pub async fn a_touch_never_moves_the_deadline_back<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "touched").await;
    let mut earlier = sample.record.clone();
    earlier.last_seen_at = Timestamp::EPOCH;
    earlier.expires_at = after(earlier.created_at, 60);
    store
        .touch_token(&sample.token, &earlier)
        .await
        .expect("touched");
    sample.assert_stands(store).await;
}

/// A use is noted also where the deadline stays, as near the absolute one.
pub async fn a_touch_notes_a_use_that_moves_no_deadline<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "touched").await;
    sample.record.last_seen_at = after(sample.record.last_seen_at, 50);
    let written = store
        .touch_token(&sample.token, &sample.record)
        .await
        .expect("touched");
    sample.token = written.token.unwrap_or(sample.token);
    sample.assert_stands(store).await;
}

/// A write based on what was loaded before a touch still succeeds.
pub async fn a_touch_does_not_disturb_a_writer<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "loaded").await;
    let mut touched = sample.record.clone();
    touched.expires_at = after(touched.expires_at, 60);
    store
        .touch_token(&sample.token, &touched)
        .await
        .expect("touched");
    let record = sample.saying("written");
    store
        .update_token(&sample.token, &record)
        .await
        .expect("the revision is still the one that was loaded");
}

/// A touch of a session that is not there fails, and leaves nothing.
pub async fn a_touch_never_resurrects<T: TokenStore>(store: &T) {
    let token = key().to_token();
    let touch = store.touch_token(&token, &sample("nowhere")).await;
    assert_eq!(kind(touch), ErrorKind::Gone);
    assert!(load(store, &token).await.is_none());
}

/// After a rotation the new key opens the session as it was given.
pub async fn a_rotation_moves_the_whole_session<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "before").await;
    let old = sample.token.clone();
    sample.record = sample.saying("after");
    let mark_until = after(sample.record.created_at, 3_600);
    let written = store
        .rotate_token(&old, &key(), &sample.record, mark_until)
        .await
        .expect("rotated");
    sample.token = written.token.expect("a rotation comes with the new token");
    sample.record.revision = written.revision;
    assert!(sample.token != old);
    sample.assert_stands(store).await;
}

/// After a rotation the old key opens nothing, and says that it was rotated and
/// where to.
pub async fn a_rotation_leaves_a_mark<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "moved").await;
    let until = after(sample.record.created_at, 3_600);
    let new = key();
    let to = new.digest();
    store
        .rotate_token(&sample.token, &new, &sample.record, until)
        .await
        .expect("rotated");
    let mark = Stored::Rotated { to, until };
    assert_eq!(load(store, &sample.token).await, Some(mark));
}

/// A rotation based on anything but the stored revision is refused; both keys
/// are as they were.
pub async fn a_rotation_on_a_stale_revision_is_a_conflict<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "one").await;
    let stale = sample.record.clone();
    let written = store
        .update_token(&sample.token, &sample.record)
        .await
        .expect("updated");
    sample.record.revision = written.revision;
    let new = key();
    let until = after(stale.created_at, 60);
    let refused = store.rotate_token(&sample.token, &new, &stale, until).await;
    assert_eq!(kind(refused), ErrorKind::Conflict);
    sample.assert_stands(store).await;
    assert!(load(store, &new.to_token()).await.is_none());
}

/// A rotation of a session that is not there fails, and leaves nothing under
/// the new key.
pub async fn a_rotation_of_nothing_is_gone<T: TokenStore>(store: &T) {
    let (old, new) = (key().to_token(), key());
    let record = sample("nowhere").at_revision(Revision::FIRST);
    let until = after(record.created_at, 60);
    let refused = store.rotate_token(&old, &new, &record, until).await;
    assert_eq!(kind(refused), ErrorKind::Gone);
    assert!(load(store, &old).await.is_none());
    assert!(load(store, &new.to_token()).await.is_none());
}

/// A rotation onto a key where something stands is refused; both keys are as
/// they were.
pub async fn a_rotation_never_overwrites<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "to move").await;
    let taken = key();
    let mut other = Sample {
        token: taken.to_token(),
        record: crate::sample("in the way"),
    };
    let written = store.create_token(&taken, &other.record).await;
    other.record.revision = written.expect("created").revision;
    let until = after(sample.record.created_at, 60);
    let refused = store
        .rotate_token(&sample.token, &taken, &sample.record, until)
        .await;
    assert_eq!(kind(refused), ErrorKind::Exists);
    sample.assert_stands(store).await;
    other.assert_stands(store).await;
}

/// An update, a touch or a rotation of a rotation mark fails with
/// [`Gone`](ErrorKind::Gone) and leaves the mark as it is.
pub async fn a_mark_takes_no_write<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "moved").await;
    let until = after(sample.record.created_at, 3_600);
    let written = store
        .rotate_token(&sample.token, &key(), &sample.record, until)
        .await
        .expect("rotated");
    let old = &sample.token;
    let mark = load(store, old).await;
    for revision in [sample.record.revision, written.revision, Revision::NONE] {
        let record = sample.record.at_revision(revision);
        assert_eq!(
            kind(store.update_token(old, &record).await),
            ErrorKind::Gone
        );
        assert_eq!(kind(store.touch_token(old, &record).await), ErrorKind::Gone);
        let again = store.rotate_token(old, &key(), &record, until).await;
        assert_eq!(kind(again), ErrorKind::Gone);
    }
    assert_eq!(load(store, old).await, mark);
}

/// A delete under an old key follows the rotation marks and ends the session. The marks
/// stay: requests with the old cookie may still be under way.
pub async fn a_delete_follows_marks_and_leaves_them<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "moved").await;
    let tokens = sample.rotate(store, 3).await;
    let bystander = Sample::create(store, "somebody else").await;
    store.delete_token(&tokens[1]).await.expect("deleted");
    assert!(
        load(store, &sample.token).await.is_none(),
        "the session is ended"
    );
    for old in &tokens {
        assert!(matches!(
            load(store, old).await,
            Some(Stored::Rotated { .. })
        ));
    }
    bystander.assert_stands(store).await;
    store.delete_token(&tokens[0]).await.expect("idempotent");
}

/// A delete follows [`ROTATION_HOPS_MAX`] rotation marks to the session's end. Where
/// there is one mark more, it answers [`Unavailable`](ErrorKind::Unavailable) and the
/// session stands: nobody is told of a logout that has ended nothing.
pub async fn a_delete_follows_marks_to_their_limit_and_no_further<T: TokenStore>(store: &T) {
    let mut sample = Sample::create(store, "moved far").await;
    let mut tokens = sample.rotate(store, ROTATION_HOPS_MAX + 1).await;
    let too_far = tokens.remove(0);
    assert_eq!(
        kind(store.delete_token(&too_far).await),
        ErrorKind::Unavailable
    );
    sample.assert_stands(store).await;
    store.delete_token(&tokens[0]).await.expect("deleted");
    assert!(load(store, &sample.token).await.is_none());
}

/// Deleting what is not there, or what was never there, is success.
pub async fn deleting_is_idempotent<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "to delete").await;
    for _ in 0..2 {
        store.delete_token(&sample.token).await.expect("deleted");
    }
    store
        .delete_token(&key().to_token())
        .await
        .expect("nothing there");
    store
        .delete_token(&Token::new("malformed"))
        .await
        .expect("nothing there");
}

/// After a delete nothing stands there, no write brings it back, and the digest
/// is free.
pub async fn what_was_deleted_is_gone_for_every_write<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "to delete").await;
    store.delete_token(&sample.token).await.expect("deleted");
    let (token, record) = (&sample.token, &sample.record);
    assert_eq!(
        kind(store.update_token(token, record).await),
        ErrorKind::Gone
    );
    assert_eq!(
        kind(store.touch_token(token, record).await),
        ErrorKind::Gone
    );
    let until = after(record.created_at, 60);
    let rotation = store.rotate_token(token, &key(), record, until).await;
    assert_eq!(kind(rotation), ErrorKind::Gone);
    assert!(load(store, token).await.is_none());
}

/// Writes to one session leave its neighbours alone.
pub async fn sessions_do_not_disturb_each_other<T: TokenStore>(store: &T) {
    let one = Sample::create(store, "one").await;
    let two = Sample::create(store, "two").await;
    store.delete_token(&one.token).await.expect("deleted");
    two.assert_stands(store).await;
    let three = Sample::create(store, "three").await;
    store
        .update_token(&three.token, &three.saying("changed"))
        .await
        .expect("updated");
    two.assert_stands(store).await;
}

/// An expired record is still the whole record, or it is not there; it is no
/// error, and never half of one.
pub async fn an_expired_record_is_returned_or_missing<T: TokenStore>(store: &T) {
    let mut record = sample("expired");
    record.expires_at = record.created_at;
    record.created_at = Timestamp::EPOCH;
    let expired = Sample::with_record(store, record).await;
    if let Some(found) = stored(store, &expired.token).await {
        assert_eq!(found, expired.record);
    }
    store.delete_token(&expired.token).await.expect("deleted");
}

/// Of many `create`s of one key, one stores its record, the others find it.
pub async fn of_concurrent_creates_one_wins<T: TokenStore>(store: &T) {
    let key = key();
    let results = join_all((0..WRITERS).map(|writer| {
        let (key, record) = (&key, sample(&writer.to_string()));
        async move { (store.create_token(key, &record).await, record) }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(r, _)| r.is_ok());
    assert_eq!(won.len(), 1);
    for (result, _) in lost {
        assert_eq!(kind(result), ErrorKind::Exists);
    }
    let found = stored(store, &key.to_token()).await.expect("one won");
    assert_eq!(found.data, won[0].1.data);
}

/// Of many `update`s on one revision, one is written, the others conflict.
pub async fn of_concurrent_updates_one_wins<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "contended").await;
    let results = join_all((0..WRITERS).map(|writer| {
        let (token, record) = (&sample.token, sample.saying(&writer.to_string()));
        async move { (store.update_token(token, &record).await, record) }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(r, _)| r.is_ok());
    assert_eq!(won.len(), 1);
    for (result, _) in lost {
        assert_eq!(kind(result), ErrorKind::Conflict);
    }
    let found = stored(store, &sample.token).await.expect("one won");
    assert_eq!(found.data, won[0].1.data);
}

/// Of many rotations of one session, one moves it; the others leave nothing
/// under their keys.
pub async fn of_concurrent_rotations_one_wins<T: TokenStore>(store: &T) {
    let sample = Sample::create(store, "contended").await;
    let until = after(sample.record.created_at, 3_600);
    let results = join_all((0..WRITERS).map(|_| {
        let (token, record, new) = (&sample.token, &sample.record, key());
        async move {
            let result = store.rotate_token(token, &new, record, until).await;
            (result, new.to_token())
        }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(r, _)| r.is_ok());
    assert_eq!(won.len(), 1);
    assert!(stored(store, &won[0].1).await.is_some());
    for (result, new) in lost {
        assert!(matches!(
            kind(result),
            ErrorKind::Conflict | ErrorKind::Gone
        ));
        assert!(load(store, &new).await.is_none());
    }
}

/// Updates, touches and rotations that race a delete come before it, and are deleted,
/// or after it, and are refused. No key opens a session afterwards.
pub async fn a_write_racing_a_delete_never_resurrects<T: TokenStore>(store: &T) {
    for round in 0..8 {
        let sample = Sample::create(store, "to delete").await;
        let (token, record) = (&sample.token, &sample.record);
        let until = after(record.created_at, 3_600);
        let keys: Vec<_> = (0..WRITERS).map(|_| key()).collect();
        let write = async |writer: usize| match (writer + round) % 3 {
            0 => store.update_token(token, record).await.map(|_| ()),
            1 => store.touch_token(token, record).await.map(|_| ()),
            _ => {
                let moved = store.rotate_token(token, &keys[writer], record, until);
                moved.await.map(|_| ())
            }
        };
        let (early, late) = (0..WRITERS / 2, WRITERS / 2..WRITERS);
        let (early, deleted, late) = join3(
            join_all(early.map(&write)),
            store.delete_token(token),
            join_all(late.map(&write)),
        )
        .await;
        deleted.expect("deleted");
        for result in early.into_iter().chain(late) {
            if let Err(error) = result {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::Gone | ErrorKind::Conflict
                ));
            }
        }
        assert!(stored(store, token).await.is_none());
        for key in &keys {
            assert!(stored(store, &key.to_token()).await.is_none());
        }
    }
}

/// A future dropped at any await point leaves the session as before the call or
/// as after it, now or shortly after, and the store usable.
pub async fn a_dropped_future_leaves_the_store_whole<T: TokenStore>(store: &T) {
    for polls in 0..4 {
        let sample = Sample::create(store, "before").await;
        let changed = sample.saying("after");
        let whole = |data: &Data| *data == sample.record.data || *data == changed.data;
        poll_then_drop(store.update_token(&sample.token, &changed), polls);
        let found = stored(store, &sample.token).await.expect("it stands");
        assert!(whole(&found.data));

        let new = key();
        let until = after(sample.record.created_at, 3_600);
        let rotation = store.rotate_token(&sample.token, &new, &found, until);
        poll_then_drop(rotation, polls);
        // The old key first: the session may be moving while we look.
        let under_old = stored(store, &sample.token).await;
        let under_new = stored(store, &new.to_token()).await;
        let found = under_new.or(under_old).expect("one of the keys opens");
        assert!(whole(&found.data));

        let another = key();
        poll_then_drop(store.create_token(&another, &sample.record), polls);
        if let Some(found) = stored(store, &another.to_token()).await {
            assert_eq!(found.data, sample.record.data);
        }
        poll_then_drop(store.delete_token(&sample.token), polls);
        store.delete_token(&sample.token).await.expect("deleted");
        assert!(stored(store, &sample.token).await.is_none());
        assert!(stored(store, &new.to_token()).await.is_none());
    }
}

fn poll_then_drop(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
}
