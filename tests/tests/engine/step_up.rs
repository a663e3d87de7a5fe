//! Sensitive pages ask for a fresh login or a further factor: OWASP ASVS 5.0, 7.5.1 and 7.5.3.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::Request;
use axum::routing::{get, post};
use cloakroom::axum::{Aal2, AtLeast, Fresh, Minutes, NotLoggedIn, StepUp};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Aal, CookiePolicy, Engine, Error, ErrorKind, Subject, is_local_path};
use cloakroom_testkit::{ManualClock, MapStore};
use cloakroom_tests::waiting::Visitor;
use cloakroom_tests::{Browser, Site};
use tower::ServiceExt as _;

type Page = Result<String, SessionError>;

async fn login(session: Session, Path(name): Path<String>) -> Page {
    session.set_subject(Subject::new(name)?)?;
    session.insert("cart", 7)?;
    Ok("in".to_owned())
}

async fn prove(session: Session, Path(level): Path<u8>) -> Page {
    session.reauthenticated(if level == 2 { Aal::Two } else { Aal::One })?;
    Ok("proven".to_owned())
}

async fn password(visitor: Fresh<Minutes<10>>) -> Page {
    visitor.insert("password-changed", true)?;
    Ok(format!("{:?}", visitor.get::<u64>("cart")?))
}

async fn payout(visitor: AtLeast<Aal2>) -> String {
    visitor.subject().as_str().to_owned()
}

async fn api(visitor: Result<Fresh<Minutes<10>>, NotLoggedIn>) -> String {
    match visitor {
        Ok(visitor) => visitor.subject().as_str().to_owned(),
        Err(error) => match error.step_up() {
            Some(StepUp::Fresh(age)) => format!("log in again: {} s", age.as_secs()),
            _ => "log in".to_owned(),
        },
    }
}

async fn changed(session: Session) -> Page {
    let changed = session.get::<bool>("password-changed")?;
    Ok(changed.unwrap_or_default().to_string())
}

struct TestSite {
    clock: Arc<ManualClock>,
    router: Router,
    site: Site,
}

impl TestSite {
    async fn serve() -> Self {
        let clock = Arc::new(ManualClock::default());
        let engine = Engine::builder(MapStore::default())
            .cookie(CookiePolicy::loopback_http())
            .clock(clock.clone());
        let layer = SessionLayer::new(engine.build().unwrap())
            .login_page("/login")
            .step_up_page("/confirm");
        let router = Router::new()
            .route("/login/{name}", post(login))
            .route("/prove/{level}", post(prove))
            .route("/password", get(password).post(password))
            .route("/payout", get(payout))
            .route("/api", get(api))
            .route("/changed", get(changed))
            .fallback(payout)
            .layer(layer);
        Self {
            clock,
            site: Site::serve(router.clone()).await,
            router,
        }
    }

    async fn logged_in(&self) -> Browser {
        let browser = self.site.browser();
        browser.post("/login/ada").await;
        browser
    }

    fn pass(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(minutes * 60));
    }
}

/// 7.5.1: what authentication depends on is changed after a full login alone, and that login
/// gives a new token.
#[tokio::test]
async fn asvs_7_5_1_a_login_of_before_changes_no_password() {
    let site = TestSite::serve().await;
    let browser = site.logged_in().await;
    assert_eq!(browser.get("/password").await.body, "Some(7)", "just now");
    let browser = site.logged_in().await;
    site.pass(11);
    let sent = browser.get("/password?of=mine").await;
    assert_eq!(sent.status, 303);
    assert_eq!(
        sent.header("location"),
        ["/confirm?next=/password%3Fof%3Dmine"]
    );
    // A form that is sent late changes nothing.
    let late = browser.post("/password").await;
    assert_eq!((late.status, late.body.as_str()), (403, "Forbidden"));
    assert_eq!(browser.get("/changed").await.body, "false");
    assert_eq!(browser.get("/api").await.body, "log in again: 600 s");

    let stolen = browser.copy();
    let proven = browser.post("/prove/1").await;
    assert_eq!(proven.header("set-cookie").len(), 1);
    assert_eq!(browser.post("/password").await.body, "Some(7)");
    assert_eq!(browser.get("/api").await.body, "ada");
    // The token of before opens nothing, and gains nothing by the proof.
    let sent = stolen.get("/password").await;
    assert_eq!(sent.header("location"), ["/login?next=/password"]);
    site.pass(11);
    assert_eq!(browser.get("/password").await.status, 303, "each time anew");
}

/// 7.5.3: a highly sensitive operation needs a further factor, however fresh the first is.
#[tokio::test]
async fn asvs_7_5_3_one_factor_pays_nothing_out() {
    let site = TestSite::serve().await;
    let browser = site.logged_in().await;
    let sent = browser.get("/payout").await;
    assert_eq!(sent.status, 303);
    assert_eq!(sent.header("location"), ["/confirm?next=/payout&level=2"]);
    browser.post("/prove/1").await;
    assert_eq!(browser.get("/payout").await.status, 303, "the same factor");
    browser.post("/prove/2").await;
    assert_eq!(browser.get("/payout").await.body, "ada");
    // Who proves less from then on has a login of less.
    browser.post("/prove/1").await;
    assert_eq!(browser.get("/payout").await.status, 303);
    // Nobody has nothing to step up from.
    let nobody = site.site.browser().get("/payout").await;
    assert_eq!(nobody.header("location"), ["/login?next=/payout"]);
}

/// What a visitor is sent back to after a proof is what their link said, so that a path which
/// leads elsewhere must be told from one of the site.
#[tokio::test]
async fn a_link_that_leads_to_another_site_is_not_gone_back_to() {
    let site = TestSite::serve().await;
    let browser = site.logged_in().await;
    for (path, is_local) in [("/payout/x", true), ("//e.com/x", false)] {
        let cookie = browser.cookies().unwrap();
        let request = Request::get(path).header("cookie", cookie);
        let request = request.body(Body::empty()).unwrap();
        let response = site.router.clone().oneshot(request).await.unwrap();
        let location = response.headers()["location"].to_str().unwrap();
        let next = location.strip_prefix("/confirm?next=").unwrap();
        let (next, level) = next.split_once('&').unwrap();
        assert_eq!((next, level), (path, "level=2"));
        assert_eq!(is_local_path(next), is_local, "{path}");
    }
}

fn timed_engine() -> (Engine, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let engine = Engine::builder(MapStore::default()).clock(clock.clone());
    (engine.build().unwrap(), clock)
}

/// The form that proves is read slowly, and the session is ended meanwhile, as after a theft.
#[tokio::test]
async fn a_step_up_that_comes_after_the_end_of_its_session_begins_none() {
    let (engine, _) = timed_engine();
    let ada = Visitor::log_in(&engine, "ada").await;
    let (exchange, session) = ada.open().await;
    let subject = Subject::new("ada").unwrap();
    assert_eq!(engine.end_sessions_of(&subject).await.unwrap(), 1);
    session.reauthenticated(Aal::Two).unwrap();
    let closing = exchange.close(200).await;
    let failure = closing.failure.as_ref().map(Error::kind);
    assert_eq!(failure, Some(ErrorKind::Gone));
    assert_eq!(engine.sessions_of(&subject).await.unwrap().len(), 0);
}

/// Who clicks twice sends the form twice, with the same token.
#[tokio::test]
async fn of_a_step_up_that_is_sent_twice_the_second_changes_nothing() {
    let (engine, clock) = timed_engine();
    let mut ada = Visitor::log_in(&engine, "ada").await;
    ada.visit(async |session| session.insert("cart", 7).unwrap())
        .await;
    clock.advance(Duration::from_secs(60));
    let (first, session) = ada.open().await;
    session.reauthenticated(Aal::One).unwrap();
    let mut second = Vec::new();
    for level in [Aal::One, Aal::Two, Aal::One] {
        let (exchange, session) = ada.open().await;
        session.reauthenticated(level).unwrap();
        second.push((exchange, session));
    }
    ada.close(first).await;
    second[2].1.insert("n", 1).unwrap();
    let mut failures = Vec::new();
    for (exchange, _) in &second {
        let closing = exchange.close(200).await;
        assert_eq!(closing.token_headers().len(), 0, "{closing:?}");
        failures.push(closing.failure.as_ref().map(Error::kind));
    }
    let gone = Some(ErrorKind::Gone);
    assert_eq!(
        failures,
        [None, gone, gone],
        "the same; a higher level; more than a proof"
    );
    let subject = Subject::new("ada").unwrap();
    assert_eq!(engine.sessions_of(&subject).await.unwrap().len(), 1);
    ada.visit(async |session| {
        assert_eq!(session.get::<u64>("cart").unwrap(), Some(7));
        assert_eq!(session.login().unwrap().level, Aal::One);
    })
    .await;
}
