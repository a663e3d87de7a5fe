use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::changeset::Changeset;
use super::*;
use crate::{Label, SessionExpiry, Subject};

fn record_of(pairs: &[(&str, u64)]) -> Record {
    let session = Session::detached();
    session.extend(pairs.iter().copied()).unwrap();
    session
        .changeset()
        .unwrap()
        .record(&Expiry::default(), Timestamp::EPOCH, 0)
}

fn context(limits: Limits) -> Context {
    Context::new(Timestamp::EPOCH, limits, Expiry::default())
}

fn open(record: &Record) -> Session {
    Session::open(Some(record.clone()), context(Limits::default())).unwrap()
}

/// What the store would hold if `ops` were recorded on `base` and replayed on
/// `fresh`, and the names reported as overwritten.
fn replayed(
    base: &[(&str, u64)],
    fresh: &[(&str, u64)],
    ops: impl FnOnce(&Session),
) -> (Vec<(String, u64)>, Vec<String>) {
    let session = open(&record_of(base));
    ops(&session);
    let mut changeset = session.changeset().unwrap();
    let overwritten = changeset.replay(record_of(fresh)).unwrap();
    let merged = open(&changeset.record(&Expiry::default(), Timestamp::EPOCH, 0));
    let items = merged.items().unwrap();
    (
        items
            .into_iter()
            .map(|(name, value)| (name, value.read().unwrap()))
            .collect(),
        overwritten.iter().map(|name| name.to_string()).collect(),
    )
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn replay_keeps_both_requests_writes_to_different_names() {
    let (stored, overwritten) = replayed(&[("a", 1)], &[("a", 1), ("b", 2)], |session| {
        session.insert("c", 3).unwrap();
        session.remove("a").unwrap();
    });
    assert_eq!(stored, pairs(&[("b", 2), ("c", 3)]));
    assert!(overwritten.is_empty());
}

#[test]
fn replay_runs_an_update_on_the_fresh_value() {
    let (stored, overwritten) = replayed(&[("n", 1)], &[("n", 10)], |session| {
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        assert_eq!(session.get::<u64>("n").unwrap(), Some(2));
    });
    assert_eq!(stored, pairs(&[("n", 11)]));
    assert!(overwritten.is_empty());
}

#[test]
fn replay_of_get_or_insert_keeps_what_another_set_first() {
    let (stored, _) = replayed(&[], &[("n", 10)], |session| {
        assert_eq!(session.get_or_insert("n", 1_u64).unwrap(), 1);
    });
    assert_eq!(stored, pairs(&[("n", 10)]));
}

#[test]
fn replay_of_clear_also_clears_what_another_added() {
    let (stored, _) = replayed(&[("a", 1)], &[("a", 1), ("b", 2)], |session| {
        session.clear().unwrap();
        session.insert("c", 3).unwrap();
    });
    assert_eq!(stored, pairs(&[("c", 3)]));
}

#[test]
fn a_value_read_then_set_and_changed_meanwhile_is_reported() {
    let read_then_set = |session: &Session| {
        let n = session.get::<u64>("n").unwrap().unwrap_or(0);
        session.insert("n", n + 1).unwrap();
    };
    let (stored, overwritten) = replayed(&[("n", 1)], &[("n", 10)], read_then_set);
    assert_eq!(
        (stored, overwritten),
        (pairs(&[("n", 2)]), vec!["n".to_owned()])
    );
    let (_, unchanged) = replayed(&[("n", 1)], &[("n", 1), ("m", 1)], read_then_set);
    assert!(unchanged.is_empty());
    let (_, unread) = replayed(&[("n", 1)], &[("n", 10)], |session| {
        session.insert("n", 5).unwrap();
        assert_eq!(session.get::<u64>("n").unwrap(), Some(5));
        session.insert("n", 6).unwrap();
    });
    assert!(unread.is_empty());
}

#[test]
fn accessed_and_modified_are_what_django_says() {
    let flags = |calls: &dyn Fn(&Session)| {
        let session = open(&record_of(&[("there", 1)]));
        calls(&session);
        let changeset = session.changeset().unwrap();
        (changeset.is_accessed(), changeset.is_modified())
    };
    assert_eq!(flags(&|_| {}), (false, false));
    // Django counts neither of the first two; but a response that says so depends on the
    // session.
    let reads: [&dyn Fn(&Session); 11] = [
        &|s| assert!(!s.is_empty()),
        &|s| assert!(s.exists()),
        &|s| assert_eq!(s.get::<u64>("there").unwrap(), Some(1)),
        &|s| assert!(!s.contains("missing")),
        &|s| assert_eq!(s.keys().unwrap(), ["there"]),
        &|s| assert_eq!(s.values().unwrap().len(), 1),
        &|s| assert_eq!(s.len(), 1),
        &|s| assert!(!s.test_cookie_worked()),
        &|s| assert!(s.pop::<u64>("missing").unwrap().is_none()),
        &|s| assert!(!s.remove("missing").unwrap()),
        &|s| assert_eq!(s.get_or_insert("there", 2_u64).unwrap(), 1),
    ];
    for calls in reads {
        assert_eq!(flags(calls), (true, false));
    }
    let changes: [&dyn Fn(&Session); 13] = [
        &|s| s.insert("there", 1).unwrap(),
        &|s| assert!(s.remove("there").unwrap()),
        &|s| assert_eq!(s.pop::<u64>("there").unwrap(), Some(1)),
        &|s| assert_eq!(s.get_or_insert("new", 2).unwrap(), 2),
        &|s| s.extend([("a", 1), ("b", 2)]).unwrap(),
        &|s| s.update("there", |n: &mut u64| *n += 1).unwrap(),
        &|s| s.clear().unwrap(),
        &|s| s.flush().unwrap(),
        &|s| s.cycle_key().unwrap(),
        &|s| s.set_test_cookie().unwrap(),
        &|s| s.set_expiry(SessionExpiry::BrowserClose).unwrap(),
        &|s| s.set_subject(Subject::new("1").unwrap()).unwrap(),
        &|s| s.set_label(Label::new("phone").unwrap()).unwrap(),
    ];
    for calls in changes {
        assert_eq!(flags(calls), (true, true));
    }
}

#[test]
fn a_limit_is_met_at_the_call_that_exceeds_it_and_that_call_changes_nothing() {
    let limits = Limits::default()
        .with_entries_max(2)
        .with_name_bytes_max(4)
        .with_record_bytes_max(40);
    let session = Session::open(None, context(limits)).unwrap();
    session.insert("four", 1).unwrap();
    let too_large = |result: Result<(), Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TooLarge);
    };
    too_large(session.insert("fiver", 1));
    too_large(session.insert("long", "x".repeat(40)));
    session.insert("two", 2).unwrap();
    too_large(session.insert("3", 3));
    too_large(session.update("3", |n: &mut u64| *n = 3));
    assert_eq!(session.keys().unwrap(), ["four", "two"]);
    let left = 40 - session.changeset().unwrap().entries.data().as_bytes().len();
    // "two": a tag, a length and the text stand in place of a tag and a byte.
    let fits = |extra: usize| {
        let session = Session::open(None, context(limits)).unwrap();
        session.insert("four", 1).unwrap();
        session.insert("two", "x".repeat(left + extra))
    };
    fits(0).unwrap();
    too_large(fits(1));
}

#[test]
fn a_closed_session_refuses_changes_and_still_reads() {
    let session = open(&record_of(&[("a", 1)]));
    session.close();
    for result in [
        session.insert("a", 2),
        session.clear(),
        session.flush(),
        session.cycle_key(),
        session.update("a", |n: &mut u64| *n += 1),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
}

#[test]
fn a_closure_that_uses_its_own_session_does_not_hang() {
    let session = Session::detached();
    let inner = session.clone();
    session
        .update("a", move |n: &mut usize| {
            *n += 1 + inner.keys().unwrap().len()
        })
        .unwrap();
    assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    let inner = session.clone();
    let error = session
        .update("a", move |_: &mut u64| inner.insert("b", 1).unwrap())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn changes_made_while_a_save_is_under_way_are_kept_and_follow_it() {
    let session = open(&record_of(&[("n", 1)]));
    session.update("n", |n: &mut u64| *n += 1).unwrap();
    let mut changeset = session.changeset().unwrap();
    session.update("n", |n: &mut u64| *n += 10).unwrap();
    // Meanwhile another request has written 5.
    changeset.replay(record_of(&[("n", 5)])).unwrap();
    let stored = changeset.record(&Expiry::default(), Timestamp::EPOCH, 0);
    session
        .settle(
            changeset,
            SaveOutcome::Stored {
                record: stored,
                token: None,
            },
        )
        .unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(16));
    let next = session
        .changeset()
        .unwrap()
        .record(&Expiry::default(), Timestamp::EPOCH, 0);
    assert_eq!(open(&next).get::<u64>("n").unwrap(), Some(16));
}

#[test]
fn a_failed_save_keeps_the_changes_and_an_abandoned_one_refuses_the_next() {
    let session = Session::detached();
    session.insert("a", 1).unwrap();
    let changeset = session.changeset().unwrap();
    session.insert("b", 2).unwrap();
    not_written(&session, changeset);
    let changeset = session.changeset().unwrap();
    assert!(changeset.is_modified());
    assert_eq!(changeset.entries.len(), 2);
    drop(changeset);
    assert_eq!(
        session.changeset().unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[test]
fn login_rotates_and_another_login_flushes() {
    let subject = |id: &str| Subject::new(id).unwrap();
    let session = open(&record_of(&[("cart", 3)]));
    session.set_subject(subject("ada")).unwrap();
    let changeset = session.changeset().unwrap();
    assert!(changeset.wants_rotation() && !changeset.is_flushed());
    let record = changeset.record(&Expiry::default(), Timestamp::from_millis(5), 0);
    assert_eq!(record.subject, Some(subject("ada")));
    assert_eq!(record.created_at, Timestamp::from_millis(5));

    // Again: reauthentication.
    let session = open(&record);
    session.set_subject(subject("ada")).unwrap();
    let changeset = session.changeset().unwrap();
    assert!(changeset.wants_rotation() && !changeset.is_flushed());
    let again = changeset.record(&Expiry::default(), Timestamp::from_millis(9), 0);
    assert_eq!(again.created_at, Timestamp::from_millis(9));

    let session = open(&record);
    assert_eq!(session.get::<u64>("cart").unwrap(), Some(3));
    session.set_subject(subject("bob")).unwrap();
    assert!(session.is_empty());
    assert_eq!(session.subject(), Some(subject("bob")));
    let changeset = session.changeset().unwrap();
    assert!(changeset.is_flushed());
    let fresh = changeset.record(&Expiry::default(), Timestamp::from_millis(6), 0);
    assert_eq!(
        (fresh.subject, fresh.data),
        (Some(subject("bob")), Entries::empty().data().clone())
    );
}

#[test]
fn a_server_error_keeps_only_a_rotation_or_a_flush() {
    let session = open(&record_of(&[("a", 1)]));
    session.insert("b", 2).unwrap();
    session.set_subject(Subject::new("ada").unwrap()).unwrap();
    let mut changeset = session.changeset().unwrap();
    changeset.drop_operations();
    assert!(changeset.wants_rotation() && changeset.is_modified());
    let record = changeset.record(&Expiry::default(), Timestamp::EPOCH, 0);
    assert_eq!(record.subject, None);
    assert_eq!(open(&record).keys().unwrap(), ["a"]);

    let session = open(&record_of(&[("a", 1)]));
    session.flush().unwrap();
    session.insert("b", 2).unwrap();
    let mut changeset = session.changeset().unwrap();
    changeset.drop_operations();
    assert!(changeset.is_flushed() && !changeset.has_content());
}

#[test]
fn debug_prints_no_name_and_no_value() {
    let session = Session::detached();
    session.insert("secret-name", "hunter2").unwrap();
    let printed = format!("{session:?} {:?}", session.changeset().unwrap());
    assert!(
        !printed.contains("hunter2") && !printed.contains("secret-name"),
        "{printed}"
    );
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Visit {
    pages: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    theme: Option<String>,
    #[serde(default)]
    added_later: bool,
}

#[test]
fn a_typed_view_is_read_and_written_as_a_whole() {
    let session = Session::detached();
    assert_eq!(session.get_fields::<Visit>("visit").unwrap(), None);
    let mut visit = Visit {
        pages: 3,
        theme: Some("dark".into()),
        added_later: true,
    };
    session.insert_fields("visit", &visit).unwrap();
    session.insert("visit.from_a_newer_version", 1).unwrap();
    session.insert("visitor", "another entry").unwrap();
    assert_eq!(session.get_fields("visit").unwrap(), Some(visit.clone()));
    // A field that is left out is removed; what the type does not know stays.
    visit.theme = None;
    session.insert_fields("visit", &visit).unwrap();
    assert_eq!(session.get_fields("visit").unwrap(), Some(visit));
    assert!(session.contains("visit.from_a_newer_version"));
    // A field that was added since it was stored takes its default.
    session.remove("visit.added_later").unwrap();
    let read: Visit = session.get_fields("visit").unwrap().unwrap();
    assert!(!read.added_later);
    session.insert("visit.pages", "many").unwrap();
    let error = session.get_fields::<Visit>("visit").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(
        error.to_string().contains("the entry \"visit.*\""),
        "{error}"
    );
    for error in [
        session.get::<u32>("visit.pages").unwrap_err(),
        session
            .update("visit.pages", |pages: &mut u32| *pages += 1)
            .unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "type mismatch: the entry \"visit.pages\": found text, expected u32"
        );
    }
    let error = session.insert_fields("n", &5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}

/// The names in a value are numbered, and a field is a value of its own.
#[test]
fn a_field_has_the_bytes_of_the_same_value_inserted_alone() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        first: u8,
        second: Option<Box<Line>>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Cart {
        first: Vec<Line>,
        second: Line,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum State {
        Open { first: Vec<Line>, second: Line },
        Closed(Cart),
    }
    let line = |second| Line { first: 1, second };
    let nested = line(Some(Box::new(line(None))));
    let cart = Cart {
        first: vec![nested.clone(), line(None)],
        second: nested.clone(),
    };
    let map: BTreeMap<String, Cart> = [("first", cart.clone()), ("third", cart.clone())]
        .map(|(name, cart)| (name.into(), cart))
        .into();
    let open = State::Open {
        first: cart.first.clone(),
        second: nested.clone(),
    };
    let (by_view, alone) = (Session::detached(), Session::detached());
    by_view.insert_fields("cart", &Some(cart.clone())).unwrap();
    by_view.insert_fields("map", &map).unwrap();
    by_view
        .insert_fields("closed", &State::Closed(cart.clone()))
        .unwrap();
    by_view.insert_fields("open", &open).unwrap();
    alone.insert("cart.first", &cart.first).unwrap();
    alone.insert("cart.second", &nested).unwrap();
    alone.insert("map.first", &cart).unwrap();
    alone.insert("map.third", &cart).unwrap();
    alone.insert("closed.Closed", &cart).unwrap();
    alone.insert("open.Open", &cart).unwrap();
    let data = |session: &Session| {
        session
            .changeset()
            .unwrap()
            .record(&Expiry::default(), Timestamp::EPOCH, 0)
            .data
    };
    assert_eq!(data(&by_view).as_bytes(), data(&alone).as_bytes());
    assert_eq!(by_view.get_fields("cart").unwrap(), Some(cart.clone()));
    assert_eq!(by_view.get_fields("map").unwrap(), Some(map));
    assert_eq!(
        by_view.get_fields("closed").unwrap(),
        Some(State::Closed(cart))
    );
    assert_eq!(by_view.get_fields("open").unwrap(), Some(open));
}

#[test]
fn two_requests_that_change_different_fields_both_survive() {
    let base = Session::detached();
    base.insert_fields("v", &Visit::default()).unwrap();
    let base = base
        .changeset()
        .unwrap()
        .record(&Expiry::default(), Timestamp::EPOCH, 0);
    let change_pages: [fn(&Session); 2] = [
        |session| {
            let mut visit: Visit = session.get_fields("v").unwrap().unwrap();
            visit.pages += 1;
            session.insert_fields("v", &visit).unwrap();
        },
        |session| {
            session
                .update_fields("v", |visit: &mut Visit| visit.pages += 1)
                .unwrap()
        },
    ];
    for change in change_pages {
        let other = open(&base);
        other
            .update_fields("v", |visit: &mut Visit| visit.theme = Some("dark".into()))
            .unwrap();
        let fresh = other
            .changeset()
            .unwrap()
            .record(&Expiry::default(), Timestamp::EPOCH, 0);
        let session = open(&base);
        change(&session);
        let mut changeset = session.changeset().unwrap();
        assert!(changeset.replay(fresh).unwrap().is_empty());
        let merged = open(&changeset.record(&Expiry::default(), Timestamp::EPOCH, 0));
        let visit: Visit = merged.get_fields("v").unwrap().unwrap();
        assert_eq!((visit.pages, visit.theme.as_deref()), (1, Some("dark")));
    }
}

#[test]
fn the_expiry_a_session_reads_is_the_one_a_save_would_write() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let context = Context {
        now: Timestamp::from_millis(500_999),
        expiry: Expiry::new(minutes(10), Some(minutes(60))).unwrap(),
        ..context(Limits::default())
    };
    let session = Session::open(None, context.clone()).unwrap();
    for (choice, age, browser) in [
        (SessionExpiry::Default, minutes(10), false),
        (SessionExpiry::Idle(minutes(5)), minutes(5), false),
        (
            SessionExpiry::At(context.now.saturating_add(minutes(7))),
            minutes(7),
            false,
        ),
        (SessionExpiry::At(Timestamp::EPOCH), Duration::ZERO, false),
        (SessionExpiry::BrowserClose, minutes(10), true),
    ] {
        session.set_expiry(choice).unwrap();
        assert_eq!(session.expiry_age(), age, "{choice:?}");
        assert_eq!(session.expires_at_browser_close(), browser, "{choice:?}");
        let changeset = session.changeset().unwrap();
        let record = changeset.record(&context.expiry, context.now, 0);
        assert_eq!(session.expiry_date(), record.expires_at, "{choice:?}");
        not_written(&session, changeset);
    }
}

#[test]
fn flash_values_queue_up_and_a_detached_session_keeps_them() {
    let session = Session::detached();
    session.flash("notice", "one").unwrap();
    session.flash("notice", "two").unwrap();
    let left: Vec<String> = session.get("flash.notice").unwrap().unwrap();
    assert_eq!(left, ["one", "two"]);
}

fn not_written(session: &Session, changeset: Changeset) {
    let outcome = SaveOutcome::NotWritten(ErrorKind::Conflict.into());
    let error = session.settle(changeset, outcome).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}
