//! Runs the command, and puts sessions into stores for it to find.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cloakroom::engine::{Binding, OsEntropy, SessionKey, TokenStore as _};
use cloakroom::session::{Limits, Value};
use cloakroom::store::{Data, KeyDigest, Record, Stored};
use cloakroom::{
    Aal, AnyStore, Clock as _, Engine, Label, Login, ProviderSession, Site, Subject, SystemClock,
};
use serde_json::Value as Json;

/// What stands in the sessions of [`Sessions`], and must never be printed unasked.
pub(crate) const SECRET_VALUE: &str = "swordfish-in-the-cart";

/// The command, to be run by these arguments, with no store in its environment.
pub(crate) fn cloakroom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("CLOAKROOM_STORE")
        .stdin(Stdio::null());
    command
}

/// Runs a subcommand over the store that the environment names.
pub(crate) fn over(store: &str, arguments: &[&str]) -> Output {
    let mut command = cloakroom(arguments);
    command.env("CLOAKROOM_STORE", store).output().unwrap()
}

/// The same, with a text on its standard input.
pub(crate) fn over_with_input(store: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = cloakroom(arguments);
    command
        .env("CLOAKROOM_STORE", store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who fails before it reads has closed the pipe.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What was printed, of a command that has succeeded and said nothing else.
pub(crate) fn text(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said, "", "a pipe is quiet");
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
pub(crate) fn json(output: Output) -> Json {
    serde_json::from_str(&text(output)).unwrap()
}

/// The one line that a command says which fails by this code, and prints nothing.
pub(crate) fn failure(output: Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let lines: Vec<&str> = said.lines().filter(|line| !line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].starts_with("cloakroom: "), "{said}");
    lines[0].to_owned()
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// The URL of a store of this scheme in a folder.
pub(crate) fn local(scheme: &str, folder: &Path) -> String {
    format!("{scheme}:{}", folder.join("sessions").display())
}

/// Under which the bound cookies of those sessions would be made: printed nowhere.
const BINDING_SECRET: [u8; 32] = [0xA7; 32];

/// Sessions in a store: two of Ada, one of Bob that has expired, one of nobody.
pub(crate) struct Sessions {
    pub(crate) ada: [KeyDigest; 2],
    pub(crate) bob: KeyDigest,
    pub(crate) nobody: KeyDigest,
    /// What Ada's first visit holds as its cookie.
    pub(crate) token: String,
}

pub(crate) fn site() -> Site {
    Site::new("__Host-session").unwrap()
}

/// A record as a site writes it, which began two hours ago and lives for a day.
pub(crate) fn record(subject: Option<&str>) -> Record {
    let now = SystemClock.now();
    let hour = Duration::from_secs(3_600);
    let began = cloakroom::Timestamp::from_millis(now.as_millis() - 7_200_000);
    let mut record = Record::new(began, now.saturating_add(24 * hour));
    record.site = site();
    record.subject = subject.map(|subject| Subject::new(subject).unwrap());
    record.login = subject.map(|_| {
        let mut login = Login::default();
        login.authenticated_at = Some(began);
        login.level = Aal::Two;
        login.method = Some(Label::new("pass\u{7}key").unwrap());
        let provider = ProviderSession::new("https://id.example", "s1").unwrap();
        login.provider = Some(Box::new(provider));
        login.binding = Some(Box::new(Binding::offered(BINDING_SECRET, began)));
        Arc::new(login)
    });
    record.label = Some(Label::new("Firefox \u{1b}[31mon Linux").unwrap());
    let values = [("cart", Value::Str(SECRET_VALUE.into()))];
    record.data = Data::from_values(values, &Limits::default()).unwrap();
    record
}

pub(crate) async fn create(store: &AnyStore, record: &Record) -> (KeyDigest, String) {
    let key = SessionKey::generate(&OsEntropy).unwrap().of_site(&site());
    store.create_token(&key, record).await.unwrap();
    (key.digest(), key.to_token().expose().to_owned())
}

/// Logs a user in by an identity provider, as a site does it.
pub(crate) fn log_in_by_provider(url: &str, subject: &str) {
    block_on(async {
        let store = cloakroom::open(url).await.unwrap();
        let exchange = Engine::new(store.clone()).exchange();
        let session = exchange.open([].into_iter()).await.unwrap();
        session.set_subject(Subject::new(subject).unwrap()).unwrap();
        let of = ProviderSession::new("https://id.example", "s2").unwrap();
        session.set_provider_session(of).unwrap();
        assert!(exchange.close(200).await.failure.is_none());
        store.close().await.unwrap();
    });
}

impl Sessions {
    /// Puts them into the store, and leaves it.
    pub(crate) fn in_store(url: &str) -> Self {
        block_on(async {
            let store = cloakroom::open(url).await.unwrap();
            let sessions = Self::create(&store).await;
            store.close().await.unwrap();
            sessions
        })
    }

    pub(crate) async fn create(store: &AnyStore) -> Self {
        let (first, token) = create(store, &record(Some("ada"))).await;
        let (second, _) = create(store, &record(Some("ada"))).await;
        let (nobody, _) = create(store, &record(None)).await;
        let mut expired = record(Some("bob"));
        // Older than what a sweep leaves for the sake of clocks that differ.
        expired.expires_at = expired.created_at;
        let (bob, _) = create(store, &expired).await;
        Self {
            ada: [first, second],
            bob,
            nobody,
            token,
        }
    }
}

/// How many sessions a store holds, expired ones included.
pub(crate) fn held(url: &str) -> usize {
    block_on(async {
        let store = cloakroom::open(url).await.unwrap();
        let scan = store.token_capabilities().scan.unwrap();
        let (mut held, mut next) = (0, None);
        loop {
            let page = scan.scan(next.as_ref(), 1_000).await.unwrap();
            let stored = page.items.into_iter().map(|item| item.stored.unwrap());
            let records = stored.filter_map(Stored::into_record);
            // What a move leaves behind is of no site.
            held += records
                .filter(|record| !record.site.as_str().is_empty())
                .count();
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        store.close().await.unwrap();
        held
    })
}
