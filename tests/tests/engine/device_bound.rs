//! The endpoint of devices and the extractor of a proven one, on axum, on actix-web, and on tower
//! alone.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::{App, web};
use axum::http::{Request, Response};
use cloakroom::cookie::{CookieStore, EpochStore, KeyRing};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::OsEntropy;
use cloakroom::tower::{RequestSession as _, SessionError, SessionLayer};
use cloakroom::{Engine, Subject};
use cloakroom_testkit::{ManualClock, MapStore};
use cloakroom_tests::device_walk::{
    Answer, Asked, BOUND, Visitor, engine, on_axum, proves_itself, walk, walk_where_required,
};
use cloakroom_tests::embedded::Embedded;
use tower::{Layer as _, ServiceExt as _, service_fn};

#[tokio::test]
async fn a_device_proves_itself_on_axum() {
    proves_itself(MapStore::default()).await;
}

/// The key lies where the session lies: behind a cache, beside sealed data, in the cookie.
#[tokio::test]
async fn a_device_proves_itself_over_every_store_of_one_machine() {
    for options in ["", "?cache=8MiB&stale=5s", "?sealed=true"] {
        for store in Embedded::ALL {
            let folder = tempfile::tempdir().unwrap();
            proves_itself(store.open_with(folder.path(), options).await).await;
        }
    }
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    proves_itself(
        CookieStore::builder("__Host-session", &ring)
            .build()
            .unwrap(),
    )
    .await;
}

fn sealed(clock: Arc<ManualClock>) -> CookieStore {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let epochs = EpochStore::in_non_evicting(MapStore::default());
    let store = CookieStore::builder("__Host-session", &ring).revocation(Arc::new(epochs));
    store.logout_ends_all().clock(clock).build().unwrap()
}

/// Sealed in the cookie, and a logout ends all sessions of its subject: who fails to prove a
/// device ends none of them.
#[tokio::test]
async fn a_copy_of_a_sealed_cookie_ends_no_session_of_its_owner() {
    for (dbsc, is_required) in [(Dbsc::prefer(), false), (Dbsc::require(), true)] {
        let clock = Arc::new(ManualClock::default());
        let engine = Engine::builder(sealed(clock.clone())).clock(clock.clone());
        let site = on_axum(engine.device_bound(dbsc).build().unwrap());
        let mut other = Visitor::new(&site);
        let challenge = other.log_in().await;
        assert_eq!(other.register(&challenge).await.status, 200);

        let mut owner = Visitor::new(&site);
        let challenge = owner.log_in().await;
        // Copied before the device has answered, it is a session of its own, bound to none.
        let mut early = owner.copied();
        assert_eq!(owner.register(&challenge).await.status, 200);
        let mut thief = owner.copied();
        assert_eq!(thief.refresh().await.status, 400);
        assert!(thief.jar.is_empty(), "{:?}", thief.jar);
        clock.advance(Duration::from_secs(331));
        early.jar.remove(BOUND);
        let status = early.get("/account").await;
        assert_eq!(status, if is_required { 401 } else { 200 });
        assert_eq!(early.get("/pay").await, if is_required { 401 } else { 403 });
        for visitor in [&mut owner, &mut other] {
            assert_eq!(visitor.refresh().await.status, 200);
            assert_eq!(visitor.get("/pay").await, 200);
        }
    }
}

#[tokio::test]
async fn where_a_device_is_required_a_link_from_elsewhere_asks_again_on_axum() {
    walk_where_required(on_axum(engine(MapStore::default(), Dbsc::require()))).await;
}

/// A service of http alone, without a framework.
#[tokio::test]
async fn a_device_proves_itself_on_tower() {
    async fn answer(request: Request<()>) -> Result<Response<String>, SessionError> {
        let paid = |(_, subject): (_, Subject)| format!("paid by {}", subject.as_str());
        let who = |(_, subject): (_, Subject)| subject.as_str().to_owned();
        Ok(match request.uri().path() {
            "/login" => {
                let session = request.session().await?;
                session.set_subject(Subject::new("ada")?)?;
                Response::default()
            }
            "/pay" => match request.bound().await {
                Ok(visitor) => Response::new(paid(visitor)),
                Err(why) => why.into_response(),
            },
            "/account" => match request.logged_in().await {
                Ok(visitor) => Response::new(who(visitor)),
                Err(why) => why.into_response(),
            },
            _ => request.answer_device().await?,
        })
    }
    let on_tower = |dbsc| {
        let service = service_fn(answer);
        let site = SessionLayer::new(engine(MapStore::default(), dbsc)).layer(service);
        move |(method, path, headers): Asked| {
            let site = site.clone();
            async move {
                let mut request = Request::builder().method(method).uri(path);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let response = site.oneshot(request.body(()).unwrap()).await.unwrap();
                let headers = response.headers().iter();
                let headers = headers
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                    .collect();
                Answer {
                    status: response.status().as_u16(),
                    headers,
                    body: response.into_body(),
                }
            }
        }
    };
    walk(on_tower(Dbsc::prefer())).await;
    walk_where_required(on_tower(Dbsc::require())).await;
}

#[actix_web::test]
async fn a_device_proves_itself_on_actix() {
    use actix_web::test::{TestRequest, init_service};
    use cloakroom::actix::{Bound, LoggedIn, Session, SessionMiddleware, device_endpoint};

    async fn login(session: Session) -> actix_web::Result<&'static str> {
        session.set_subject(Subject::new("ada")?)?;
        Ok("")
    }
    let on_actix = async |dbsc| {
        let pay = async |visitor: Bound| format!("paid by {}", visitor.subject().as_str());
        let account = async |visitor: LoggedIn| visitor.subject().as_str().to_owned();
        let app = App::new()
            .route("/login", web::post().to(login))
            .route("/pay", web::get().to(pay))
            .route("/account", web::get().to(account))
            .route(Dbsc::PATH, web::post().to(device_endpoint))
            .wrap(SessionMiddleware::new(engine(MapStore::default(), dbsc)));
        let app = Rc::new(init_service(app).await);
        move |(method, path, headers): Asked| {
            let app = app.clone();
            async move {
                let mut request = TestRequest::with_uri(path).method(method.parse().unwrap());
                for header in headers {
                    request = request.insert_header(header);
                }
                let (status, headers, body) = match app.call(request.to_request()).await {
                    Ok(response) => {
                        let status = response.status().as_u16();
                        let headers = response.headers().clone();
                        let body = actix_web::body::to_bytes(response.into_body()).await;
                        (status, headers, body.ok().unwrap())
                    }
                    Err(error) => {
                        let response = error.error_response();
                        let status = response.status().as_u16();
                        let headers = response.headers().clone();
                        let body = actix_web::body::to_bytes(response.into_body()).await;
                        (status, headers, body.ok().unwrap())
                    }
                };
                let headers = headers.iter();
                Answer {
                    status,
                    headers: headers
                        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                        .collect(),
                    body: String::from_utf8(body.to_vec()).unwrap(),
                }
            }
        }
    };
    walk(on_actix(Dbsc::prefer()).await).await;
    walk_where_required(on_actix(Dbsc::require()).await).await;
}
