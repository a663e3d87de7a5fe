//! A change whose session was moved or ended meanwhile: it follows the session, or the
//! answer is no success.

use std::time::Duration;

use cloakroom::session::Session;
use cloakroom::store::{EndReason, Stored};
use cloakroom::{Clock as _, Engine, ErrorKind, Label, SessionExpiry, Subject};
use cloakroom_testkit::MapStore;
use cloakroom_tests::in_process::{TestApp, TestResponse};

fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// A session of `owner` with the entry `n`. One request opens it; `meanwhile` a second one
/// of the same browser does its work; then the first one makes its `change`.
///
/// Answers the first one's response. The browser holds what the second one left it.
async fn late(
    app: &TestApp,
    owner: Option<&str>,
    meanwhile: impl AsyncFnOnce(Session),
    change: impl AsyncFnOnce(Session),
) -> TestResponse {
    app.set_token(None);
    app.visit(async |session| {
        session.insert("n", 1).unwrap();
        if let Some(owner) = owner {
            session.set_subject(subject(owner)).unwrap();
        }
    })
    .await;
    app.visit(async |session| {
        app.visit(meanwhile).await;
        change(session).await;
    })
    .await
}

async fn count(session: Session) {
    session.update("n", |n: &mut u64| *n += 1).unwrap();
    session.insert("late", 7).unwrap();
}

#[tokio::test]
async fn a_change_follows_the_session_that_was_moved_with_its_data() {
    for owner in [None, Some("ada")] {
        for times in [1, 3] {
            let app = TestApp::default();
            let response = late(
                &app,
                owner,
                async |session| {
                    for _ in 0..times {
                        session.cycle_key().unwrap();
                        session.save().await.unwrap();
                    }
                },
                count,
            )
            .await;
            let case = format!("{owner:?}, {times} times");
            assert_eq!(response.status, 200, "{case}");
            assert!(!response.sets_token(), "{case}: the new token is not told");
            assert_eq!(app.number("n").await, Some(2), "{case}");
            assert_eq!(app.number("late").await, Some(7), "{case}");
        }
    }
}

/// Whoever knows the old key may have opened a request before a login, and hold it open:
/// they gain nothing of what the login has begun.
#[tokio::test]
async fn no_change_follows_over_a_login() {
    for owner in [None, Some("ada")] {
        let app = TestApp::default();
        let login = async |session: Session| {
            app.clock.advance(Duration::from_millis(1));
            session.set_subject(subject("ada")).unwrap();
            session.insert("late", 1).unwrap();
        };
        let response = late(&app, owner, login, async |session| {
            count(session.clone()).await;
            assert_eq!(session.save().await.unwrap_err().kind(), ErrorKind::Gone);
            assert_eq!(session.get::<u64>("late").unwrap(), None);
            assert_eq!(session.subject(), None);
        });
        assert_eq!(
            response.await.status,
            200,
            "the handler has answered for it"
        );
        assert_eq!(app.number("n").await, Some(1), "{owner:?}");
        assert_eq!(app.number("late").await, Some(1), "{owner:?}");
        assert_eq!(
            late(&app, owner, login, count).await.status,
            409,
            "{owner:?}"
        );
    }
}

/// The old key writes what it was about to write, and reads nothing.
#[tokio::test]
async fn a_request_whose_change_has_followed_sees_what_it_saw() {
    let app = TestApp::default();
    let moved = async |session: Session| {
        session.insert("secret", 1).unwrap();
        session.cycle_key().unwrap();
    };
    let response = late(&app, Some("ada"), moved, async |session| {
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        session.save().await.unwrap();
        assert_eq!(session.get::<u64>("secret").unwrap(), None);
        assert_eq!(session.get::<u64>("n").unwrap(), Some(2));
        session.update("n", |n: &mut u64| *n += 1).unwrap();
    });
    assert_eq!(response.await.status, 200);
    assert_eq!(app.number("n").await, Some(3));
    assert_eq!(app.number("secret").await, Some(1));
}

#[tokio::test]
async fn no_change_follows_a_mark_that_has_expired() {
    let app = TestApp::default();
    let response = late(
        &app,
        None,
        async |session| session.cycle_key().unwrap(),
        async |session| {
            app.clock.advance(Duration::from_secs(61));
            count(session).await;
        },
    );
    assert_eq!(response.await.status, 409);
}

#[tokio::test]
async fn several_saves_of_one_request_follow_the_session() {
    let app = TestApp::default();
    let response = late(
        &app,
        None,
        async |session| session.cycle_key().unwrap(),
        async |session| {
            for _ in 0..3 {
                session.update("n", |n: &mut u64| *n += 1).unwrap();
                session.save().await.unwrap();
                assert_eq!(session.get::<u64>("late").unwrap(), None);
            }
            session.set_label(Label::new("phone").unwrap()).unwrap();
        },
    )
    .await;
    assert_eq!(response.status, 200);
    assert_eq!(app.number("n").await, Some(4));
    let stored = app.stored(&app.token().unwrap()).unwrap();
    let label = stored.into_record().unwrap().label;
    assert_eq!(label, Some(Label::new("phone").unwrap()));
}

#[tokio::test]
async fn where_the_data_was_left_behind_a_change_is_refused() {
    type Meanwhile = fn(&Session);
    let cases: [(&str, Option<&str>, Meanwhile); 5] = [
        ("logged out", Some("ada"), |s| s.flush().unwrap()),
        ("flushed, then written", None, |s| {
            s.flush().unwrap();
            s.insert("new", 1).unwrap();
        }),
        ("flushed, then logged in", None, |s| {
            s.flush().unwrap();
            s.set_subject(subject("ada")).unwrap();
        }),
        ("flushed, then logged in again", Some("ada"), |s| {
            s.flush().unwrap();
            s.set_subject(subject("ada")).unwrap();
        }),
        ("another logged in", Some("ada"), |s| {
            s.set_subject(subject("bob")).unwrap();
        }),
    ];
    for (case, owner, meanwhile) in cases {
        let app = TestApp::default();
        let response = late(&app, owner, async |s| meanwhile(&s), count).await;
        assert_eq!(response.status, 409, "{case}");
        assert!(
            !response.sets_token() && !response.removes_token(),
            "{case}"
        );
        assert_eq!(app.number("late").await, None, "{case}");
        assert_eq!(app.number("n").await, None, "{case}");
    }
}

#[tokio::test]
async fn a_change_does_not_follow_to_a_session_that_has_expired() {
    let app = TestApp::default();
    let minute = Duration::from_secs(60);
    let response = late(
        &app,
        None,
        async |session| {
            session.set_expiry(SessionExpiry::Idle(minute)).unwrap();
            session.cycle_key().unwrap();
        },
        async |session| {
            app.clock.advance(minute);
            count(session).await;
        },
    )
    .await;
    assert_eq!(response.status, 409);
    let moved = app.stored(&app.token().unwrap()).unwrap();
    let expires_at = moved.into_record().unwrap().expires_at;
    assert_eq!(expires_at, app.clock.now(), "it was not lengthened");
}

#[tokio::test]
async fn a_handler_that_saves_is_told_and_a_mere_read_is_not_refused() {
    let app = TestApp::default();
    let ended = async |session: Session| session.flush().unwrap();
    let response = late(&app, None, ended, async |session| {
        session.insert("late", 7).unwrap();
        let error = session.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone);
    })
    .await;
    assert_eq!(response.status, 200, "the handler has answered for it");
    let response = late(&app, None, ended, async |session| {
        assert_eq!(session.get::<u64>("n").unwrap(), Some(1));
    })
    .await;
    assert_eq!(response.status, 200);
}

/// Whoever asks for a new key may hold a token that was stolen: the key goes to whoever
/// holds the present one.
#[tokio::test]
async fn a_late_rotation_is_refused() {
    let app = TestApp::default();
    let cycle = async |session: Session| session.cycle_key().unwrap();
    let response = late(&app, None, cycle, cycle).await;
    assert_eq!(response.status, 409);
    assert!(!response.sets_token());
    assert_eq!(app.number("n").await, Some(1));
}

#[tokio::test]
async fn a_change_that_arrives_after_the_rotation_is_refused_and_the_old_token_opens_nothing() {
    let app = TestApp::default();
    app.visit(async |session| session.insert("n", 1).unwrap())
        .await;
    let old = app.token();
    app.visit(async |session| session.cycle_key().unwrap())
        .await;
    let new = app.token();
    let occupied = app.records();
    app.set_token(old.as_deref());
    let response = app.visit(count_from_nothing).await;
    assert_eq!(response.status, 409);
    assert!(!response.sets_token() && !response.removes_token());
    app.set_token(new.as_deref());
    assert_eq!(app.number("n").await, Some(1));
    assert_eq!(app.records(), occupied, "no session was begun");
}

async fn count_from_nothing(session: Session) {
    assert_eq!(session.get::<u64>("n").unwrap(), None);
    session.insert("late", 7).unwrap();
}

/// A logout ends the session wherever it has moved, also where a login follows it.
#[tokio::test]
async fn a_flush_before_a_login_ends_the_session_where_it_has_moved() {
    for is_saved_before in [false, true] {
        let app = TestApp::default();
        let login = async |session: Session| session.set_subject(subject("ada")).unwrap();
        app.visit(login).await;
        let old = app.token();
        app.visit(async |session| session.cycle_key().unwrap())
            .await;
        let moved = app.token().unwrap();
        app.set_token(old.as_deref());
        let response = app.visit(async |session| {
            if is_saved_before {
                session.insert("late", 7).unwrap();
                session.save().await.unwrap_err();
            }
            session.flush().unwrap();
            session.set_subject(subject("bob")).unwrap();
        });
        assert!(response.await.sets_token());
        app.visit(async |session| assert_eq!(session.subject(), Some(subject("bob"))))
            .await;
        let left = app
            .model()
            .snapshot()
            .remove(&app.digest_of(&moved).unwrap());
        let Some(Stored::Ended(tombstone)) = left else {
            panic!("what was flushed stands: {left:?}");
        };
        assert_eq!(tombstone.because, EndReason::Flushed);
    }
}

/// What was left for the visitor after the move is not for whoever holds the old key.
#[tokio::test]
async fn a_request_that_takes_flash_values_takes_none_that_was_left_after_a_move() {
    let app = TestApp::default();
    let leave = |text: &'static str| async move |s: Session| s.flash("notice", text).unwrap();
    let take =
        async |session: Session| -> Vec<String> { session.take_flash("notice").await.unwrap() };
    app.visit(leave("before")).await;
    app.visit(async |session| {
        app.visit(async |session| {
            session.cycle_key().unwrap();
            leave("after")(session).await;
        })
        .await;
        assert_eq!(take(session).await, ["before"]);
    })
    .await;
    app.visit(async |session| assert_eq!(take(session).await, ["after"]))
        .await;
}

/// A token whose session has moved names none.
#[tokio::test]
async fn a_session_that_is_not_stored_has_no_id() {
    let app = TestApp::default();
    app.visit(async |session| session.insert("n", 1).unwrap())
        .await;
    let old = app.token();
    app.visit(async |session| {
        assert_eq!(session.id(), app.digest_of(&old.clone().unwrap()));
        session.cycle_key().unwrap();
    })
    .await;
    app.set_token(old.as_deref());
    app.visit(async |session| assert_eq!(session.id(), None))
        .await;
}

#[tokio::test]
async fn late_changes_can_be_dropped_by_choice() {
    let app = TestApp::with(|builder| builder.drop_late_changes(true));
    let ended = async |session: Session| session.flush().unwrap();
    let response = late(&app, None, ended, count).await;
    assert_eq!(response.status, 200);
    assert!(!response.sets_token() && !response.removes_token());
    let moved = async |session: Session| session.cycle_key().unwrap();
    let response = late(&app, None, moved, count).await;
    assert_eq!(response.status, 200);
    assert_eq!(app.number("n").await, Some(2), "what can follow does");
}

/// A sealed session is read with its new key alone, which a late request does not have.
#[tokio::test]
async fn over_a_sealed_store_a_change_of_a_moved_session_is_refused() {
    let sealed = cloakroom::stores::Sealed::new(MapStore::default());
    let engine = Engine::new(sealed);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("n", 1).unwrap();
    let set = exchange.close(200).await.token_headers()[0].clone();
    let cookie = set.value().split(';').next().unwrap().to_owned();
    let open = || std::iter::once(cookie.as_bytes());

    let late = engine.exchange();
    let session = late.open(open()).await.unwrap();
    let other = engine.exchange();
    other.open(open()).await.unwrap().cycle_key().unwrap();
    assert!(other.close(200).await.failure.is_none());
    session.insert("late", 7).unwrap();
    let closing = late.close(200).await;
    assert_eq!(closing.failure.unwrap().kind(), ErrorKind::Gone);
}
