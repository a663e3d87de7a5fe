//! What a request costs in round trips, counted at the server: nothing where the
//! session is not touched, one to read, two to write, three at most to log in.

use cloakroom::session::Session;
use cloakroom::{CookiePolicy, Engine, Subject};
use cloakroom_testkit::key;

struct Site<'c> {
    engine: Engine,
    cookie: String,
    /// Round trips that the server has counted so far.
    counted: &'c dyn Fn() -> u64,
}

impl<'c> Site<'c> {
    async fn open(url: &str, counted: &'c dyn Fn() -> u64) -> Self {
        let store = cloakroom::open(url).await.unwrap();
        let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
        Self {
            engine: engine.build().unwrap(),
            cookie: String::new(),
            counted,
        }
    }

    /// What one request costs.
    async fn request(&mut self, handle: impl FnOnce(&Session)) -> u64 {
        let before = (self.counted)();
        let exchange = self.engine.exchange();
        let lines = [self.cookie.as_bytes()];
        let session = exchange.open(lines.into_iter()).await.unwrap();
        handle(&session);
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none(), "{:?}", closing.failure);
        if let Some(header) = closing.token_headers().first() {
            let pair = header.value().split(';').next();
            self.cookie = pair.unwrap().to_owned();
        }
        (self.counted)() - before
    }

    async fn costs_what_is_said(&mut self) {
        let write = |session: &Session| session.insert("n", 1).unwrap();
        let read = |session: &Session| assert!(session.contains("n"));
        let subject = Subject::new("ada").unwrap();
        let log_in = |session: &Session| session.set_subject(subject.clone()).unwrap();
        let log_out = |session: &Session| session.flush().unwrap();
        // The first of each makes connections, scripts and statements ready.
        for round in 0..2 {
            let create = self.request(write).await;
            let untouched = {
                let before = (self.counted)();
                let closing = self.engine.exchange().close(200).await;
                assert!(closing.token_headers().is_empty());
                (self.counted)() - before
            };
            let costs = [
                untouched,
                self.request(read).await,
                self.request(|session| session.insert("n", 2).unwrap())
                    .await,
                self.request(log_in).await,
                self.request(read).await,
            ];
            let logout = self.request(log_out).await;
            self.cookie.clear();
            println!(
                "create {create}; untouched, read, write, login, read {costs:?}; logout {logout}"
            );
            if round > 0 {
                assert_eq!((create, costs[0], costs[1], costs[2]), (1, 0, 1, 2));
                assert!(costs[3] <= 3 && costs[4] == 1 && logout == 2);
            }
        }
    }
}

/// Redis says how often it has read from a client: once a round trip here, where
/// nothing is sent before the last answer.
#[tokio::test]
async fn on_redis_a_request_costs_what_is_said() {
    let Some(server) = cloakroom_servers::Redis::start() else {
        return;
    };
    let counted = || {
        let info = server.command(&["INFO", "stats"]).unwrap();
        let mut lines = info.lines();
        let count = lines.find_map(|line| line.strip_prefix("total_reads_processed:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    // What it costs to ask: each asking is counted with the next one.
    let idle = counted();
    let asking = counted() - idle;
    let counted = move || {
        static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let asked = ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        counted() - asking * asked
    };
    let prefix = key().digest().short();
    let url = format!("{}?prefix={prefix}:", server.url());
    Site::open(&url, &counted).await.costs_what_is_said().await;
}

/// PostgreSQL logs each statement that it carries out.
#[tokio::test]
async fn on_postgres_a_request_costs_what_is_said() {
    let Some(server) = cloakroom_servers::Postgres::start_with(&["-c", "log_statement=all"]) else {
        return;
    };
    let counted = || {
        // The log is written before the answer is sent.
        let log = server.log();
        let is_one =
            |line: &&str| line.contains("LOG:  execute") || line.contains("LOG:  statement:");
        log.lines().filter(is_one).count() as u64
    };
    // Each statement is prepared once on each connection.
    let url = format!("{}?pool=1", server.url());
    Site::open(&url, &counted).await.costs_what_is_said().await;
}
