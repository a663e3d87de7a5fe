//! The endpoint of devices and the extractor of a proven one, on axum and on actix-web.

use actix_web::dev::Service as _;
use actix_web::{App, web};
use cloakroom::Subject;
use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::OsEntropy;
use cloakroom_testkit::MapStore;
use cloakroom_tests::device_walk::{Answer, Asked, engine, proves_itself, walk};
use cloakroom_tests::embedded::Embedded;

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

#[actix_web::test]
async fn a_device_proves_itself_on_actix() {
    use actix_web::test::{TestRequest, init_service};
    use cloakroom::actix::{Bound, Session, SessionMiddleware, device_endpoint};

    async fn login(session: Session) -> actix_web::Result<&'static str> {
        session.set_subject(Subject::new("ada")?)?;
        Ok("")
    }
    let pay = async |visitor: Bound| format!("paid by {}", visitor.subject().as_str());
    let app = App::new()
        .route("/login", web::post().to(login))
        .route("/pay", web::get().to(pay))
        .route(Dbsc::PATH, web::post().to(device_endpoint))
        .wrap(SessionMiddleware::new(engine(MapStore::default())));
    let app = init_service(app).await;
    walk(async |(method, path, headers): Asked| {
        let mut request = TestRequest::with_uri(path).method(method.parse().unwrap());
        for header in headers {
            request = request.insert_header(header);
        }
        let response = app.call(request.to_request()).await.unwrap();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let status = response.status().as_u16();
        let body = actix_web::body::to_bytes(response.into_body()).await;
        let body = body.ok().unwrap().to_vec();
        Answer {
            status,
            headers,
            body: String::from_utf8(body).unwrap(),
        }
    })
    .await;
}
