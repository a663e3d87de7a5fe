//! The middleware and the extractors, in one process: a login, a struct, two layers, a
//! failing store, errors of handlers and of middleware.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, Error, HttpRequest, HttpResponse, ResponseError, guard, web};
use cloakroom_actix::{
    Engine, LoggedIn, Session, SessionError, SessionExt, SessionMiddleware, SubjectSessions, Typed,
};
use cloakroom_core::session::SessionStruct;
use cloakroom_core::{ErrorKind, Label, Subject};
use cloakroom_testkit::{Fault, FaultyStore, MapStore, RecordingStore};
use cloakroom_web::{Closing, CookiePolicy};
use serde::{Deserialize, Serialize};

/// What a client sees of an answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
    /// Whether the service answered with an `Err`.
    is_error: bool,
}

impl Reply {
    fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name);
        values.map(|value| value.to_str().unwrap()).collect()
    }

    /// The pair of the one cookie that is set.
    fn cookie(&self) -> Option<String> {
        let cookies = self.header("set-cookie");
        assert!(cookies.len() <= 1, "{cookies:?}");
        let (pair, _) = cookies.first()?.split_once(';').unwrap();
        Some(pair.to_owned())
    }
}

/// The answer of a service to a request, whose type has no name outside of actix.
macro_rules! send {
    ($app:expr, $request:expr) => {
        reply($app.call($request.to_request()).await).await
    };
}

async fn reply<B: MessageBody>(answer: Result<ServiceResponse<B>, Error>) -> Reply {
    let (head, body, is_error) = match answer {
        Ok(response) => {
            let (head, body) = response.into_parts().1.into_parts();
            (head, to_bytes(body).await.ok().unwrap(), false)
        }
        Err(error) => {
            let (head, body) = error.error_response().into_parts();
            (head, to_bytes(body).await.unwrap(), true)
        }
    };
    Reply {
        status: head.status().as_u16(),
        headers: head.headers().clone(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        is_error,
    }
}

fn get(url: &str) -> TestRequest {
    TestRequest::get().uri(url)
}

fn with(request: TestRequest, cookie: &Option<String>) -> TestRequest {
    let cookie = cookie.as_deref().unwrap_or_default();
    request.insert_header(("cookie", cookie))
}

async fn login(session: Session, name: web::Path<String>) -> actix_web::Result<&'static str> {
    session.set_subject(Subject::new(name.as_str())?)?;
    session.set_label(Label::new("Firefox")?)?;
    Ok("in")
}

async fn count(session: Session) -> actix_web::Result<String> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(session.get::<u64>("visits")?.unwrap_or(0).to_string())
}

async fn visits(session: Session) -> actix_web::Result<String> {
    Ok(session.get::<u64>("visits")?.unwrap_or(0).to_string())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/untouched", web::get().to(async || "x"))
        .route("/visits", web::get().to(visits))
        .route("/count", web::get().to(count))
        .route("/login/{name}", web::get().to(login));
}

fn site(store: impl cloakroom_core::store::SessionStore) -> SessionMiddleware {
    SessionMiddleware::new(Engine::new(store))
}

#[actix_web::test]
async fn a_request_costs_what_its_handler_uses() {
    let store = Arc::new(RecordingStore::new(MapStore::default()));
    let app = App::new().wrap(site(store.clone())).configure(routes);
    let app = init_service(app).await;
    let reply = send!(app, get("/untouched"));
    assert_eq!((reply.status, reply.body.as_str()), (200, "x"));
    for name in ["set-cookie", "vary", "cache-control"] {
        assert!(reply.header(name).is_empty(), "{name}: {reply:?}");
    }
    let reply = send!(app, get("/visits"));
    assert_eq!(reply.cookie(), None);
    assert_eq!(reply.header("vary"), ["Cookie"]);
    assert_eq!(reply.header("cache-control"), ["private"]);
    assert_eq!(store.take().len(), 0);

    let reply = send!(app, get("/count"));
    let cookie = reply.cookie();
    assert!(cookie.as_ref().unwrap().starts_with("__Host-session="));
    assert_eq!(store.take().len(), 1);
    for visits in ["2", "3"] {
        let reply = send!(app, with(get("/count"), &cookie));
        assert_eq!((reply.body.as_str(), reply.cookie()), (visits, None));
    }
    store.take();
    send!(app, with(get("/untouched"), &cookie));
    assert_eq!(store.take().len(), 0);
}

#[actix_web::test]
async fn who_is_logged_in_gets_the_page_and_others_a_401_or_the_login_page() {
    async fn account(visitor: LoggedIn) -> String {
        visitor.subject().as_str().to_owned()
    }
    let site = |choose: fn(SessionMiddleware) -> SessionMiddleware| {
        App::new()
            .configure(routes)
            .service(web::scope("/shop").route("/{page:.*}", web::to(account)))
            // What a visitor has asked for is what came, whatever this makes of it.
            .wrap(from_fn(
                async |mut request: ServiceRequest, next: Next<_>| {
                    if let Ok(uri) = request.uri().to_string().replace("?lost", "").parse() {
                        request.head_mut().uri = uri;
                    }
                    next.call(request).await
                },
            ))
            .wrap(choose(site(MapStore::default())))
    };
    let plain = init_service(site(|middleware| middleware)).await;
    let reply = send!(plain, get("/shop/1"));
    assert_eq!((reply.status, reply.body.as_str()), (401, "Unauthorized"));
    assert!(reply.header("location").is_empty());
    assert_eq!(reply.header("vary"), ["Cookie"]);
    let cookie = send!(plain, get("/login/ada")).cookie();
    let reply = send!(plain, with(get("/shop/1"), &cookie));
    assert_eq!((reply.status, reply.body.as_str()), (200, "ada"));

    let sends = init_service(site(|middleware| middleware.login_page("/login?from=shop"))).await;
    let post = |url: &str| TestRequest::post().uri(url);
    for (request, dest, status) in [
        (get("/shop/a%20b?x=1"), "", 303),
        (get("/shop/a%20b?x=1"), "document", 303),
        (get("/shop/a%20b?x=1"), "empty", 401),
        (post("/shop/a%20b?x=1"), "document", 401),
    ] {
        let request = match dest {
            "" => request,
            dest => request.insert_header(("sec-fetch-dest", dest)),
        };
        let reply = send!(sends, request);
        assert_eq!(reply.status, status, "{dest}");
        let url = "/login?from=shop&next=/shop/a%2520b%3Fx%3D1";
        let sent: &[&str] = if status == 303 { &[url] } else { &[] };
        assert_eq!(reply.header("location"), sent);
        assert_eq!(reply.header("cache-control"), ["private"]);
    }
    // A cookie that opens nothing is left for the login page to say why.
    let reply = send!(sends, with(get("/shop/1"), &cookie));
    assert_eq!(reply.status, 303);
    assert!(reply.header("set-cookie").is_empty());
    let reply = send!(sends, get("/shop/1?lost"));
    let url = "/login?from=shop&next=/shop/1%3Flost";
    assert_eq!(reply.header("location"), [url]);
}

#[derive(Default, Serialize, Deserialize)]
struct Visit {
    pages: u32,
    theme: Option<String>,
}

impl SessionStruct for Visit {
    const PREFIX: &'static str = "visit";
}

#[actix_web::test]
async fn a_struct_of_the_session_is_changed_field_by_field() {
    async fn visit(visit: Typed<Visit>) -> actix_web::Result<String> {
        assert!(visit.get()?.theme.is_none());
        visit.update(|visit| visit.pages += 1)?;
        Ok(visit.get()?.pages.to_string())
    }
    let app = App::new().route("/", web::get().to(visit));
    let app = init_service(app.wrap(site(MapStore::default()))).await;
    let reply = send!(app, get("/"));
    let cookie = reply.cookie();
    assert_eq!(reply.body, "1");
    for pages in ["2", "3"] {
        assert_eq!(send!(app, with(get("/"), &cookie)).body, pages);
    }
}

#[actix_web::test]
async fn the_sessions_of_whoever_is_logged_in_are_listed_and_ended() {
    async fn devices(sessions: SubjectSessions) -> actix_web::Result<String> {
        Ok(sessions.list().await?.len().to_string())
    }
    async fn end_others(sessions: SubjectSessions) -> actix_web::Result<String> {
        Ok(sessions.end_others().await?.to_string())
    }
    let app = App::new()
        .configure(routes)
        .route("/devices", web::get().to(devices))
        .route("/end", web::get().to(end_others))
        .wrap(site(MapStore::default()));
    let app = init_service(app).await;
    let first = send!(app, get("/login/ada")).cookie();
    let second = send!(app, get("/login/ada")).cookie();
    assert_eq!(send!(app, with(get("/devices"), &first)).body, "2");
    assert_eq!(send!(app, with(get("/end"), &first)).body, "1");
    assert_eq!(send!(app, with(get("/devices"), &second)).body, "0");
}

#[actix_web::test]
async fn of_two_middlewares_of_one_engine_the_inner_one_uses_the_exchange_that_is_there() {
    let engine = Engine::new(MapStore::default());
    let other = Engine::builder(MapStore::default()).cookie(CookiePolicy::loopback_http());
    let other = other.build().unwrap();
    let app = App::new()
        .configure(routes)
        .wrap(SessionMiddleware::new(engine.clone()))
        .wrap(from_fn(async |request: ServiceRequest, next: Next<_>| {
            let session = SessionExt::session(&request).await?;
            assert_eq!(session.subject(), None);
            session.insert("looked", true)?;
            next.call(request).await
        }))
        .wrap(SessionMiddleware::new(engine.clone()).eager())
        // One of another engine has a session of its own.
        .wrap(from_fn(async |request: ServiceRequest, next: Next<_>| {
            let session = SessionExt::session(&request).await?;
            session.insert("other", true)?;
            next.call(request).await
        }))
        .wrap(SessionMiddleware::new(other.clone()));
    let app = init_service(app).await;
    let reply = send!(app, get("/login/ada"));
    let cookies = reply.header("set-cookie");
    let names = ["__Host-session", "session"];
    assert_eq!(cookies.len(), names.len(), "{cookies:?}");
    let open = async |engine: &Engine| {
        let pairs = cookies
            .iter()
            .map(|cookie| cookie.split(';').next().unwrap());
        engine
            .exchange()
            .open(pairs.map(str::as_bytes))
            .await
            .unwrap()
    };
    let session = open(&engine).await;
    assert_eq!(session.subject(), Some(Subject::new("ada").unwrap()));
    assert_eq!(session.get("looked").unwrap(), Some(true));
    let session = open(&other).await;
    assert_eq!(session.subject(), None);
    assert_eq!(session.get("other").unwrap(), Some(true));
}

/// Answers without asking its handler, as the path says.
async fn refuse(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.path() == "/unopened" {
        return Err(Plain.into());
    }
    let session = SessionExt::session(&request).await?;
    session.insert("refused", true)?;
    match request.path() {
        "/forbidden" => Err(actix_web::error::ErrorForbidden("not you")),
        "/broken" => Err(actix_web::error::ErrorBadGateway("broken")),
        "/once" => {
            let mut response = HttpResponse::ImATeapot();
            response.insert_header(("x-own", "kept"));
            let response = response.body("short and stout");
            Err(InternalError::from_response("tea", response).into())
        }
        "/own" => Err(Plain.into()),
        _ => next.call(request).await,
    }
}

/// An error whose response says more than its `status_code`.
#[derive(Debug)]
struct Plain;

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("plain")
    }
}

impl ResponseError for Plain {
    fn error_response(&self) -> HttpResponse {
        HttpResponse::PaymentRequired().finish()
    }
}

#[actix_web::test]
async fn an_error_of_a_middleware_carries_the_cookie_and_its_outcome_counts() {
    let engine = Engine::new(MapStore::default());
    let app = App::new().configure(routes).wrap(from_fn(refuse));
    let app = init_service(app.wrap(SessionMiddleware::new(engine.clone()))).await;
    for (path, status, body, is_kept) in [
        ("/forbidden", 403, "not you", true),
        ("/broken", 502, "broken", false),
        ("/once", 418, "short and stout", true),
        ("/own", 402, "", true),
    ] {
        let reply = send!(app, get(path));
        assert!(reply.is_error, "{path}");
        assert_eq!((reply.status, reply.body.as_str()), (status, body));
        let own: &[&str] = if path == "/once" { &["kept"] } else { &[] };
        assert_eq!(reply.header("x-own"), own);
        assert_eq!(reply.cookie().is_some(), is_kept, "{path}: {reply:?}");
        if let Some(cookie) = reply.cookie() {
            let exchange = engine.exchange();
            let session = exchange
                .open([cookie.as_bytes()].into_iter())
                .await
                .unwrap();
            assert_eq!(session.get("refused").unwrap(), Some(true), "{path}");
        }
    }
    // Where no session was opened, the error passes as it is.
    let error = app.call(get("/unopened").to_request()).await.unwrap_err();
    assert!(error.as_error::<Plain>().is_some());
}

#[actix_web::test]
async fn a_failing_store_is_an_opaque_error_and_the_client_keeps_its_cookie() {
    async fn write(session: Session, request: HttpRequest) -> actix_web::Result<HttpResponse> {
        session.insert("a", 1)?;
        let mut response = HttpResponse::Ok();
        response.insert_header(("x-own", "handler"));
        match request.path() {
            "/err" => Err(actix_web::error::ErrorConflict("of the handler")),
            _ => Ok(response.body("of the handler")),
        }
    }
    let store = Arc::new(FaultyStore::new(MapStore::default()));
    let app = || {
        App::new()
            .configure(routes)
            .route("/write", web::get().to(write))
            .route("/err", web::get().to(write))
            .wrap(from_fn(async |request: ServiceRequest, next: Next<_>| {
                let response = next.call(request).await?;
                match response.response().error() {
                    Some(error) if response.request().path() == "/err" => {
                        Err(actix_web::error::ErrorConflict(error.to_string()))
                    }
                    _ => Ok(response),
                }
            }))
    };
    let lazy = init_service(app().wrap(site(store.clone()))).await;
    let cookie = send!(lazy, get("/count")).cookie();
    let opaque = |reply: &Reply| {
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (500, "Internal Server Error")
        );
        assert_eq!(reply.header("content-type"), ["text/plain; charset=utf-8"]);
        assert!(reply.header("x-own").is_empty());
        assert_eq!(reply.cookie(), None);
    };
    store.fail_always(Some(Fault::Refuse));
    // The load fails.
    for path in ["/count", "/visits"] {
        opaque(&send!(lazy, with(get(path), &cookie)));
    }
    // The save fails: of a response, and of an error.
    opaque(&send!(lazy, get("/write")));
    let reply = send!(lazy, get("/err"));
    assert!(reply.is_error);
    opaque(&reply);
    // An eager one loads for whoever does not ask.
    let reply = send!(lazy, with(get("/untouched"), &cookie));
    assert_eq!(reply.status, 200);
    let eager = init_service(app().wrap(site(store.clone()).eager())).await;
    opaque(&send!(eager, with(get("/untouched"), &cookie)));
    store.fail_always(None);
    assert_eq!(send!(lazy, with(get("/visits"), &cookie)).body, "1");
}

#[actix_web::test]
async fn what_a_handler_meets_says_nothing_of_itself_to_the_client() {
    async fn of_another_type(session: Session) -> actix_web::Result<String> {
        session.insert("name", "secret")?;
        Ok(session.get::<u64>("name")?.unwrap_or(0).to_string())
    }
    async fn own_error(session: Session) -> Result<String, SessionError> {
        session.insert("name", "secret")?;
        Ok(session.get::<u64>("name")?.unwrap_or(0).to_string())
    }
    let routes = |config: &mut web::ServiceConfig| {
        config
            .route("/any", web::get().to(of_another_type))
            .route("/own", web::get().to(own_error));
    };
    let app = App::new().configure(routes).wrap(site(MapStore::default()));
    let app = init_service(app).await;
    // Nor does a route without the middleware.
    let bare = init_service(App::new().configure(routes)).await;
    for path in ["/any", "/own"] {
        for reply in [send!(app, get(path)), send!(bare, get(path))] {
            assert_eq!(
                (reply.status, reply.body.as_str()),
                (500, "Internal Server Error")
            );
        }
    }
    let error = cloakroom_core::Error::new(ErrorKind::Unavailable, "db.internal is down");
    let error = SessionError::from(error);
    for text in [format!("{error:?}"), error.to_string()] {
        assert!(!text.contains("down"), "{text}");
    }
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("down"));
}

#[test]
fn an_error_has_the_status_that_the_engine_gives_it() {
    use ErrorKind::{Closed, Conflict, Gone, Mismatch, Overwritten, TooLarge, Unavailable};
    for kind in [
        Closed,
        Conflict,
        Gone,
        Mismatch,
        Overwritten,
        TooLarge,
        Unavailable,
    ] {
        let error = cloakroom_core::Error::from(kind);
        let status = error.status_code();
        assert_eq!(status.as_u16(), Closing::status_of(&error), "{kind:?}");
        assert_eq!(error.error_response().status(), status);
    }
    let gone = cloakroom_core::Error::from(Gone);
    assert_eq!(gone.status_code(), StatusCode::CONFLICT);
}

#[actix_web::test]
async fn a_guard_sees_a_session_that_was_loaded_eagerly() {
    let store = Arc::new(RecordingStore::new(MapStore::default()));
    let app = || {
        App::new()
            .configure(routes)
            .route(
                "/",
                web::get()
                    .guard(guard::fn_guard(|context| {
                        let session = context.loaded_session();
                        session.is_some_and(|session| session.peek().subject().is_some())
                    }))
                    .to(async || "welcome back"),
            )
            .route("/", web::get().to(async || "welcome"))
    };
    let lazy = init_service(app().wrap(site(store.clone()))).await;
    let cookie = send!(lazy, get("/login/ada")).cookie();
    assert_eq!(send!(lazy, with(get("/"), &cookie)).body, "welcome");

    let eager = init_service(app().wrap(site(store.clone()).eager())).await;
    store.take();
    let reply = send!(eager, with(get("/"), &cookie));
    assert_eq!(reply.body, "welcome back");
    assert_eq!(store.take().len(), 1);
    assert_eq!(send!(eager, get("/")).body, "welcome");
    // Whoever does not look at it gets no header.
    let reply = send!(eager, with(get("/untouched"), &cookie));
    assert!(reply.header("vary").is_empty());
    let reply = send!(eager, get("/count"));
    assert_eq!((reply.body.as_str(), reply.cookie().is_some()), ("1", true));
}

#[actix_web::test]
async fn a_middleware_inside_reads_and_writes_before_and_after_the_handler() {
    let app = App::new()
        .configure(routes)
        .wrap(from_fn(async |request: ServiceRequest, next: Next<_>| {
            assert!(request.loaded_session().is_none());
            assert!(request.request().loaded_session().is_none());
            SessionExt::session(request.request())
                .await?
                .insert("a", 1)?;
            let response = next.call(request).await?;
            let session = response.loaded_session().expect("opened above");
            session.insert("b", session.get::<u64>("visits")?)?;
            SessionExt::session(&response).await?.insert("c", 3)?;
            Ok(response)
        }))
        .route(
            "/all",
            web::get().to(async |session: Session| -> actix_web::Result<String> {
                let number = |name| session.get::<u64>(name).map(Option::unwrap_or_default);
                Ok(format!(
                    "{} {} {}",
                    number("a")?,
                    number("b")?,
                    number("c")?
                ))
            }),
        )
        .wrap(site(MapStore::default()));
    let app = init_service(app).await;
    let cookie = send!(app, get("/count")).cookie();
    assert_eq!(send!(app, with(get("/all"), &cookie)).body, "1 1 3");
}

/// Headers are text for the engine; what is not passes it by.
#[actix_web::test]
async fn a_header_that_is_no_text_stays_as_it_is() {
    let odd = HeaderValue::from_bytes(b"\xe9t\xe9").unwrap();
    let value = odd.clone();
    let handler = move |session: Session| {
        let value = value.clone();
        async move {
            session.insert("a", 1).unwrap();
            HttpResponse::Ok()
                .insert_header(("x-season", value))
                .finish()
        }
    };
    let app = App::new().route("/", web::get().to(handler));
    let app = init_service(app.wrap(site(MapStore::default()))).await;
    let request = get("/").insert_header(("cookie", odd.clone()));
    let reply = send!(app, request);
    assert_eq!(reply.headers.get("x-season"), Some(&odd));
    assert!(reply.cookie().is_some());
}
