//! A real OpenID provider logs a user out, and the session ends that came from it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs};

use axum::body::Bytes;
use axum::extract::{Path as Name, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Router, body::Body};
use cloakroom::axum::{Session, SessionError, SessionLayer};
use cloakroom::stores::MemoryStore;
use cloakroom::{CookiePolicy, Engine, ErrorKind, Subject};
use cloakroom_oidc::{BackChannelLogout, Keys};
use cloakroom_servers::free_port;
use cloakroom_tests::provider_walk::ends_by_provider;
use cloakroom_tests::{Browser, Site};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::fresh_stores;

/// A provider of OpenID Connect, `oidc-provider` of npm, with the browsers of its users.
struct Provider {
    child: Child,
    wishes: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    /// One for a client at this address, or says loudly that there is no Node on this machine.
    fn start(port: u16, client: SocketAddr) -> Option<Self> {
        if !has_node() {
            return None;
        }
        let mut command = Command::new("node");
        command.arg(installed().join("provider.mjs"));
        command
            .arg(port.to_string())
            .arg(format!("http://{client}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut provider = Self {
            wishes: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        provider.answer_of(|line| line == "ready");
        Some(provider)
    }

    /// The first line of that kind: it also prints advice to whoever runs it.
    fn answer_of(&mut self, is_meant: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the provider has ended");
            if is_meant(line.trim()) {
                return line;
            }
        }
    }

    /// Logs in with a new browser; answers the claims of the ID token.
    fn log_in(&mut self, name: &str) -> Value {
        writeln!(self.wishes, "login {name}").unwrap();
        let line = self.answer_of(|line| line.starts_with('{'));
        serde_json::from_str(&line).unwrap()
    }

    /// Logs a browser out at the provider, which tells the client before it answers.
    fn log_out(&mut self, browser: usize) {
        writeln!(self.wishes, "logout {browser}").unwrap();
        self.answer_of(|line| line == "done");
    }
}

fn has_node() -> bool {
    let version = Command::new("node").arg("--version").output();
    let is_there = version.is_ok_and(|version| version.status.success());
    if !is_there {
        let text = "SKIPPED: there is no Node to run an OpenID provider with";
        assert!(env::var_os("CI").is_none(), "{text}");
        println!("{text}");
    }
    is_there
}

/// The folder of the provider, with its packages.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openid-provider");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("openid-provider");
    fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "provider.mjs"] {
        fs::copy(from.join(file), folder.join(file)).unwrap();
    }
    if !folder.join("node_modules").exists() {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent"]).current_dir(&folder);
        assert!(npm.status().unwrap().success(), "npm ci failed");
    }
    folder
}

/// What a site does with an ID token that it has checked; the test has it from the provider.
async fn log_in(
    State(logout): State<BackChannelLogout>,
    session: Session,
    Name((sub, sid)): Name<(String, String)>,
) -> Result<(), SessionError> {
    session.set_subject(Subject::new(sub)?)?;
    Ok(logout.tie(&session, &sid)?)
}

async fn logged_out(
    State(logout): State<BackChannelLogout>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let answer = logout.receive(content_type, &body).await;
    let status = StatusCode::from_u16(answer.status).unwrap();
    (status, answer.headers, answer.body).into_response()
}

async fn whose(session: Session) -> String {
    let subject = session.subject();
    match (subject, session.ended_because()) {
        (Some(subject), _) => subject.as_str().to_owned(),
        (None, Some(ended)) => {
            let note = ended.note.map(|note| note.as_str().to_owned());
            format!("{} {}", ended.because, note.unwrap_or_default())
        }
        (None, None) => "nobody".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_logins_by_a_real_provider_the_one_that_it_ends_is_over() {
    let port = free_port();
    let issuer = format!("http://127.0.0.1:{port}");
    let engine = Engine::builder(MemoryStore::default()).cookie(CookiePolicy::loopback_http());
    let engine = engine.build().unwrap();
    let jwks = SocketAddr::from(([127, 0, 0, 1], port));
    let keys = Keys::fetched(move || async move {
        let browser = Browser::at(jwks);
        let request = browser.request(Method::GET, "/jwks").body(Body::empty());
        let answer = browser.try_send(request.unwrap()).await;
        let answer = answer.ok_or("the provider does not answer")?;
        let text = answer.into_body().collect().await?.to_bytes();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(String::from_utf8(text.to_vec())?)
    });
    let logout = BackChannelLogout::new(engine.clone(), &issuer, "shop", keys).unwrap();
    let router = Router::new()
        .route("/login/{sub}/{sid}", post(log_in))
        .route("/whose", get(whose))
        .layer(SessionLayer::new(engine))
        .route("/logged-out", post(logged_out))
        .with_state(logout);
    let site = Site::serve(router).await;
    let Some(mut provider) = Provider::start(port, site.addr) else {
        return;
    };

    let mut browsers = Vec::new();
    for name in ["ada", "ada", "bob"] {
        let claims = provider.log_in(name);
        let (sub, sid) = (claims["sub"].as_str(), claims["sid"].as_str());
        let path = format!("/login/{}/{}", sub.unwrap(), sid.unwrap());
        let browser = site.browser();
        assert_eq!(browser.post(&path).await.status, 200);
        browsers.push(browser);
    }
    for (browser, whose) in browsers.iter().zip(["ada", "ada", "bob"]) {
        assert_eq!(browser.get("/whose").await.body, whose);
    }
    provider.log_out(1);
    let told = browsers[1].get("/whose").await.body;
    assert_eq!(told, format!("logged_out_elsewhere {issuer}"));
    assert_eq!(browsers[0].get("/whose").await.body, "ada");
    assert_eq!(browsers[2].get("/whose").await.body, "bob");
    provider.log_out(0);
    assert!(
        browsers[0]
            .get("/whose")
            .await
            .body
            .starts_with("logged_out_elsewhere")
    );
    assert_eq!(browsers[2].get("/whose").await.body, "bob");
}

/// The same as over the stores of one machine.
#[tokio::test]
async fn a_provider_ends_its_sessions_in_every_store_on_a_server() {
    for options in ["", "&cache=8MiB&stale=5s&sealed=true"] {
        for fresh in fresh_stores::all() {
            let store = cloakroom::open(&format!("{}{options}", fresh.url)).await;
            let store = store.unwrap_or_else(|error| panic!("{}: {error}", fresh.name));
            ends_by_provider(store).await;
        }
    }
}

#[test]
fn a_store_that_cannot_end_a_session_is_refused() {
    use cloakroom::cookie::{CookieStore, KeyRing};
    use cloakroom::engine::OsEntropy;
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let engine = Engine::new(
        CookieStore::builder("__Host-session", &ring)
            .build()
            .unwrap(),
    );
    let keys = Keys::given(r#"{"keys":[]}"#).unwrap();
    let refused = BackChannelLogout::new(engine, "https://id.example", "shop", keys);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Misconfigured);
}
