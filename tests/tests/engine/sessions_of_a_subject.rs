//! "Where am I logged in", over real HTTP: the list of a user's sessions, ending one, all
//! others or all of them, and a limit to their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use cloakroom::axum::{Session, SessionError, SessionLayer, SubjectSessions};
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, SESSIONS_LISTED_MAX};
use cloakroom::store::{KeyDigest, SessionStore as _};
use cloakroom::{AnyStore, CookiePolicy, Engine, EngineBuilder, ErrorKind, Expiry, Label, Subject};
use cloakroom_testkit::{
    Call, Fault, FaultyStore, InterceptedStore, ManualClock, MapStore, key, sample,
};
use cloakroom_tests::{Browser, Site};
use tokio::sync::Barrier;

type Page = Result<String, SessionError>;

async fn log_in(session: Session, Path((user, device)): Path<(String, String)>) -> Page {
    session.set_subject(Subject::new(user)?)?;
    session.set_label(Label::new(device)?)?;
    Ok(String::new())
}

async fn log_out(session: Session) -> Page {
    session.flush()?;
    Ok(String::new())
}

async fn log_out_then_others(session: Session, sessions: SubjectSessions) -> Page {
    session.flush()?;
    Ok(sessions.end_others().await?.to_string())
}

async fn whose(session: Session) -> Page {
    let subject = session.subject();
    Ok(subject.map_or_else(
        || "nobody".to_owned(),
        |subject| subject.as_str().to_owned(),
    ))
}

/// A line for each: its label, and a star at the current one.
async fn list(sessions: SubjectSessions) -> Page {
    let infos = sessions.list().await?;
    let line = |info: &cloakroom::SessionInfo| {
        let label = info.label.as_ref().map_or("", |label| label.as_str());
        format!("{label}{}", if info.is_current { "*" } else { "" })
    };
    Ok(infos.iter().map(line).collect::<Vec<_>>().join(" "))
}

async fn ids(sessions: SubjectSessions) -> Page {
    let infos = sessions.list().await?;
    Ok(infos.iter().map(|info| info.id.to_hex() + "\n").collect())
}

async fn end(sessions: SubjectSessions, Path(id): Path<String>) -> Page {
    let id = KeyDigest::from_hex(&id).unwrap();
    Ok(sessions.end(&id).await?.to_string())
}

async fn end_others(sessions: SubjectSessions) -> Page {
    Ok(sessions.end_others().await?.to_string())
}

async fn end_all(sessions: SubjectSessions) -> Page {
    Ok(sessions.end_all().await?.to_string())
}

struct Shop {
    clock: Arc<ManualClock>,
    store: Arc<FaultyStore<MapStore>>,
    site: Site,
}

impl Shop {
    async fn open(choose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(FaultyStore::new(MapStore::default()));
        let builder = Engine::builder(AnyStore::new(store.clone()))
            .cookie(CookiePolicy::loopback_http())
            .expiry(Expiry::new(Duration::from_secs(3_600), None).unwrap())
            .clock(clock.clone());
        let site = Site::serve(router(choose(builder).build().unwrap())).await;
        Self { clock, store, site }
    }

    /// Plans a fault at the operation after the next one: at the list, which comes
    /// after the load or the create.
    fn fail_second(&self) {
        self.store
            .fail_at(self.store.operations() + 1, Fault::Refuse);
    }

    /// Logs in on a device of its own, a minute after the last one.
    async fn device(&self, user: &str, device: &str) -> Browser {
        self.clock.advance(Duration::from_secs(60));
        let browser = self.site.browser();
        let reply = browser.post(&format!("/login/{user}/{device}")).await;
        assert_eq!(reply.status, 200);
        browser
    }
}

fn router(engine: Engine) -> Router {
    Router::new()
        .route("/login/{user}/{device}", post(log_in))
        .route("/logout", post(log_out))
        .route("/logout-then-others", post(log_out_then_others))
        .route("/whose", get(whose))
        .route("/list", get(list))
        .route("/ids", get(ids))
        .route("/end/{id}", post(end))
        .route("/end-others", post(end_others))
        .route("/end-all", post(end_all))
        .layer(SessionLayer::new(engine))
}

async fn body(browser: &Browser, path: &str) -> String {
    let reply = browser.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.body
}

#[tokio::test]
async fn a_user_sees_their_own_live_sessions_the_current_one_first() {
    let shop = Shop::open(|builder| builder).await;
    let laptop = shop.device("ada", "laptop").await;
    let phone = shop.device("ada", "phone").await;
    let grace = shop.device("grace", "tablet").await;
    assert_eq!(body(&laptop, "/list").await, "laptop* phone");
    assert_eq!(body(&phone, "/list").await, "phone* laptop");
    assert_eq!(body(&grace, "/list").await, "tablet*");
    assert_eq!(body(&shop.site.browser(), "/list").await, "");
    // One that is used is the latest; one that is not ends.
    shop.clock.advance(Duration::from_secs(3_000));
    assert_eq!(body(&laptop, "/whose").await, "ada");
    let desk = shop.device("ada", "desk").await;
    assert_eq!(body(&desk, "/list").await, "desk* laptop phone");
    shop.clock.advance(Duration::from_secs(600));
    assert_eq!(body(&desk, "/list").await, "desk* laptop");
    assert_eq!(body(&phone, "/whose").await, "nobody");
}

#[tokio::test]
async fn a_user_ends_one_of_their_sessions_and_no_one_elses() {
    let shop = Shop::open(|builder| builder).await;
    let laptop = shop.device("ada", "laptop").await;
    let phone = shop.device("ada", "phone").await;
    let grace = shop.device("grace", "tablet").await;
    let ids = body(&laptop, "/ids").await;
    let phones = ids.lines().nth(1).unwrap();
    let foreign = grace.post(&format!("/end/{phones}")).await;
    assert_eq!((foreign.status, &*foreign.body), (200, "false"));
    assert_eq!(body(&phone, "/whose").await, "ada");
    let ended = laptop.post(&format!("/end/{phones}")).await;
    assert_eq!(ended.body, "true");
    assert_eq!(body(&phone, "/whose").await, "nobody");
    assert_eq!(phone.cookie("session"), None, "its cookie is removed");
    assert_eq!(body(&laptop, "/whose").await, "ada");
    // Their own, by the same button.
    let own = ids.lines().next().unwrap();
    assert_eq!(laptop.post(&format!("/end/{own}")).await.body, "true");
    assert_eq!(laptop.cookie("session"), None);
    assert_eq!(body(&grace, "/whose").await, "grace");
}

#[tokio::test]
async fn a_user_logs_out_everywhere_else_and_everywhere() {
    let shop = Shop::open(|builder| builder).await;
    let laptop = shop.device("ada", "laptop").await;
    let phone = shop.device("ada", "phone").await;
    let tablet = shop.device("ada", "tablet").await;
    let grace = shop.device("grace", "desk").await;
    assert_eq!(laptop.post("/end-others").await.body, "2");
    assert_eq!(body(&laptop, "/list").await, "laptop*");
    for other in [&phone, &tablet] {
        assert_eq!(body(other, "/whose").await, "nobody");
    }
    let phone = shop.device("ada", "phone").await;
    assert_eq!(laptop.post("/end-all").await.body, "1");
    for browser in [&laptop, &phone] {
        assert_eq!(body(browser, "/whose").await, "nobody");
    }
    assert_eq!(body(&grace, "/list").await, "desk*");
    assert_eq!(shop.site.browser().post("/end-all").await.body, "0");
}

#[tokio::test]
async fn a_login_beyond_the_limit_ends_the_session_unused_longest() {
    let shop = Shop::open(|builder| builder.sessions_per_subject_max(2)).await;
    let laptop = shop.device("ada", "laptop").await;
    let phone = shop.device("ada", "phone").await;
    shop.clock.advance(Duration::from_secs(1_800));
    assert_eq!(body(&laptop, "/whose").await, "ada");
    let tablet = shop.device("ada", "tablet").await;
    assert_eq!(body(&phone, "/whose").await, "nobody");
    assert_eq!(body(&tablet, "/list").await, "tablet* laptop");
    // Logging in anew on a device takes no further place.
    assert_eq!(tablet.post("/login/ada/tablet").await.status, 200);
    assert_eq!(body(&tablet, "/list").await, "tablet* laptop");
    let grace = shop.device("grace", "desk").await;
    assert_eq!(body(&grace, "/list").await, "desk*");
}

#[tokio::test]
async fn a_login_stands_where_the_limit_cannot_be_kept_to() {
    let shop = Shop::open(|builder| builder.sessions_per_subject_max(1)).await;
    let laptop = shop.device("ada", "laptop").await;
    shop.fail_second();
    let phone = shop.device("ada", "phone").await;
    assert_eq!(body(&phone, "/whose").await, "ada");
    assert_eq!(body(&laptop, "/whose").await, "ada");
    let tablet = shop.device("ada", "tablet").await;
    assert_eq!(body(&tablet, "/list").await, "tablet*");
}

#[tokio::test]
async fn an_outage_is_a_500_and_no_empty_list() {
    let shop = Shop::open(|builder| builder).await;
    let laptop = shop.device("ada", "laptop").await;
    shop.fail_second();
    assert_eq!(laptop.get("/list").await.status, 500);
    assert!(laptop.cookie("session").is_some());
}

#[tokio::test]
async fn a_store_without_lists_says_so() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = || CookieStore::builder("session", &ring).build().unwrap();
    let error = Engine::builder(store()).sessions_per_subject_max(3).build();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("lists by subject"), "{error}");
    let error = Engine::builder(MapStore::default()).sessions_per_subject_max(0);
    assert_eq!(error.build().unwrap_err().kind(), ErrorKind::Misconfigured);

    let engine = Engine::builder(store()).cookie(CookiePolicy::loopback_http());
    let site = Site::serve(router(engine.build().unwrap())).await;
    let browser = site.browser();
    browser.post("/login/ada/laptop").await;
    assert_eq!(browser.get("/list").await.status, 500);
    assert_eq!(browser.get("/whose").await.body, "ada");
}

/// One session for each subject, in a store where so many lists wait for each other.
fn one_each(lists: usize) -> Engine {
    let lists = Arc::new(Barrier::new(lists));
    let store = InterceptedStore::from_fn(MapStore::default(), move |operation, work| {
        let lists = lists.clone();
        Box::pin(async move {
            if operation.call == Call::ListSessions {
                lists.wait().await;
            }
            work.await
        })
    });
    let builder = Engine::builder(AnyStore::new(store));
    let builder = builder.cookie(CookiePolicy::loopback_http());
    builder.sessions_per_subject_max(1).build().unwrap()
}

#[tokio::test]
async fn of_logins_at_the_same_time_beyond_the_limit_one_stands() {
    let site = Site::serve(router(one_each(2))).await;
    for round in 0..20 {
        // A subject of its own: a login of the round before may be of the same
        // millisecond, and would be one of those at the same time.
        let subject = format!("ada-{round}");
        let browsers = [site.browser(), site.browser()];
        let [one, other] = &browsers;
        let (one_path, other_path) = (
            format!("/login/{subject}/one"),
            format!("/login/{subject}/other"),
        );
        tokio::join!(one.post(&one_path), other.post(&other_path));
        let mut live = 0;
        for browser in &browsers {
            live += usize::from(body(browser, "/whose").await == subject);
        }
        assert_eq!(live, 1);
    }
}

#[tokio::test]
async fn who_stops_waiting_for_the_limit_keeps_the_login() {
    // A list that nobody else joins never ends.
    let engine = one_each(2);
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.insert("cart", 1).unwrap();
    session.save().await.unwrap();
    session.set_subject(Subject::new("ada").unwrap()).unwrap();
    let saved = tokio::time::timeout(Duration::from_millis(50), session.save()).await;
    assert!(saved.is_err(), "the list is not done");
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let set = closing.token_headers()[0].value();
    let cookie = set.split(';').next().unwrap();
    let next = engine.exchange();
    let session = next.open([cookie.as_bytes()].into_iter()).await.unwrap();
    assert_eq!(session.subject(), Some(Subject::new("ada").unwrap()));
    assert_eq!(session.get::<u64>("cart").unwrap(), Some(1));
}

#[tokio::test]
async fn a_logout_that_ends_the_others_too_ends_them() {
    let shop = Shop::open(|builder| builder).await;
    let phone = shop.device("ada", "phone").await;
    let laptop = shop.device("ada", "laptop").await;
    assert_eq!(laptop.post("/logout-then-others").await.body, "1");
    for browser in [&phone, &laptop] {
        assert_eq!(body(browser, "/whose").await, "nobody");
    }
}

#[tokio::test]
async fn a_login_ends_sixteen_at_most_and_the_next_one_goes_on() {
    let shop = Shop::open(|builder| builder).await;
    for number in 0..40 {
        shop.device("ada", &format!("device-{number}")).await;
    }
    let engine = Engine::builder(AnyStore::new(shop.store.clone()))
        .cookie(CookiePolicy::loopback_http())
        .clock(shop.clock.clone())
        .sessions_per_subject_max(5)
        .build();
    let limited = Site::serve(router(engine.unwrap())).await;
    let mut left = Vec::new();
    for _ in 0..3 {
        shop.clock.advance(Duration::from_secs(1));
        let browser = limited.browser();
        browser.post("/login/ada/new").await;
        left.push(body(&browser, "/list").await.split(' ').count());
    }
    assert_eq!(left, [40 + 1 - 16, 40 + 2 - 32, 5]);
}

/// Somebody's program logs in for years, and never out.
#[tokio::test]
async fn a_subject_with_thousands_of_sessions_costs_a_login_and_a_list_a_few_pages() {
    const SESSIONS: usize = 3_000;
    let map = Arc::new(MapStore::default());
    for _ in 0..SESSIONS {
        let (digest, mut record) = (key().digest(), sample("a program"));
        record.subject = Some(Subject::new("ada").unwrap());
        map.create(&digest, &record).await.unwrap();
    }
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = pages.clone();
    let store = InterceptedStore::from_fn(map.clone(), move |operation, work| {
        let is_list = operation.call == Call::ListSessions;
        counted.fetch_add(usize::from(is_list), Ordering::SeqCst);
        work
    });
    let builder = Engine::builder(AnyStore::new(store)).sessions_per_subject_max(5);
    let builder = builder
        .cookie(CookiePolicy::loopback_http())
        .site(sample("").site);
    let site = Site::serve(router(builder.build().unwrap())).await;
    let browser = site.browser();
    assert_eq!(browser.post("/login/ada/laptop").await.status, 200);
    assert!(pages.swap(0, Ordering::SeqCst) <= 3, "pages of a login");
    let ids = body(&browser, "/ids").await;
    assert_eq!(ids.split_whitespace().count(), SESSIONS_LISTED_MAX);
    assert!(pages.load(Ordering::SeqCst) <= 5, "pages of a list");
    let standing = map.standing().len();
    assert!(standing < SESSIONS, "the login has ended some");
    assert_eq!(browser.post("/end-others").await.status, 200);
    assert_eq!(body(&browser, "/whose").await, "ada");
    assert_eq!(map.standing().len(), 1);
}
