//! A site whose visitors log in, count, rotate their keys and log out moves all its sessions
//! from redb to PostgreSQL, and from there to Redis. What moves them is killed twice on each
//! way: nothing that was acknowledged is lost, and nobody who was logged out comes back.
//!
//! redb belongs to one process, so on the first way the site moves its sessions itself. On the
//! second one the command does it from outside, and is killed together with the site.
//!
//! `CLOAKROOM_LIVE_SESSIONS` says how many sessions there are when it begins (600); `just
//! migrate` takes 200,000.

mod site;
mod visitor;

use std::num::NonZeroU32;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom_servers::{Postgres, Redis};
use tempfile::tempdir;

use crate::support::{block_on, cloakroom, create, held, json, local, record};
use site::{Client, Site, Stores};
use visitor::{State, Tally, Visitor};

/// Each has visitors of its own, one request at a time.
const CLIENTS: usize = 8;
const REQUESTS_PER_SECOND: u32 = 200;

fn sessions() -> u64 {
    let sessions = std::env::var("CLOAKROOM_LIVE_SESSIONS").ok();
    sessions.map_or(600, |text| text.parse().expect("a number of sessions"))
}

/// So fast that the killer comes in time where there are few sessions.
fn moved_per_second(sessions: u64) -> NonZeroU32 {
    let rate = u32::try_from(sessions / 200).expect("fewer sessions");
    NonZeroU32::new(rate.clamp(150, 1_000)).expect("it is not zero")
}

/// A number that differs from call to call.
fn chance(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) % below
}

/// Does something for each client's visitors, all at once.
fn each<T: Send>(
    parts: &mut [Vec<Visitor>],
    work: impl Fn(&mut Vec<Visitor>) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let working: Vec<_> = parts
            .iter_mut()
            .map(|visitors| scope.spawn(|| work(visitors)))
            .collect();
        working
            .into_iter()
            .map(|work| work.join().unwrap())
            .collect()
    })
}

/// So many visitors who are logged in, and whose sessions lie in redb.
fn fill(redb: &str, sessions: u64) -> Vec<Vec<Visitor>> {
    block_on(async {
        let store = cloakroom::open(redb).await.unwrap();
        let created = (0..CLIENTS as u64).map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let users = (client..sessions).step_by(CLIENTS);
                let mut visitors = Vec::new();
                // In batches, which share a sync.
                let users: Vec<u64> = users.collect();
                for batch in users.chunks(64) {
                    let creating = batch.iter().map(|user| {
                        let store = store.clone();
                        let user = user.to_string();
                        tokio::spawn(async move {
                            let (_, token) = create(&store, &record(Some(&user))).await;
                            Visitor::new(user, token)
                        })
                    });
                    for visitor in creating.collect::<Vec<_>>() {
                        visitors.push(visitor.await.unwrap());
                    }
                }
                visitors
            })
        });
        let mut parts = Vec::new();
        for part in created.collect::<Vec<_>>() {
            parts.push(part.await.unwrap());
        }
        store.close().await.unwrap();
        parts
    })
}

/// One way: where from and where to, and who moves the sessions.
struct Way<'w> {
    name: &'static str,
    stores: Stores,
    by_command: bool,
    per_second: NonZeroU32,
    /// How many sessions have moved.
    moved: &'w (dyn Fn() -> u64 + Sync),
}

impl Way<'_> {
    fn start_command(&self) -> Option<Child> {
        let rate = self.per_second.to_string();
        let arguments = [
            "migrate",
            "env:FROM",
            "env:TO",
            "--yes",
            "--json",
            "--per-second",
            &rate,
        ];
        let mut command = cloakroom(&arguments);
        command
            .env("FROM", self.stores.from.as_ref().expect("both are there"))
            .env("TO", &self.stores.to)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.by_command.then(|| command.spawn().unwrap())
    }

    /// Kills what moves and what serves, twice, each time when another third has moved, and
    /// lets it come to its end.
    fn move_all(&self, site: &Site, sessions: u64) {
        let mut command = self.start_command();
        for third in 1..=2 {
            let mut asking = Duration::ZERO;
            while (self.moved)() < sessions * third / 3 {
                if let Some(command) = &mut command {
                    assert!(
                        command.try_wait().unwrap().is_none(),
                        "it was not killed in time"
                    );
                }
                // To ask costs the database more than to move, where there are many.
                thread::sleep(Duration::from_millis(10) + 20 * asking);
                let begun = Instant::now();
                (self.moved)();
                asking = begun.elapsed();
            }
            // SIGKILL.
            if let Some(mut command) = command.take() {
                command.kill().unwrap();
                command.wait().unwrap();
            }
            site.kill();
            let moved = (self.moved)();
            println!("{}: killed when {moved} had moved", self.name);
            assert!(moved < sessions, "it was killed on the way");
            site.start(&self.stores);
            command = self.start_command();
        }
        match command {
            Some(command) => {
                let moved = json(command.wait_with_output().unwrap());
                assert_eq!(moved["unreadable"], 0, "{moved}");
                println!("{}: the last command moved {}", self.name, moved["moved"]);
            }
            None => println!(
                "{}: the last process moved {}",
                self.name,
                site.wait_for_copy()
            ),
        }
    }

    fn go(&self, parts: &mut [Vec<Visitor>], next_user: &AtomicU64, sessions: u64) -> Tally {
        let site = Site::default();
        site.start(&self.stores);
        let (begun, is_over) = (Instant::now(), AtomicBool::new(false));
        let tallies = thread::scope(|scope| {
            let visiting = scope.spawn(|| {
                each(parts, |visitors| {
                    let client = Client::new(&site);
                    visitor::visit_until(&is_over, client, visitors, next_user)
                })
            });
            self.move_all(&site, sessions);
            is_over.store(true, Ordering::SeqCst);
            visiting.join().unwrap()
        });
        // What was cut off by the last kill has an outcome now.
        each(parts, |visitors| {
            let mut client = Client::new(&site);
            visitors
                .iter_mut()
                .for_each(|visitor| visitor.resolve(&mut client));
        });
        site.kill();
        let tally: Tally = tallies.into_iter().sum();
        let secs = begun.elapsed().as_secs_f64();
        let rate = f64::from(tally.answered()) / secs;
        println!(
            "{}: {secs:.0} s, {rate:.0} requests a second; {tally:?}",
            self.name
        );
        tally
    }
}

/// What became of everybody, asked of the store that has all sessions now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    logged_in: usize,
    logged_out: usize,
    lost: usize,
    revived: usize,
    /// Whose new key was on its way when the site was killed.
    adrift: Vec<String>,
}

fn judge(parts: &mut [Vec<Visitor>], store: &str) -> Verdict {
    let site = Site::default();
    site.start(&Stores::alone(store));
    let judged = each(parts, |visitors| {
        let (mut client, mut verdict) = (Client::new(&site), Verdict::default());
        for visitor in visitors {
            match visitor.state {
                State::LoggedOut => verdict.logged_out += 1,
                State::Adrift => verdict.adrift.push(visitor.user.clone()),
                _ => {
                    verdict.logged_in += 1;
                    verdict.lost += usize::from(!visitor.is_as_told(&mut client));
                }
            }
            verdict.revived += visitor.opened_by_former_keys(&mut client);
        }
        verdict
    });
    site.kill();
    judged
        .into_iter()
        .fold(Verdict::default(), |mut all, part| {
            all.logged_in += part.logged_in;
            all.logged_out += part.logged_out;
            all.lost += part.lost;
            all.revived += part.revived;
            all.adrift.extend(part.adrift);
            all
        })
}

#[test]
fn live_sessions_move_from_redb_to_postgres_and_on_to_redis() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start()) else {
        return;
    };
    let folder = tempdir().unwrap();
    let (redb, sessions) = (local("redb", folder.path()), sessions());
    let mut parts = fill(&redb, sessions);
    println!("{sessions} sessions lie in redb");

    // What moves leave behind is of no site.
    let in_postgres = || {
        let count = "SELECT count(*) FROM cloakroom_sessions WHERE octet_length(site) > 0";
        let counted = postgres
            .query(count)
            .map(|rows| rows[0][0].parse().unwrap());
        // The table is made when the site starts.
        counted.unwrap_or(0)
    };
    let (next_user, per_second) = (AtomicU64::new(sessions), moved_per_second(sessions));
    let there = Way {
        name: "redb to PostgreSQL",
        stores: Stores {
            from: Some(redb.clone()),
            to: postgres.url(),
            copied_per_second: Some(per_second),
        },
        by_command: false,
        per_second,
        moved: &in_postgres,
    };
    let tally = there.go(&mut parts, &next_user, sessions);
    assert!(tally.is_of_everything(), "{tally:?}");
    assert_eq!(held(&redb), 0, "redb is empty");

    let all = in_postgres();
    let on = Way {
        name: "PostgreSQL to Redis",
        stores: Stores {
            from: Some(postgres.url()),
            to: redis.url(),
            copied_per_second: None,
        },
        by_command: true,
        per_second,
        moved: &|| all.saturating_sub(in_postgres()),
    };
    let tally = on.go(&mut parts, &next_user, all);
    assert!(tally.is_of_everything(), "{tally:?}");
    assert_eq!(in_postgres(), 0, "PostgreSQL is empty");

    let verdict = judge(&mut parts, &redis.url());
    println!("{verdict:?}");
    assert_eq!((verdict.lost, verdict.revived), (0, 0));
    assert!(verdict.logged_in > 0 && verdict.logged_out > 0);
    // The session of somebody who did not hear of their new key stands all the same.
    for user in verdict.adrift {
        let mut list = cloakroom(&["list", "--subject", &user, "--json"]);
        let listed = json(list.env("CLOAKROOM_STORE", redis.url()).output().unwrap());
        let listed = listed["sessions"].as_array().map(Vec::len);
        assert_eq!(listed, Some(1), "user {user}");
    }
}
