//! A visitor whose stored session cannot be read any more begins anew, and can log in.

use std::fs;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::{get, post};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::{Engine, Subject};
use cloakroom_tests::Site;

type Page = Result<String, SessionError>;

fn site(engine: Engine) -> Router {
    Router::new()
        .route(
            "/",
            get(async |session: Session| -> Page {
                let subject = session.subject();
                Ok(subject.map_or("nobody".to_owned(), |subject| subject.as_str().to_owned()))
            }),
        )
        .route(
            "/login",
            post(async |session: Session| -> Page {
                session.set_subject(Subject::new("ada")?)?;
                Ok("in".to_owned())
            }),
        )
        .layer(SessionLayer::new(engine))
}

/// The one file of a session below a folder: of its digest, in some folder of its own.
fn session_file(folder: &Path, hex: &str) -> Option<PathBuf> {
    let paths = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| !path.ends_with("locks") && !path.ends_with("subjects"))
        .find_map(|path| match path.is_dir() {
            true => session_file(&path, hex),
            false => path.to_string_lossy().contains(&hex[8..]).then_some(path),
        })
}

#[tokio::test]
async fn a_visitor_whose_file_became_a_folder_begins_anew_and_logs_in() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("sessions");
    let store = cloakroom::open(&format!("file:{}", root.display()))
        .await
        .unwrap();
    let engine = Engine::new(store);
    let site = Site::serve(site(engine.clone())).await;
    let browser = site.browser();
    browser.post("/login").await;
    assert_eq!(browser.get("/").await.body, "ada");

    let ids = engine
        .sessions_of(&Subject::new("ada").unwrap())
        .await
        .unwrap();
    let file = session_file(&root, &ids[0].id.to_hex()).expect("the file of the session");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();

    let reply = browser.get("/").await;
    assert_eq!((reply.status, &*reply.body), (200, "nobody"));
    assert_eq!(browser.post("/login").await.status, 200);
    assert_eq!(browser.get("/").await.body, "ada");
}
