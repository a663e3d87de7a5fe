//! Requests of one session that overlap, over real HTTP: no change is lost, and no ended
//! session opens again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::stores::{MemoryStore, SledStore};
use cloakroom::{AnyStore, CookiePolicy, Engine, Subject};
use cloakroom_testkit::MapStore;
use cloakroom_tests::{Browser, Site};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Handlers that wait, after they have read their session, until a test lets
/// them go on.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<HashMap<String, Arc<Gate>>>>);

struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gates {
    fn gate(&self, name: &str) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap();
        let gate = gates.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Gate {
                arrived: Semaphore::new(0),
                open: Semaphore::new(0),
            })
        });
        gate.clone()
    }

    async fn wait_in(&self, name: &str) {
        let gate = self.gate(name);
        gate.arrived.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
    }

    /// Resolves once so many handlers are waiting at the gate.
    async fn arrived(&self, name: &str, handlers: u32) {
        self.gate(name)
            .arrived
            .acquire_many(handlers)
            .await
            .unwrap()
            .forget();
    }

    fn open(&self, name: &str, handlers: usize) {
        self.gate(name).open.add_permits(handlers);
    }
}

type Page = Result<String, SessionError>;

async fn read(session: Session, Path(name): Path<String>) -> Page {
    Ok(session
        .get::<u64>(&name)?
        .map_or("-".into(), |n| n.to_string()))
}

async fn whose(session: Session) -> String {
    session
        .subject()
        .map_or("nobody".into(), |s| s.as_str().to_owned())
}

async fn count(session: Session) -> Page {
    session.update("n", |n: &mut u64| *n += 1)?;
    Ok("counted".into())
}

async fn gated_count(gates: State<Gates>, session: Session, Path(gate): Path<String>) -> Page {
    gates.wait_in(&gate).await;
    count(session).await
}

async fn gated_set(
    gates: State<Gates>,
    session: Session,
    Path((gate, name)): Path<(String, String)>,
) -> Page {
    gates.wait_in(&gate).await;
    session.insert(&name, 1)?;
    Ok("set".into())
}

async fn gated_read(gates: State<Gates>, session: Session, Path(gate): Path<String>) -> Page {
    let n = session.get::<u64>("n")?;
    gates.wait_in(&gate).await;
    Ok(format!("{n:?}"))
}

async fn login(session: Session, Path(user): Path<String>) -> Page {
    session.set_subject(Subject::new(user)?)?;
    Ok("in".into())
}

async fn gated_login(
    gates: State<Gates>,
    session: Session,
    Path((gate, user)): Path<(String, String)>,
) -> Page {
    gates.wait_in(&gate).await;
    login(session, Path(user)).await
}

async fn cycle(session: Session) -> Page {
    session.cycle_key()?;
    Ok("moved".into())
}

async fn logout(session: Session) -> Page {
    session.flush()?;
    Ok("out".into())
}

async fn gated_logout(
    gates: State<Gates>,
    session: Session,
    Path((gate, notice)): Path<(String, bool)>,
) -> Page {
    gates.wait_in(&gate).await;
    session.flush()?;
    if notice {
        session.insert("notice", 1)?;
    }
    Ok("out".into())
}

struct House {
    site: Site,
    gates: Gates,
    _folder: Option<TempDir>,
}

async fn house(store: AnyStore, folder: Option<TempDir>) -> House {
    let gates = Gates::default();
    let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
    let router = Router::new()
        .route("/read/{name}", get(read))
        .route("/whose", get(whose))
        .route("/count", post(count))
        .route("/count/{gate}", post(gated_count))
        .route("/set/{gate}/{name}", post(gated_set))
        .route("/slow-read/{gate}", get(gated_read))
        .route("/login/{user}", post(login))
        .route("/login/{gate}/{user}", post(gated_login))
        .route("/cycle", post(cycle))
        .route("/logout", post(logout))
        .route("/logout/{gate}/{notice}", post(gated_logout))
        .with_state(gates.clone())
        .layer(SessionLayer::new(engine.build().unwrap()));
    House {
        site: Site::serve(router).await,
        gates,
        _folder: folder,
    }
}

async fn houses() -> [House; 3] {
    let folder = tempfile::tempdir().unwrap();
    let sled = SledStore::open(folder.path().join("sessions")).unwrap();
    [
        house(AnyStore::new(MapStore::default()), None).await,
        house(AnyStore::new(MemoryStore::default()), None).await,
        house(AnyStore::new(sled), Some(folder)).await,
    ]
}

const COOKIE: &str = "session";

async fn text(browser: &Browser, path: &str) -> String {
    let reply = browser.get(path).await;
    assert_eq!(reply.status, 200);
    reply.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_concurrent_updates_of_a_counter_none_is_lost() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/count").await;
        let path = "/count/all";
        let requests = join_all((0..64).map(|_| browser.post(path)));
        let gates = house.gates.clone();
        // All 64 have loaded the session before the first one writes.
        let release = async {
            gates.arrived("all", 64).await;
            gates.open("all", 64);
        };
        let (replies, ()) = futures_util::future::join(requests, release).await;
        for reply in replies {
            assert_eq!(reply.status, 200);
        }
        assert_eq!(text(&browser, "/read/n").await, "65");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_requests_that_write_different_names_both_survive() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/count").await;
        let (a, b) = (browser.clone(), browser.clone());
        let a = tokio::spawn(async move { a.post("/set/a/one").await });
        let b = tokio::spawn(async move { b.post("/set/b/two").await });
        house.gates.arrived("a", 1).await;
        house.gates.arrived("b", 1).await;
        house.gates.open("b", 1);
        assert_eq!(b.await.unwrap().status, 200);
        house.gates.open("a", 1);
        assert_eq!(a.await.unwrap().status, 200);
        assert_eq!(text(&browser, "/read/one").await, "1");
        assert_eq!(text(&browser, "/read/two").await, "1");
        assert_eq!(text(&browser, "/read/n").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_that_ends_after_a_logout_revives_nothing_and_spares_a_fresh_login() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/login/ada").await;
        let dead = browser.copy();
        let slow_write = browser.copy();
        let slow_read = browser.copy();
        // The replies of the slow requests go to the browser's one jar.
        let (tab_w, tab_r) = (browser.clone(), browser.clone());
        let write = tokio::spawn(async move { tab_w.post("/set/w/late").await });
        let read = tokio::spawn(async move { tab_r.get("/slow-read/r").await });
        house.gates.arrived("w", 1).await;
        house.gates.arrived("r", 1).await;

        assert_eq!(browser.post("/logout").await.status, 200);
        assert_eq!(browser.cookie(COOKIE), None);
        browser.post("/login/bob").await;
        let fresh = browser.cookie(COOKIE).unwrap();

        house.gates.open("w", 1);
        house.gates.open("r", 1);
        for (reply, status) in [(write.await.unwrap(), 409), (read.await.unwrap(), 200)] {
            assert_eq!(reply.status, status);
            assert!(reply.header("set-cookie").is_empty(), "{:?}", reply.headers);
        }
        assert_eq!(browser.cookie(COOKIE).unwrap(), fresh);
        assert_eq!(text(&browser, "/whose").await, "bob");
        assert_eq!(text(&browser, "/read/late").await, "-");
        for old in [dead, slow_write, slow_read] {
            assert_eq!(text(&old, "/whose").await, "nobody");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_requests_with_the_old_cookie_leave_a_login_its_new_one() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/count").await;
        let old = browser.cookie(COOKIE).unwrap();
        let tabs = [browser.clone(), browser.clone(), browser.clone()];
        let [writes, reads, logs_in] = tabs;
        let write = tokio::spawn(async move { writes.post("/set/w/late").await });
        let read = tokio::spawn(async move { reads.get("/slow-read/r").await });
        let login = tokio::spawn(async move { logs_in.post("/login/l/ada").await });
        for gate in ["w", "r", "l"] {
            house.gates.arrived(gate, 1).await;
        }
        house.gates.open("l", 1);
        assert_eq!(login.await.unwrap().status, 200);
        let new = browser.cookie(COOKIE).unwrap();
        assert_ne!(new, old);

        // Two that had loaded the session before, and three that come after.
        house.gates.open("w", 1);
        house.gates.open("r", 1);
        write.await.unwrap();
        read.await.unwrap();
        let late = browser.copy();
        late.plant(COOKIE, &old);
        for (reply, status) in [
            (late.get("/whose").await, 200),
            (late.get("/read/n").await, 200),
            (late.post("/count").await, 409),
        ] {
            assert_eq!(reply.status, status);
            assert!(reply.header("set-cookie").is_empty(), "{:?}", reply.headers);
        }
        assert_eq!(text(&late, "/whose").await, "nobody");

        assert_eq!(browser.cookie(COOKIE).unwrap(), new);
        assert_eq!(text(&browser, "/whose").await, "ada");
        assert_eq!(text(&browser, "/read/n").await, "1");
        assert_eq!(text(&browser, "/read/late").await, "-");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_counts_that_a_rotation_overtakes_none_is_lost() {
    for house in houses().await {
        for (path, all_follow) in [("/cycle", true), ("/login/ada", false)] {
            let browser = house.site.browser();
            browser.post("/count").await;
            // Some are written before the rotation, some while it is, most after it.
            let counts = join_all((0..64).map(|_| browser.post("/count/all")));
            let gates = house.gates.clone();
            let rotation = async {
                gates.arrived("all", 64).await;
                gates.open("all", 8);
                let rotation = browser.post(path).await;
                gates.open("all", 56);
                rotation
            };
            let (counts, rotation) = futures_util::future::join(counts, rotation).await;
            assert_eq!(rotation.status, 200);
            // What is not counted is not answered with success.
            let refused = counts.iter().filter(|reply| reply.status == 409).count();
            let counted = counts.iter().filter(|reply| reply.status == 200).count();
            assert_eq!(counted + refused, 64);
            assert!(!all_follow || refused == 0, "{refused} were refused");
            assert_eq!(text(&browser, "/read/n").await, (1 + counted).to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_logins_sent_by_a_double_click_either_reply_logs_in() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/count").await;
        let (first, second) = (browser.copy(), browser.copy());
        let (a, b) = (first.clone(), second.clone());
        let a = tokio::spawn(async move { a.post("/login/a/ada").await });
        let b = tokio::spawn(async move { b.post("/login/b/ada").await });
        house.gates.arrived("a", 1).await;
        house.gates.arrived("b", 1).await;
        house.gates.open("a", 1);
        a.await.unwrap();
        house.gates.open("b", 1);
        b.await.unwrap();
        // The browser acts on one of the replies only, and we cannot know which.
        assert_eq!(text(&first, "/whose").await, "ada");
        assert_eq!(text(&second, "/whose").await, "ada");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_to_a_write_that_arrives_after_a_login_does_not_undo_it() {
    for house in houses().await {
        let browser = house.site.browser();
        browser.post("/count").await;
        // The write is done before the login; its reply comes last. Nothing in
        // it tells the browser to go back.
        let write = browser.copy().post("/count").await;
        browser.post("/login/ada").await;
        assert_eq!(write.status, 200);
        assert!(write.header("set-cookie").is_empty(), "{:?}", write.headers);
        assert_eq!(text(&browser, "/whose").await, "ada");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_a_rotation_overtakes_ends_the_session_where_it_has_moved() {
    for house in houses().await {
        // It had loaded the session before, with and without something to say
        // afterwards, or it comes with the old cookie after the rotation.
        for (gate, path) in [
            ("x", Some("/logout/x/false")),
            ("y", Some("/logout/y/true")),
            ("z", None),
        ] {
            let browser = house.site.browser();
            browser.post("/count").await;
            let old = browser.copy();
            let late = path.map(|path| {
                let tab = old.clone();
                tokio::spawn(async move { tab.post(path).await })
            });
            if late.is_some() {
                house.gates.arrived(gate, 1).await;
            }
            browser.post("/login/ada").await;
            let moved = browser.copy();
            assert_eq!(text(&moved, "/whose").await, "ada");
            let reply = match late {
                Some(late) => {
                    house.gates.open(gate, 1);
                    late.await.unwrap()
                }
                None => old.post("/logout").await,
            };
            assert_eq!(reply.status, 200);
            assert_eq!(text(&moved, "/whose").await, "nobody", "gate {gate}");
        }
    }
}
