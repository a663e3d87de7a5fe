//! The clauses of [`Scan`](cloakroom_core::store::Scan) and
//! [`Import`](cloakroom_core::store::Import), one function each.
//!
//! # Panics
//! Every function panics where its clause does not hold.

use std::collections::BTreeMap;

use cloakroom_core::ErrorKind;
use cloakroom_core::engine::TokenStore;
use cloakroom_core::store::{Data, KeyDigest, Revision, ScanCursor, Stored};

use crate::sample::{Sample, after, digest, key, load, sample};

/// All that a scan finds in pages of this size, and how often.
async fn scan_all<T: TokenStore>(store: &T, max: usize) -> BTreeMap<KeyDigest, Vec<Stored>> {
    let capabilities = store.token_capabilities();
    let scan = capabilities.scan.expect("asked only of stores that scan");
    let mut found: BTreeMap<_, Vec<Stored>> = BTreeMap::new();
    let mut cursor: Option<ScanCursor> = None;
    loop {
        // The cursor goes through its text, as an operator would keep it.
        let from = cursor.map(|cursor| ScanCursor::new(cursor.as_str()));
        let page = scan.scan(from.as_ref(), max).await;
        let page = page.expect("the store answers");
        for item in page.items {
            let stored = item.stored.expect("whole");
            found.entry(item.digest).or_default().push(stored);
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

/// What is stored, without the data: a scan of a sealed store shows it sealed.
fn header(stored: &Stored) -> Stored {
    let mut stored = stored.clone();
    if let Stored::Record(record) = &mut stored {
        record.data = Data::empty();
    }
    stored
}

/// A scan finds all records and rotation marks as they are stored, whatever the size of
/// a page.
pub async fn a_scan_finds_all_that_stands<T: TokenStore>(store: &T) {
    let mut expected = BTreeMap::new();
    for number in 0..7 {
        let sample = Sample::create(store, &format!("scanned {number}")).await;
        expected.insert(digest(store, &sample.token), Stored::Record(sample.record));
    }
    let moved = Sample::create(store, "moved").await;
    let (new, until) = (key(), after(moved.record.created_at, 60));
    let written = store
        .rotate_token(&moved.token, &new, &moved.record, until)
        .await
        .expect("rotated");
    let record = moved.record.at_revision(written.revision);
    expected.insert(new.digest(), Stored::Record(record));
    let mark = Stored::Rotated {
        to: new.digest(),
        until,
    };
    expected.insert(digest(store, &moved.token), mark);
    for max in [1, 3, 1_000] {
        let found = scan_all(store, max).await;
        for (digest, stored) in &expected {
            let found = found.get(digest).expect("it stood all the time");
            let agrees = |found: &Stored| header(found) == header(stored);
            assert!(found.iter().all(agrees), "as it stands");
        }
    }
}

/// A cursor of another kind of store is refused.
pub async fn a_scan_refuses_a_foreign_cursor<T: TokenStore>(store: &T) {
    let capabilities = store.token_capabilities();
    let scan = capabilities.scan.expect("asked only of stores that scan");
    for text in ["", "no cursor", "\u{1f9e5}"] {
        let page = scan.scan(Some(&ScanCursor::new(text)), 10).await;
        assert_eq!(
            page.map_err(|error| error.kind()).err(),
            Some(ErrorKind::Mismatch)
        );
    }
}

/// An imported record is loaded as it was, revision included, and can be updated, listed
/// and deleted like one that was created.
pub async fn an_import_keeps_the_record_as_it_is<T: TokenStore>(store: &T) {
    let capabilities = store.token_capabilities();
    let import = capabilities
        .import
        .expect("asked only of stores that import");
    let mut sample = Sample::create(store, "created").await;
    for text in ["updated", "and again"] {
        sample.record = sample.saying(text);
        let written = store.update_token(&sample.token, &sample.record).await;
        sample.record.revision = written.expect("updated").revision;
    }
    let digest = digest(store, &sample.token);
    let stands = match capabilities.scan {
        Some(_) => scan_all(store, 1_000)
            .await
            .remove(&digest)
            .and_then(|mut found| found.pop()),
        None => load(store, &sample.token).await,
    };
    let stands = stands.expect("it stands");
    store.delete_token(&sample.token).await.expect("deleted");
    assert!(import.import(&digest, &stands).await.expect("imported"));
    sample.assert_stands(store).await;
    if let Some(subjects) = capabilities.subjects {
        let subject = sample.record.subject_digest().expect("the sample has one");
        let listed = subjects
            .sessions_of(&subject, usize::MAX)
            .await
            .expect("it answers");
        assert!(listed.iter().any(|listed| listed.digest == digest));
    }
    sample.record = sample.saying("written");
    let written = store.update_token(&sample.token, &sample.record).await;
    let revision = written.expect("updated").revision;
    assert_eq!(revision, sample.record.revision.next());
    store.delete_token(&sample.token).await.expect("deleted");
    assert!(load(store, &sample.token).await.is_none());
}

/// An imported rotation mark is loaded as one, and a delete follows it.
pub async fn an_import_takes_marks<T: TokenStore>(store: &T) {
    let capabilities = store.token_capabilities();
    let import = capabilities
        .import
        .expect("asked only of stores that import");
    let sample = Sample::create(store, "moved here").await;
    let old = key();
    let mark = Stored::Rotated {
        to: digest(store, &sample.token),
        until: after(sample.record.created_at, 60),
    };
    let put = import.import(&old.digest(), &mark).await;
    assert!(put.expect("imported"));
    assert_eq!(load(store, &old.to_token()).await, Some(mark));
    store.delete_token(&old.to_token()).await.expect("deleted");
    assert!(load(store, &sample.token).await.is_none(), "followed");
}

/// An import overwrites neither a record nor a rotation mark.
pub async fn an_import_never_overwrites<T: TokenStore>(store: &T) {
    let capabilities = store.token_capabilities();
    let import = capabilities
        .import
        .expect("asked only of stores that import");
    let standing = Sample::create(store, "standing").await;
    let other = Stored::Record(sample("other").at_revision(Revision::from_u64(9)));
    let put = import.import(&digest(store, &standing.token), &other).await;
    assert!(!put.expect("refused without an error"));
    standing.assert_stands(store).await;
    let until = after(standing.record.created_at, 60);
    let rotated = store
        .rotate_token(&standing.token, &key(), &standing.record, until)
        .await;
    rotated.expect("rotated");
    let put = import.import(&digest(store, &standing.token), &other).await;
    assert!(!put.expect("refused without an error"));
    let there = load(store, &standing.token).await;
    assert!(matches!(there, Some(Stored::Rotated { .. })));
}
