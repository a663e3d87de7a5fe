//! Four processes on one session, 64 concurrent updates each: every one counts.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloakroom::{CookiePolicy, Engine};

use crate::fresh_stores;

const PROCESSES: usize = 4;
const UPDATES: usize = 64;

/// Where a child finds its store, and the cookie of the session.
const URL: &str = "CLOAKROOM_TEST_URL";
const COOKIE: &str = "CLOAKROOM_TEST_COOKIE";

/// Who has won goes on with its next request at once, who has lost makes a pause: where
/// a write takes long, one of four may lose for longer than an application would wait.
const CONFLICT_DEADLINE: Duration = Duration::from_secs(60);

async fn engine(url: &str) -> Engine {
    let store = cloakroom::open(url).await.unwrap();
    Engine::builder(store)
        .cookie(CookiePolicy::loopback_http())
        .conflict_deadline(CONFLICT_DEADLINE)
        .build()
        .unwrap()
}

/// One request; what its session counts, and its `Set-Cookie`.
async fn request(engine: &Engine, cookie: &str, count: bool) -> (u64, Option<String>) {
    let exchange = engine.exchange();
    let lines = [cookie.as_bytes()];
    let session = exchange.open(lines.into_iter()).await.unwrap();
    if count {
        session.update("n", |n: &mut u64| *n += 1).unwrap();
    }
    let counted = session.get("n").unwrap().unwrap_or(0);
    let closing = exchange.close(200).await;
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let header = closing.token_headers().first();
    let header = header.map(|header| header.value().to_owned());
    (counted, header)
}

/// Not a test of its own: what each of the processes runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(url), Ok(cookie)) = (std::env::var(URL), std::env::var(COOKIE)) else {
        return;
    };
    let engine = engine(&url).await;
    let updates: Vec<_> = (0..UPDATES)
        .map(|_| {
            let (engine, cookie) = (engine.clone(), cookie.clone());
            tokio::spawn(async move { request(&engine, &cookie, true).await })
        })
        .collect();
    for update in updates {
        update.await.unwrap();
    }
}

fn spawn(url: &str, cookie: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["several_processes::child", "--exact", "--nocapture"])
        .env(URL, url)
        .env(COOKIE, cookie)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn each_update_of_four_processes_counts(url: &str) {
    let engine = engine(url).await;
    let (_, set) = request(&engine, "", true).await;
    let set = set.unwrap();
    let cookie = set.split(';').next().unwrap();
    let children: Vec<_> = (0..PROCESSES).map(|_| spawn(url, cookie)).collect();
    for child in children {
        let done = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{told}");
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(told.contains("1 passed"), "the child has run: {told}");
    }
    let (counted, _) = request(&engine, cookie, false).await;
    // One by this process, and theirs.
    assert_eq!(counted as usize, 1 + PROCESSES * UPDATES);
}

#[tokio::test]
async fn on_each_server_each_update_of_four_processes_counts() {
    for fresh in fresh_stores::all() {
        let start = std::time::Instant::now();
        each_update_of_four_processes_counts(&fresh.url).await;
        println!("{}: 257 updates in {:?}", fresh.name, start.elapsed());
    }
}

#[tokio::test]
async fn on_files_each_update_of_four_processes_counts() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().join("sessions").display());
    each_update_of_four_processes_counts(&url).await;
}
