//! Real sites of other libraries are stopped, and ours takes over their cookies while it is
//! killed again and again: nobody is logged out, nobody comes back, no record is left.
//!
//! `CLOAKROOM_MOVES` says how many sessions each site has.

mod site;
mod visitor;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use cloakroom_servers::{Mariadb, Postgres, Redis};
use tempfile::TempDir;

use site::{Program, Site};
use visitor::Visitor;

/// How many visitors are served at once.
const AT_ONCE: usize = 6;

fn sessions() -> u64 {
    let sessions = env::var("CLOAKROOM_MOVES").ok();
    sessions.map_or(300, |text| {
        text.parse().expect("CLOAKROOM_MOVES is a number")
    })
}

/// A number that differs from call to call.
fn chance(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) % below
}

/// Which library's sessions are moved.
struct Move<'m> {
    former: Program,
    library: &'m str,
    place: String,
    protection: &'m str,
    /// Whether the former site itself knows that a session was ended.
    ends: bool,
}

/// Does something for each visitor, several at once.
fn each(visitors: &mut [Visitor], work: impl Fn(&mut Visitor) + Sync) {
    let left = Mutex::new(visitors.iter_mut());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no test panics here").next();
                    match next {
                        Some(visitor) => work(visitor),
                        None => break,
                    }
                }
            });
        }
    });
}

/// Kills a site at random moments, and starts it again, until it is told to stop. Answers how
/// often.
fn kill_now_and_then(site: &Site, is_over: &AtomicBool) -> usize {
    let mut kills = 0;
    // Some dozens of kills, however many sessions there are.
    let pause = 180 * (sessions() / 300).max(1);
    while !is_over.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20 + chance(pause)));
        site.kill();
        kills += 1;
        site.start();
    }
    kills
}

fn moved(of: &Move<'_>) {
    let folder = TempDir::new().expect("a temporary folder");
    let former = Site::new(of.former, &[&of.place, of.protection]);
    let mut visitors: Vec<Visitor> = (1..=sessions()).map(Visitor::new).collect();
    each(&mut visitors, |visitor| {
        visitor.log_in(&former);
        visitor.is_logged_in(&former);
        if of.ends && visitor.user % 10 == 0 {
            visitor.log_out(&former);
        }
    });
    former.kill();

    let store = format!("redb:{}", folder.path().join("sessions.redb").display());
    let ours = [&*store, of.library, &of.place, of.protection];
    let ours = Site::new(Program::Ours, &ours);
    let is_over = AtomicBool::new(false);
    let logged_out = AtomicUsize::new(0);
    let kills = thread::scope(|scope| {
        let killer = scope.spawn(|| kill_now_and_then(&ours, &is_over));
        each(&mut visitors, |visitor| {
            if visitor.is_out {
                return;
            }
            // A page, and what it loads at once.
            let both = visitor.says_twice(&ours);
            let again = visitor.says(&ours);
            let is_in = |says: &String| *says == format!("user {}", visitor.user);
            if !both.iter().chain([&again]).all(is_in) {
                println!("visitor {}: {both:?}, then {again}", visitor.user);
                logged_out.fetch_add(1, Ordering::SeqCst);
            }
            if visitor.user % 5 == 1 {
                visitor.log_out(&ours);
            }
        });
        is_over.store(true, Ordering::SeqCst);
        killer.join().expect("the killer does not panic")
    });

    let revived = AtomicUsize::new(0);
    each(&mut visitors, |visitor| {
        let out = visitor.is_out;
        let cookies = match out {
            true => visitor.all_cookies(),
            false => vec![visitor.cookies()],
        };
        for cookies in cookies {
            match (out, visitor.would_say(&ours, &cookies).as_str()) {
                (true, "nobody") => {}
                (true, says) => {
                    println!("visitor {} is out, and is {says}", visitor.user);
                    revived.fetch_add(1, Ordering::SeqCst);
                }
                (false, says) if says == format!("user {}", visitor.user) => {}
                (false, says) => {
                    println!("visitor {} is in, and is {says}", visitor.user);
                    logged_out.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    });
    ours.kill();

    // What the former site would still open lies in its store.
    let left = AtomicUsize::new(0);
    if of.ends {
        former.start();
        each(&mut visitors, |visitor| {
            let cookies = visitor.first_cookies();
            if visitor.would_say(&former, &cookies) != "nobody" {
                left.fetch_add(1, Ordering::SeqCst);
            }
        });
        former.kill();
    }
    let [logged_out, revived, left] = [logged_out, revived, left].map(AtomicUsize::into_inner);
    println!(
        "{} {}: {} sessions, {kills} kills; logged out {logged_out}, revived {revived}, former \
         records left {left}",
        of.library,
        of.protection,
        visitors.len()
    );
    assert_eq!((logged_out, revived, left), (0, 0, 0));
    assert!(kills > 0);
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite:{}?mode=rwc", folder.join("tower.db").display())
}

#[test]
fn tower_sessions_over_sqlite() {
    let folder = TempDir::new().expect("a temporary folder");
    for protection in ["plain", "signed", "private"] {
        moved(&Move {
            former: Program::Tower,
            library: "tower",
            place: sqlite(folder.path()),
            protection,
            ends: true,
        });
    }
}

#[test]
fn tower_sessions_over_postgres() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    tower(postgres.url());
}

#[test]
fn tower_sessions_over_mysql() {
    let Some(mariadb) = Mariadb::start() else {
        return;
    };
    tower(mariadb.url());
}

#[test]
fn tower_sessions_over_redis() {
    let Some(redis) = Redis::start() else { return };
    tower(redis.url());
}

fn tower(place: String) {
    moved(&Move {
        former: Program::Tower,
        library: "tower",
        place,
        protection: "plain",
        ends: true,
    });
}

#[test]
fn actix_session_over_redis() {
    let Some(redis) = Redis::start() else { return };
    for protection in ["private", "signed"] {
        moved(&Move {
            former: Program::Actix,
            library: "actix",
            place: redis.url(),
            protection,
            ends: true,
        });
    }
}

#[test]
fn actix_session_in_the_cookie() {
    moved(&Move {
        former: Program::Actix,
        library: "actix",
        place: "cookie".to_owned(),
        protection: "private",
        ends: false,
    });
}

#[test]
fn express_session_over_redis() {
    let Some(redis) = Redis::start() else { return };
    if !site::has_node() {
        return;
    }
    moved(&Move {
        former: Program::Express,
        library: "express",
        place: redis.url(),
        protection: "",
        ends: true,
    });
}

fn django(place: String, engine: &str) {
    if !site::has_python() {
        return;
    }
    moved(&Move {
        former: Program::Django,
        library: "django",
        place,
        protection: engine,
        ends: engine != "signed_cookies",
    });
}

#[test]
fn django_over_sqlite() {
    for engine in ["db", "cached_db", "file", "signed_cookies"] {
        let folder = TempDir::new().expect("a temporary folder");
        django(sqlite(folder.path()), engine);
    }
}

#[test]
fn django_over_postgres() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    django(postgres.url(), "db");
}

#[test]
fn django_over_mysql() {
    let Some(mariadb) = Mariadb::start() else {
        return;
    };
    django(mariadb.url(), "db");
}

/// Where Django ends the sessions of a user with the next request, none is adopted.
#[test]
fn a_password_that_was_changed_at_django_ends_what_was_not_adopted_yet() {
    if !site::has_python() {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let place = sqlite(folder.path());
    let former = Site::new(Program::Django, &[&place, "db"]);
    let mut visitors: Vec<Visitor> = (1..=4).map(Visitor::new).collect();
    for visitor in &mut visitors {
        visitor.log_in(&former);
    }
    assert_eq!(visitors[0].would_get(&former, "/password"), "changed");
    assert_eq!(visitors[1].would_get(&former, "/deactivate"), "inactive");
    former.kill();
    let store = format!("redb:{}", folder.path().join("sessions.redb").display());
    let ours = Site::new(Program::Ours, &[&store, "django", &place, "db"]);
    for _ in 0..2 {
        assert_eq!(visitors[0].says(&ours), "nobody");
        assert_eq!(visitors[1].says(&ours), "nobody");
        assert_eq!(visitors[2].says(&ours), "user 3");
        assert_eq!(visitors[3].says(&ours), "user 4");
    }
}
