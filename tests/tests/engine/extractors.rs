//! The layer and the extractors for axum: a login, a struct, two layers, a rejection.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, Request};
use axum::routing::{get, post};
use cloakroom::axum::{LoggedIn, Session, SessionError, SessionLayer, Typed};
use cloakroom::session::SessionStruct;
use cloakroom::{CookiePolicy, Engine, ErrorKind, Subject};
use cloakroom_testkit::MapStore;
use cloakroom_tests::Site;
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

async fn account(visitor: LoggedIn) -> String {
    visitor.subject().as_str().to_owned()
}

async fn login(session: Session, Path(name): Path<String>) -> Result<(), SessionError> {
    Ok(session.set_subject(Subject::new(name)?)?)
}

fn site(choose: impl FnOnce(SessionLayer) -> SessionLayer) -> Router {
    let engine = Engine::builder(MapStore::default()).cookie(CookiePolicy::loopback_http());
    Router::new()
        .route("/account/{page}", get(account).post(account))
        .route("/login/{name}", post(login))
        .route("/count", post(count))
        .layer(choose(SessionLayer::new(engine.build().unwrap())))
}

#[tokio::test]
async fn who_is_logged_in_gets_the_page_and_others_a_401() {
    let site = Site::serve(site(|layer| layer)).await;
    let browser = site.browser();
    let reply = browser.get("/account/1").await;
    assert_eq!((reply.status, reply.body.as_str()), (401, "Unauthorized"));
    assert!(reply.header("location").is_empty());
    assert_eq!(reply.header("vary"), ["Cookie"]);
    browser.post("/login/ada").await;
    assert_eq!(browser.get("/account/1").await.body, "ada");
}

/// The redirect tells nothing, so the login page must still be able to.
#[tokio::test]
async fn the_login_page_says_why_a_session_has_ended() {
    let engine = Engine::builder(MapStore::default()).cookie(CookiePolicy::loopback_http());
    let engine = engine.build().unwrap();
    let why = async |session: Session| match session.ended_because() {
        Some(ended) => ended.because.as_str(),
        None => "welcome",
    };
    let router = Router::new()
        .route("/account", get(account))
        .route("/login", get(why))
        .route("/login/{name}", post(login))
        .layer(SessionLayer::new(engine.clone()).login_page("/login"));
    let site = Site::serve(router).await;
    let browser = site.browser();
    browser.post("/login/ada").await;
    let ada = Subject::new("ada").unwrap();
    assert_eq!(engine.end_sessions_of(&ada).await.unwrap(), 1);
    let sent = browser.get("/account").await;
    assert_eq!(sent.header("location"), ["/login?next=/account"]);
    assert!(sent.header("set-cookie").is_empty(), "it is left alone");
    let told = browser.get("/login").await;
    assert_eq!(told.body, "all_ended");
    assert_eq!(told.header("set-cookie").len(), 1, "and told once");
    assert_eq!(browser.get("/login").await.body, "welcome");
}

#[tokio::test]
async fn who_asks_for_a_page_is_sent_to_the_login_page() {
    async fn ask(router: &Router, method: &str, url: &str, dest: &str) -> (u16, HeaderMap) {
        let mut request = Request::builder().method(method).uri(url);
        if !dest.is_empty() {
            request = request.header("sec-fetch-dest", dest);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    }
    let plain = site(|layer| layer.login_page("/login"));
    let url = "/account/a%20b?x=1&y=%C3%A9";
    let next = "next=/account/a%2520b%3Fx%3D1%26y%3D%25C3%25A9";
    for (method, dest, status) in [
        ("GET", "", 303),
        ("GET", "document", 303),
        ("GET", "empty", 401),
        ("GET", "iframe", 401),
        ("POST", "document", 401),
    ] {
        let (found, headers) = ask(&plain, method, url, dest).await;
        assert_eq!(found, status, "{method} {dest}");
        let location = headers.get("location").map(|url| url.to_str().unwrap());
        let expected = format!("/login?{next}");
        assert_eq!(location, (status == 303).then_some(expected.as_str()));
        assert_eq!(headers["cache-control"], "private");
    }
    // Under a nested router the whole path counts, and a query of its own stays.
    let nested = Router::new()
        .nest(
            "/shop",
            Router::new().route("/account/{page}", get(account)),
        )
        .layer(SessionLayer::new(Engine::new(MapStore::default())).login_page("/login?from=shop"));
    let (_, headers) = ask(&nested, "GET", "/shop/account/1", "").await;
    assert_eq!(headers["location"], "/login?from=shop&next=/shop/account/1");
}

#[derive(Default, Serialize, Deserialize)]
struct Visit {
    pages: u32,
    theme: Option<String>,
}

impl SessionStruct for Visit {
    const PREFIX: &'static str = "visit";
}

async fn count(visit: Typed<Visit>) -> Result<String, SessionError> {
    assert!(visit.get()?.theme.is_none());
    visit.update(|visit| visit.pages += 1)?;
    Ok(visit.get()?.pages.to_string())
}

#[tokio::test]
async fn a_struct_of_the_session_is_changed_field_by_field() {
    let site = Site::serve(site(|layer| layer)).await;
    let browser = site.browser();
    for pages in ["1", "2", "3"] {
        assert_eq!(browser.post("/count").await.body, pages);
    }
}

/// Two layers of one engine around each other are one: the login of the handler counts.
#[tokio::test]
async fn of_two_layers_of_one_engine_the_inner_one_uses_the_exchange_that_is_there() {
    use axum::{Router, body::Body, http::Request, routing::get};
    use tower::ServiceExt as _;
    async fn login(session: Session) -> Result<&'static str, SessionError> {
        session.set_subject(Subject::new("1")?)?;
        Ok("in")
    }
    async fn look(
        session: Session,
        request: axum::extract::Request,
        next: axum::middleware::Next,
    ) -> axum::response::Response {
        assert_eq!(session.subject(), None);
        session.insert("looked", true).unwrap();
        next.run(request).await
    }
    let engine = Engine::new(MapStore::default());
    let app = Router::new()
        .route("/", get(login))
        .layer(SessionLayer::new(engine.clone()))
        .layer(axum::middleware::from_fn(look))
        .layer(SessionLayer::new(engine.clone()));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let cookie = cookies[0]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let exchange = engine.exchange();
    let session = exchange
        .open([cookie.as_bytes()].into_iter())
        .await
        .unwrap();
    assert_eq!(session.subject(), Some(Subject::new("1").unwrap()));
}

/// Some frameworks send a rejection's text to the client.
#[test]
fn a_session_error_says_nothing_of_the_store() {
    let error = cloakroom::Error::new(ErrorKind::Unavailable, "postgres://db.internal is down");
    let error = SessionError::from(error.in_store("postgres"));
    for text in [format!("{error:?}"), error.to_string()] {
        assert!(
            !text.contains("postgres") && !text.contains("down"),
            "{text}"
        );
    }
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("postgres"));
}
