//! Sessions of another library are adopted: nobody is logged out, and nobody comes back.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cloakroom_core::session::{Limits, Value};
use cloakroom_core::store::{BoxFuture, SessionStore as _, SubjectDigest, Subjects as _};
use cloakroom_core::{Clock as _, Error, ErrorKind, SessionExpiry, Site, Subject, Timestamp};
use cloakroom_testkit::{InterceptedStore, ManualClock, MapStore, Operation, Work};
use cloakroom_web::{
    BearerPolicy, Closing, CookiePolicy, Engine, EngineBuilder, Exchange, FormerId, FormerSession,
    FormerSessions, Prefix,
};

const START: Timestamp = Timestamp::from_millis(1_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const BRIEF: Duration = Duration::from_secs(300);
const REMOVED: &str = "sid=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax";

/// What goes wrong at one operation of the store or the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CrashBefore,
    CrashAfter,
    Refuse,
    LoseAnswer,
    /// What stands there cannot be read, for this reason.
    Unreadable(ErrorKind),
}

/// Counts the operations of store and source together.
#[derive(Debug, Default)]
struct Plan {
    operations: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
}

impl Plan {
    fn set(&self, fault: Option<(usize, Fault)>) {
        self.operations.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap() = fault;
    }

    async fn step<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let operation = self.operations.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        let fault = fault.filter(|(at, _)| *at == operation);
        let failed = Err(Error::new(ErrorKind::Unavailable, "planned fault"));
        // One pause for each operation: another request may run in between.
        pause().await;
        match fault.map(|(_, fault)| fault) {
            None => work.await,
            Some(Fault::CrashBefore) => std::future::pending().await,
            Some(Fault::CrashAfter) => {
                let _ = work.await;
                std::future::pending().await
            }
            Some(Fault::Refuse) => failed,
            Some(Fault::Unreadable(kind)) => Err(kind.into()),
            Some(Fault::LoseAnswer) => {
                let _ = work.await;
                failed
            }
        }
    }
}

async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The former site: its records lie in memory.
struct Former {
    records: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    plan: Arc<Plan>,
    cookie: CookiePolicy,
}

impl FormerSessions for Former {
    fn name(&self) -> &str {
        "former"
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.cookie
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        value.starts_with("id-").then(|| FormerId::new(value))
    }

    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(self.plan.step(async move {
            if id.expose() == "id-damaged" {
                return Err(ErrorKind::Corrupt.into());
            }
            let records = self.records.lock().unwrap();
            let Some(expires_at) = records.get(id.expose()) else {
                return Ok(None);
            };
            let mut session = FormerSession::new(*expires_at);
            session.subject = Some(Subject::new("ada").unwrap());
            if id.expose() == "id-brief" {
                session.expiry = SessionExpiry::Idle(BRIEF);
            }
            session.entries = vec![
                ("n".into(), Value::UInt(1)),
                ("x".repeat(300), Value::UInt(2)),
            ];
            Ok(Some(session))
        }))
    }

    fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.plan.step(async move {
            self.records.lock().unwrap().remove(id.expose());
            Ok(())
        }))
    }
}

/// Both sites' stores, which outlive a crash of the server.
#[derive(Clone)]
struct World {
    records: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    store: Arc<MapStore>,
    plan: Arc<Plan>,
    clock: Arc<ManualClock>,
}

impl World {
    /// A visitor who is logged in on the former site.
    fn new() -> Self {
        let records = BTreeMap::from([("id-ada".to_owned(), START.saturating_add(HOUR))]);
        Self {
            records: Arc::new(Mutex::new(records)),
            store: Arc::default(),
            plan: Arc::default(),
            clock: Arc::new(ManualClock::at(START)),
        }
    }

    fn builder(&self) -> EngineBuilder {
        let plan = self.plan.clone();
        let store =
            InterceptedStore::from_fn(self.store.clone(), move |_: Operation, work: Work<'_>| {
                intercepted(plan.clone(), work)
            });
        let cookie = CookiePolicy::builder().prefix(Prefix::None).name("sid");
        Engine::builder(store)
            .clock(self.clock.clone())
            .adopt(Former {
                records: self.records.clone(),
                plan: self.plan.clone(),
                cookie: cookie.build().unwrap(),
            })
    }

    fn engine(&self) -> Engine {
        self.builder().build().unwrap()
    }

    fn former_records(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    async fn sessions_of_ada(&self) -> usize {
        let site = Site::new("__Host-session").unwrap();
        let ada = SubjectDigest::new(&site, &Subject::new("ada").unwrap());
        let page = self.store.list_sessions(&ada, None).await;
        page.unwrap().sessions.len()
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

fn intercepted<'a>(plan: Arc<Plan>, work: Work<'a>) -> Work<'a> {
    Box::pin(async move { plan.step(work).await })
}

const FORMER: &str = "sid=id-ada";

async fn open(engine: &Engine, cookies: &str) -> Result<Exchange, Error> {
    let exchange = engine.exchange();
    exchange.open([cookies.as_bytes()].into_iter()).await?;
    Ok(exchange)
}

fn subject(exchange: &Exchange) -> Option<String> {
    let subject = exchange.session().unwrap().subject()?;
    Some(subject.as_str().to_owned())
}

fn headers(closing: &Closing) -> Vec<String> {
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let headers = closing.token_headers().iter();
    headers.map(|header| header.value().to_owned()).collect()
}

/// The cookie that an answer sets.
fn set(headers: &[String]) -> Option<String> {
    let set = headers
        .iter()
        .find(|header| header.starts_with("__Host-session=") && !header.contains("Max-Age=0"))?;
    Some(set.split(';').next().unwrap().to_owned())
}

/// Reads who is logged in; answers with the headers.
async fn visit(engine: &Engine, cookies: &str) -> Result<(Option<String>, Vec<String>), Error> {
    let exchange = open(engine, cookies).await?;
    let subject = subject(&exchange);
    Ok((subject, headers(&exchange.close(200).await)))
}

async fn log_out(engine: &Engine, cookies: &str) -> Result<Vec<String>, Error> {
    let exchange = open(engine, cookies).await?;
    exchange.session().unwrap().flush()?;
    let closing = exchange.close(200).await;
    match closing.failure {
        Some(error) => Err(error),
        None => Ok(headers(&closing)),
    }
}

fn is_ada(subject: &Option<String>) -> bool {
    subject.as_deref() == Some("ada")
}

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

/// The server is killed, or an operation fails, at each operation of store and source.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_logs_nobody_out_and_leaves_nothing_behind() {
    let mut crashes = 0;
    for fault in [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Refuse,
        Fault::LoseAnswer,
    ] {
        for operation in 0.. {
            let world = World::new();
            let at = format!("{fault:?} at {operation}");
            world.plan.set(Some((operation, fault)));
            let killed = world.engine();
            let first = visit(&killed, FORMER);
            let first = tokio::time::timeout(Duration::from_secs(9), first).await;
            let happened = world.plan.operations.load(Ordering::SeqCst) > operation;
            world.plan.set(None);
            // Where an answer was sent, the visitor may have got it or not.
            let mut cookies = vec![FORMER.to_owned()];
            if let Ok(Ok((who, headers))) = &first {
                assert!(is_ada(who), "{at}");
                cookies.push(set(headers).expect("our cookie is handed out"));
            }
            for cookie in &cookies {
                let engine = world.engine();
                let (who, headers) = visit(&engine, cookie).await.unwrap();
                assert!(is_ada(&who), "{at}: logged out");
                assert_eq!(world.former_records(), 0, "{at}");
                if cookie == FORMER {
                    let ours = set(&headers).expect("our cookie is handed out");
                    assert!(is_ada(&visit(&engine, &ours).await.unwrap().0), "{at}");
                }
            }
            // A session that nobody holds a key to may be left by a kill.
            let sessions = world.sessions_of_ada().await;
            assert!((1..=2).contains(&sessions), "{at}: {sessions}");
            let engine = world.engine();
            log_out(&engine, FORMER).await.unwrap();
            for cookie in &cookies {
                let (who, _) = visit(&engine, cookie).await.unwrap();
                assert_eq!(who, None, "{at}: came back");
            }
            if !happened {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 20, "{crashes}");
}

/// Polls two futures in the order of the bits, then to their end.
fn interleave<A, B>(order: u32, a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let mut context = Context::from_waker(Waker::noop());
    let (mut of_a, mut of_b) = (None, None);
    fn step<T>(
        future: Pin<&mut impl Future<Output = T>>,
        answer: &mut Option<T>,
        context: &mut Context<'_>,
    ) {
        if answer.is_none()
            && let Poll::Ready(ready) = future.poll(context)
        {
            *answer = Some(ready);
        }
    }
    for turn in 0..u32::BITS {
        match order >> turn & 1 {
            0 => step(a.as_mut(), &mut of_a, &mut context),
            _ => step(b.as_mut(), &mut of_b, &mut context),
        }
    }
    for _ in 0..64 {
        step(a.as_mut(), &mut of_a, &mut context);
        step(b.as_mut(), &mut of_b, &mut context);
    }
    (of_a.unwrap(), of_b.unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    interleave(0, future, async {}).0
}

#[test]
fn two_requests_at_once_adopt_once_in_every_order() {
    for order in 0..1 << 12 {
        let world = World::new();
        let engine = world.engine();
        let (a, b) = interleave(order, visit(&engine, FORMER), visit(&engine, FORMER));
        let [a, b] = [a, b].map(|answer| {
            let (who, headers) = answer.unwrap();
            assert!(is_ada(&who), "order {order:b}: logged out");
            set(&headers).unwrap()
        });
        assert_eq!(a, b, "order {order:b}");
        assert_eq!(run(world.sessions_of_ada()), 1, "order {order:b}");
        assert_eq!(world.former_records(), 0, "order {order:b}");
    }
}

/// One request adopts and is slow; another one adopts and logs out.
#[test]
fn a_session_that_was_ended_does_not_come_back_in_any_order() {
    for order in 0..1 << 13 {
        let world = World::new();
        let engine = world.engine();
        let (late, ended) = interleave(order, visit(&engine, FORMER), log_out(&engine, FORMER));
        ended.unwrap();
        let mut cookies = vec![FORMER.to_owned()];
        cookies.extend(set(&late.unwrap().1));
        for cookie in cookies {
            let (who, _) = run(visit(&engine, &cookie)).unwrap();
            assert_eq!(who, None, "order {order:b}");
        }
        assert_eq!(run(world.sessions_of_ada()), 0, "order {order:b}");
        assert_eq!(world.former_records(), 0, "order {order:b}");
    }
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

#[tokio::test(start_paused = true)]
async fn parting_that_fails_at_any_point_fails_no_request_and_is_made_up_for() {
    for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::CrashAfter] {
        for operation in 1..4 {
            let world = World::new();
            let engine = world.engine();
            let (_, headers) = visit(&engine, FORMER).await.unwrap();
            let ours = set(&headers).unwrap();
            world.pass(60);
            world.plan.set(Some((operation, fault)));
            let visited = tokio::time::timeout(Duration::from_secs(9), visit(&engine, &ours)).await;
            if fault != Fault::CrashAfter {
                assert!(is_ada(&visited.unwrap().unwrap().0));
            }
            world.plan.set(None);
            for _ in 0..2 {
                assert!(is_ada(&visit(&engine, &ours).await.unwrap().0));
            }
            assert_eq!(visit(&engine, FORMER).await.unwrap().0, None);
        }
    }
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
