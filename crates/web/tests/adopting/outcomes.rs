//! What becomes of a former session and its visitor.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::session::Limits;
use cloakroom_core::store::SessionStore as _;
use cloakroom_core::{Clock as _, ErrorKind, Site, Subject};
use cloakroom_web::{BearerPolicy, CookiePolicy, EngineBuilder, Prefix};

use crate::world::*;

#[tokio::test]
async fn a_former_cookie_opens_its_session_and_gives_way_to_ours() {
    let world = World::new();
    let engine = world.engine();
    let exchange = open(&engine, FORMER).await.unwrap();
    let session = exchange.session().unwrap();
    assert_eq!(subject(&exchange).as_deref(), Some("ada"));
    assert_eq!(session.get::<u64>("n").unwrap(), Some(1));
    assert_eq!(world.former_records(), 0);
    let headers = headers(&exchange.close(200).await);
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert_eq!(headers[1], REMOVED);
    let cookie = set(&headers).unwrap();
    let (who, again) = visit(&engine, &cookie).await.unwrap();
    assert!(is_ada(&who) && again.is_empty(), "{who:?} {again:?}");
    assert_eq!(world.sessions_of_ada().await, 1);
}

#[tokio::test]
async fn a_session_that_was_ended_elsewhere_does_not_come_back() {
    let world = World::new();
    let engine = world.engine();
    let former = world.records.lock().unwrap().clone();
    visit(&engine, FORMER).await.unwrap();
    engine
        .end_sessions_of(&Subject::new("ada").unwrap())
        .await
        .unwrap();
    // Even a source that gives an old record back, as a backup would.
    *world.records.lock().unwrap() = former;
    let (who, headers) = visit(&engine, FORMER).await.unwrap();
    assert_eq!(who, None);
    assert_eq!(headers.last().unwrap(), REMOVED);
}

#[tokio::test]
async fn a_lifetime_that_the_former_session_chose_for_itself_goes_on() {
    let world = World::new();
    let engine = world.engine();
    let until = START.saturating_add(BRIEF);
    world
        .records
        .lock()
        .unwrap()
        .insert("id-brief".into(), until);
    let (_, headers) = visit(&engine, "sid=id-brief").await.unwrap();
    let cookie = set(&headers).unwrap();
    for _ in 0..3 {
        world.pass(200);
        assert!(is_ada(&visit(&engine, &cookie).await.unwrap().0));
    }
    world.pass(300);
    assert_eq!(visit(&engine, &cookie).await.unwrap().0, None);
}

#[tokio::test]
async fn the_former_cookie_opens_nothing_once_ours_has_come_back() {
    let world = World::new();
    let engine = world.engine();
    let (_, headers) = visit(&engine, FORMER).await.unwrap();
    let ours = set(&headers).unwrap();
    let cost = async |cookie: &str| {
        let exchange = open(&engine, cookie).await.unwrap();
        assert!(is_ada(&subject(&exchange)));
        assert_eq!(exchange.session().unwrap().get("n").unwrap(), Some(1));
        let closing = exchange.close(200).await;
        assert!(closing.token_headers().is_empty());
        (closing.cost.loads, closing.cost.writes)
    };
    // Requests that were sent with the former cookie may still be on their way.
    world.pass(59);
    assert_eq!(cost(&ours).await, (1, 0));
    assert!(is_ada(&visit(&engine, FORMER).await.unwrap().0));
    world.pass(1);
    assert_eq!(cost(&ours).await, (2, 2));
    let (who, headers) = visit(&engine, FORMER).await.unwrap();
    assert_eq!((who, headers), (None, vec![]));
    // It is done once, and the session is like any other.
    assert_eq!(cost(&ours).await, (1, 0));
    let exchange = open(&engine, &ours).await.unwrap();
    assert_eq!(exchange.session().unwrap().keys().unwrap(), ["n"]);
}

#[tokio::test]
async fn a_login_with_a_former_cookie_leaves_nothing_that_the_former_one_opens() {
    let world = World::new();
    let engine = world.engine();
    let exchange = open(&engine, FORMER).await.unwrap();
    exchange.session().unwrap().cycle_key().unwrap();
    let headers = headers(&exchange.close(200).await);
    assert_eq!(headers.last().unwrap(), REMOVED);
    let ours = set(&headers).unwrap();
    // A parallel request neither opens it, nor takes the new cookie away.
    let (who, headers) = visit(&engine, FORMER).await.unwrap();
    assert_eq!((who, headers), (None, vec![]));
    assert!(is_ada(&visit(&engine, &ours).await.unwrap().0));
    world.pass(61);
    assert_eq!(visit(&engine, FORMER).await.unwrap().0, None);
    assert!(is_ada(&visit(&engine, &ours).await.unwrap().0));
}

#[tokio::test]
async fn the_answer_to_a_script_hands_the_cookie_out_once_it_is_no_race() {
    let world = World::new();
    let engine = world.engine();
    let script = async || {
        let exchange = engine.exchange();
        exchange.note_fetch_dest(Some(b"empty"));
        let headers = [FORMER.as_bytes()].into_iter();
        let session = exchange.open(headers).await.unwrap();
        assert!(session.subject().is_some());
        exchange.close(200).await.token_headers().len()
    };
    assert_eq!(script().await, 0);
    world.pass(60);
    assert_eq!(script().await, 2);
}

/// The first use has moved the session's deadline on, and the cookie was not handed out yet.
#[tokio::test]
async fn the_former_cookie_opens_its_session_for_longer_than_the_former_one_had_left() {
    let world = World::new();
    let engine = world.engine();
    let exchange = engine.exchange();
    exchange.note_fetch_dest(Some(b"empty"));
    let opened = exchange.open([FORMER.as_bytes()].into_iter()).await;
    assert!(opened.unwrap().subject().is_some());
    assert!(headers(&exchange.close(200).await).is_empty());
    for _ in 0..13 {
        world.pass(24 * 3600);
        let sweep = world.store.capabilities().sweep.unwrap();
        sweep.sweep(world.clock.now(), 100).await.unwrap();
    }
    let (who, headers) = visit(&engine, FORMER).await.unwrap();
    assert!(is_ada(&who) && set(&headers).is_some(), "{headers:?}");
}

#[tokio::test]
async fn a_source_that_is_down_is_an_error_and_the_visitor_keeps_the_cookie() {
    let world = World::new();
    let engine = world.engine();
    for operation in 0..5 {
        world.plan.set(Some((operation, Fault::Refuse)));
        let error = visit(&engine, FORMER).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{operation}");
        if operation == 1 {
            assert_eq!(world.former_records(), 1);
        }
    }
    world.plan.set(None);
    assert!(is_ada(&visit(&engine, FORMER).await.unwrap().0));
}

#[tokio::test]
async fn an_adopted_session_that_cannot_be_read_is_a_fresh_visitor_and_no_loop_of_errors() {
    let world = World::new();
    let engine = world.engine();
    visit(&engine, FORMER).await.unwrap();
    for kind in [ErrorKind::Corrupt, ErrorKind::UnknownKey] {
        // The note is loaded, the former record deleted again, and the session loaded.
        for operation in [0, 2] {
            world.plan.set(Some((operation, Fault::Unreadable(kind))));
            let (who, headers) = visit(&engine, FORMER).await.unwrap();
            assert_eq!((who, headers), (None, vec![]), "{kind:?} {operation}");
        }
    }
    // A newer version wrote it: that node opens it, and the visitor keeps the cookie.
    let newer = Fault::Unreadable(ErrorKind::Unsupported);
    world.plan.set(Some((2, newer)));
    let error = visit(&engine, FORMER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    world.plan.set(None);
    assert!(is_ada(&visit(&engine, FORMER).await.unwrap().0));
}

#[tokio::test]
async fn what_opens_nothing_is_a_fresh_visitor() {
    let world = World::new();
    let engine = world.engine();
    let expired = START.saturating_add(Duration::from_secs(1));
    let old = ("id-old".to_owned(), expired);
    world.records.lock().unwrap().extend([old]);
    world.pass(1);
    for (cookie, is_removed) in [
        ("sid=id-old", true),
        ("sid=id-nobody", true),
        ("sid=forged", false),
        ("sid=id-damaged", false),
        ("sid=", false),
        ("sid=\"id-nobody\"", true),
    ] {
        let (who, headers) = visit(&engine, cookie).await.unwrap();
        assert_eq!(who, None, "{cookie}");
        let removed = headers.iter().any(|header| header == REMOVED);
        assert_eq!(removed, is_removed, "{cookie}: {headers:?}");
    }
    // One that opens a session counts, wherever it stands.
    let all = "sid=forged; sid=id-nobody; a=b; sid=id-ada";
    assert!(is_ada(&visit(&engine, all).await.unwrap().0));
}

#[tokio::test]
async fn a_session_of_ours_wins_and_a_logout_ends_the_former_one_too() {
    let world = World::new();
    let engine = world.engine();
    let exchange = open(&engine, "").await.unwrap();
    exchange.session().unwrap().insert("n", 7).unwrap();
    let ours = set(&headers(&exchange.close(200).await)).unwrap();
    let both = format!("{FORMER}; {ours}");
    let exchange = open(&engine, &both).await.unwrap();
    assert_eq!(exchange.session().unwrap().get("n").unwrap(), Some(7));
    let closing = exchange.close(200).await;
    assert_eq!(closing.cost.loads, 1);
    assert_eq!(world.former_records(), 1);
    let headers = log_out(&engine, &both).await.unwrap();
    assert_eq!(headers.last().unwrap(), REMOVED);
    assert_eq!(world.former_records(), 0);
    for cookie in [FORMER, &ours, &both] {
        assert_eq!(visit(&engine, cookie).await.unwrap().0, None);
    }
}

/// The former site is started again, and then ours once more.
#[tokio::test]
async fn a_move_that_is_taken_back_leaves_the_rest_where_it_was_and_our_cookie_counts_again() {
    let world = World::new();
    let engine = world.engine();
    let until = START.saturating_add(HOUR);
    let other = ("id-bob".to_owned(), until);
    world.records.lock().unwrap().extend([other]);
    let ours = set(&visit(&engine, FORMER).await.unwrap().1).unwrap();
    let left: Vec<_> = world.records.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, ["id-bob"]);
    // The visitor logs in at the former site again, and does not log out there.
    let again = ("id-again".to_owned(), until);
    world.records.lock().unwrap().extend([again]);
    let both = format!("sid=id-again; {ours}");
    assert_eq!(
        visit(&engine, &both).await.unwrap(),
        (Some("ada".into()), vec![])
    );
    assert_eq!(world.former_records(), 2);
    assert!(is_ada(&visit(&engine, &ours).await.unwrap().0));
    engine.end_everybody().await.unwrap();
    assert_eq!(visit(&engine, &ours).await.unwrap().0, None);
}

#[tokio::test]
async fn what_cannot_be_carried_over_is_left_and_a_request_without_a_cookie_costs_nothing() {
    let world = World::new();
    let limits = Limits::default().with_entries_max(1);
    let engine = world.builder().limits(limits).build().unwrap();
    let exchange = open(&engine, FORMER).await.unwrap();
    let session = exchange.session().unwrap();
    assert_eq!(session.get("n").unwrap(), Some(1));
    assert_eq!(session.len(), 2, "the engine's own entry, and n");
    let exchange = open(&engine, "a=b; side=id-ada").await.unwrap();
    assert_eq!(subject(&exchange), None);
    assert_eq!(exchange.close(200).await.cost.loads, 0);
}

#[test]
fn an_engine_that_cannot_adopt_is_refused() {
    let world = World::new();
    let policy = |name: &str| {
        let builder = CookiePolicy::builder().prefix(Prefix::None).name(name);
        builder.build().unwrap()
    };
    let again = |builder: EngineBuilder| {
        builder.adopt(Former {
            records: Arc::default(),
            plan: Arc::default(),
            cookie: policy("other"),
        })
    };
    let site = Site::new("sid").unwrap();
    for (builder, says) in [
        (
            world.builder().bearer(BearerPolicy::default()),
            "cookie policy",
        ),
        (world.builder().cookie(policy("sid")), "another name"),
        (
            world
                .builder()
                .cookie(CookiePolicy::default().replaces(policy("sid")))
                .site(site),
            "another name",
        ),
        (again(world.builder()), "give each its own"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(says), "{error}");
    }
}
