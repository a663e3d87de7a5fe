//! A site moves from redb to PostgreSQL while visitors log in, count, rotate and log out,
//! and is killed twice on the way: nothing that was acknowledged is lost, nobody who was
//! logged out comes back, and redb is empty at the end.
//!
//! A child works on the two stores. It appends a line to a ledger before each operation
//! and one when it is acknowledged. The parent kills it while sessions are in both stores;
//! the next child goes on from the ledger, and judges all that it finds by it. The last one
//! is let to come to the end.
//!
//! `CLOAKROOM_MIGRATIONS` says how often all of it is done (1).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::store::{Data, KeyDigest, Record, Revoke, SessionStore, Stored};
use cloakroom::stores::{Migrating, RedbStore, SqlStore};
use cloakroom::{Clock as _, Subject, SystemClock};
use cloakroom_testkit::sample;
use cloakroom_tests::embedded::Chance;

/// Where a child finds its stores and its ledger, and the seed of its choices.
const VARIABLES: [&str; 4] = ["REDB", "POSTGRES", "LEDGER", "SEED"];

const SESSIONS: u64 = 1_200;
const COPIED_PER_SECOND: u32 = 250;
/// Each has sessions of its own, so that the ledger of a session is in order.
const VISITORS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);
/// Each rotation leaves a rotation mark, and a logout follows so many.
const ROTATIONS_MAX: u64 = 20;

/// What a session may be, as far as the ledger tells.
#[derive(Clone, Debug, Default)]
struct Told {
    is_begun: bool,
    is_created: bool,
    count_least: u64,
    count_most: u64,
    key_least: u64,
    key_most: u64,
    is_ending: bool,
    is_ended: bool,
}

impl Told {
    /// Takes in a line: whether it was acknowledged, what was done, and the number to
    /// which it leads.
    fn note(&mut self, is_done: bool, deed: &str, number: u64) {
        match (is_done, deed) {
            (false, "new") => self.is_begun = true,
            (true, "new") => self.is_created = true,
            (false, "count") => self.count_most = number,
            (true, "count") => self.count_least = number,
            (false, "rotate") => self.key_most = number,
            (true, "rotate") => self.key_least = number,
            (false, "end") => self.is_ending = true,
            (true, "end") => self.is_ended = true,
            _ => panic!("no line of a ledger: {deed}"),
        }
    }
}

type Ledger = BTreeMap<u64, Told>;

fn read(path: &Path) -> Ledger {
    let mut ledger = Ledger::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [when, deed, session, number] = words[..] else {
            panic!("no line of a ledger: {line}");
        };
        let told = ledger.entry(session.parse().unwrap()).or_default();
        told.note(when == "done", deed, number.parse().unwrap());
    }
    ledger
}

/// The digest of a session's key after so many rotations.
fn digest(session: u64, rotations: u64) -> KeyDigest {
    let mut chance = Chance::new(session * 1_000 + rotations);
    KeyDigest::from_bytes(chance.bytes(32).try_into().unwrap())
}

fn record(session: u64) -> Record {
    let mut record = sample("");
    record.subject = Some(Subject::new(format!("user {session}")).unwrap());
    record.data = Data::from_bytes(0_u64.to_le_bytes());
    record
}

fn count_of(record: &Record) -> u64 {
    u64::from_le_bytes(record.data.as_bytes().try_into().unwrap())
}

/// Where a session is, judged by its ledger.
async fn find<S: SessionStore>(
    store: &S,
    session: u64,
    told: &mut Told,
) -> Option<(KeyDigest, Record)> {
    let mut found = None;
    for rotations in 0..=told.key_most {
        let at = digest(session, rotations);
        let stored = store.load(&at).await.unwrap();
        if let Some(Stored::Record(record)) = stored {
            assert!(found.is_none(), "two keys open session {session}: {told:?}");
            assert!(rotations >= told.key_least, "an old key opens: {told:?}");
            found = Some((rotations, at, record));
        }
    }
    let Some((rotations, at, record)) = found else {
        let may_be_missing = told.is_ending || !told.is_created;
        assert!(may_be_missing, "session {session} is lost: {told:?}");
        told.is_ended = told.is_ending;
        return None;
    };
    assert!(!told.is_ended, "session {session} came back: {told:?}");
    let count = count_of(&record);
    let counts = told.count_least..=told.count_most;
    assert!(
        counts.contains(&count),
        "session {session} has {count}: {told:?}"
    );
    // What was in flight when the last child was killed has an outcome now.
    (told.count_least, told.count_most) = (count, count);
    (told.key_least, told.key_most, told.is_created) = (rotations, rotations, true);
    Some((at, record))
}

/// A visitor of a part of the sessions.
struct Visitor<S> {
    store: Arc<S>,
    file: Arc<File>,
    ledger: Ledger,
    chance: Chance,
}

impl<S: SessionStore> Visitor<S> {
    async fn deed<T>(
        &mut self,
        session: u64,
        (deed, number): (&str, u64),
        work: impl Future<Output = Result<T, cloakroom::Error>>,
    ) -> T {
        let told = self.ledger.entry(session).or_default();
        told.note(false, deed, number);
        write(&self.file, &format!("begun {deed} {session} {number}\n"));
        let done = work.await.unwrap();
        told.note(true, deed, number);
        write(&self.file, &format!("done {deed} {session} {number}\n"));
        done
    }

    async fn visit(&mut self, session: u64) {
        let store = self.store.clone();
        let told = self.ledger.entry(session).or_default();
        let first = digest(session, 0);
        if told.is_created && !told.is_ending && self.chance.below(20) == 0 {
            // Nobody has looked for it, so it may be in redb still.
            return self.deed(session, ("end", 0), store.delete(&first)).await;
        }
        let Some((at, mut record)) = find(&*store, session, told).await else {
            if !self.ledger[&session].is_begun {
                let (at, record) = (digest(session, 0), record(session));
                let create = store.create(&at, &record);
                self.deed(session, ("new", 0), create).await;
            }
            return;
        };
        let told = self.ledger[&session].clone();
        match self.chance.below(20) {
            0..9 => {
                let next = told.count_least + 1;
                record.data = Data::from_bytes(next.to_le_bytes());
                let update = store.update(&at, &record);
                self.deed(session, ("count", next), update).await;
            }
            9..12 if told.key_most < ROTATIONS_MAX => {
                let next = told.key_most + 1;
                let (new, until) = (digest(session, next), record.expires_at);
                let rotate = store.rotate(&at, &new, &record, until);
                self.deed(session, ("rotate", next), rotate).await;
            }
            12 => {
                // By its first key, as of a logout that many rotations have overtaken.
                let delete = store.delete(&first);
                self.deed(session, ("end", 0), delete).await;
            }
            13 => {
                let subject = record.subject_digest().unwrap();
                let subjects = store.capabilities().required_subjects().unwrap();
                let revoke = subjects.revoke(&subject, Revoke::All);
                self.deed(session, ("end", 0), revoke).await;
            }
            14 => {
                let touch = cloakroom::store::Touch::from(&record);
                store.touch(&at, record.revision, touch).await.unwrap();
            }
            _ => {}
        }
    }
}

/// One `write` of the system, so that a kill cuts no line that another has begun.
fn write(mut file: &File, line: &str) {
    file.write_all(line.as_bytes()).unwrap();
}

async fn postgres(url: &str) -> SqlStore {
    let store = SqlStore::builder().connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// Not a test of its own: what each of the processes runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let told = VARIABLES.map(|name| std::env::var(format!("CLOAKROOM_MOVE_{name}")));
    let [Ok(redb), Ok(url), Ok(ledger), Ok(seed)] = told else {
        return;
    };
    let store = Migrating::new(RedbStore::open(&redb).unwrap(), postgres(&url).await).unwrap();
    let store = Arc::new(store);
    let known = read(Path::new(&ledger));
    let file = Arc::new(OpenOptions::new().append(true).open(&ledger).unwrap());
    let is_copied = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = (0..VISITORS)
        .map(|number| {
            let mine = known
                .iter()
                .filter(|(session, _)| *session % VISITORS == number);
            let mut visitor = Visitor {
                store: store.clone(),
                file: file.clone(),
                ledger: mine
                    .map(|(session, told)| (*session, told.clone()))
                    .collect(),
                chance: Chance::new(seed.parse::<u64>().unwrap() + number),
            };
            let is_copied = is_copied.clone();
            tokio::spawn(async move {
                while !is_copied.load(Ordering::SeqCst) {
                    // Some of these begin now.
                    let any = visitor.chance.below(SESSIONS / VISITORS * 5 / 4);
                    visitor.visit(any * VISITORS + number).await;
                    tokio::time::sleep(PAUSE).await;
                }
            })
        })
        .collect();
    let rate = NonZeroU32::new(COPIED_PER_SECOND).unwrap();
    let copied = store.copy(rate).await.unwrap();
    is_copied.store(true, Ordering::SeqCst);
    for visitor in visitors {
        visitor.await.unwrap();
    }
    println!("the last process moved {} sessions", copied.moved);
}

struct Move {
    redb: PathBuf,
    url: String,
    ledger: PathBuf,
}

impl Move {
    fn spawn(&self, seed: u64) -> Child {
        let seed = seed.to_string();
        let values = [
            self.redb.to_str().unwrap(),
            &self.url,
            self.ledger.to_str().unwrap(),
            &seed,
        ];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["migration::child", "--exact", "--nocapture"]);
        for (name, value) in VARIABLES.into_iter().zip(values) {
            command.env(format!("CLOAKROOM_MOVE_{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How many records redb holds, and how many rotation marks.
    async fn left_in_redb(&self) -> [usize; 2] {
        let store = RedbStore::open(&self.redb).unwrap();
        let capabilities = store.capabilities();
        let (scan, mut left, mut next) = (capabilities.scan.unwrap(), [0, 0], None);
        loop {
            let page = scan.scan(next.as_ref(), 1_000).await.unwrap();
            for item in page.items {
                let is_mark = matches!(item.stored.unwrap(), Stored::Rotated { .. });
                left[usize::from(is_mark)] += 1;
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        capabilities.close.unwrap().close().await.unwrap();
        left
    }
}

/// So many sessions lie in redb from the time before.
async fn fill(path: &Path, ledger: &Path) {
    let store = RedbStore::open(path).unwrap();
    let created = (0..SESSIONS).map(async |session| {
        let (at, record) = (digest(session, 0), record(session));
        store.create(&at, &record).await.unwrap();
    });
    futures_util::future::join_all(created).await;
    let lines =
        (0..SESSIONS).map(|session| format!("begun new {session} 0\ndone new {session} 0\n"));
    std::fs::write(ledger, lines.collect::<String>()).unwrap();
    store.capabilities().close.unwrap().close().await.unwrap();
}

async fn moves_and_is_killed_twice(server: &str, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let this = Move {
        redb: folder.path().join("sessions.redb"),
        url: server.to_owned(),
        ledger: folder.path().join("ledger"),
    };
    fill(&this.redb, &this.ledger).await;
    let mut chance = Chance::new(seed);
    for round in 0..2 {
        let mut child = this.spawn(seed * 10 + round);
        tokio::time::sleep(Duration::from_millis(600 + chance.below(600))).await;
        assert!(
            child.try_wait().unwrap().is_none(),
            "it is killed while it works"
        );
        child.kill().unwrap();
        let killed = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&killed.stderr);
        assert!(!told.contains("panicked"), "{told}");
        let left = this.left_in_redb().await;
        println!("killed; redb holds so many records and rotation marks: {left:?}");
        let some_have_moved = 1..usize::try_from(SESSIONS).unwrap();
        assert!(
            some_have_moved.contains(&left[0]),
            "it was killed on the way"
        );
    }
    let done = this.spawn(seed * 10 + 2).wait_with_output().unwrap();
    let told = [&done.stdout, &done.stderr].map(|told| String::from_utf8_lossy(told));
    assert!(done.status.success(), "{told:?}");
    assert!(told[0].contains("the last process moved"), "{told:?}");

    assert_eq!(this.left_in_redb().await, [0, 0], "redb is empty");
    let store = postgres(&this.url).await;
    let ledger = read(&this.ledger);
    let (mut standing, mut ended, mut counts) = (0, 0, 0);
    for (session, mut told) in ledger {
        let acknowledged = told.count_least;
        match find(&store, session, &mut told).await {
            Some(_) => standing += 1,
            None => ended += 1,
        }
        counts += acknowledged;
    }
    println!("{standing} sessions stand, {ended} were ended, {counts} counts stand or ended");
    assert!(standing > 0 && ended > 0 && counts > 0);
}

#[tokio::test]
async fn a_site_that_moves_from_redb_to_postgres_loses_nothing_and_revives_nobody() {
    let times = std::env::var("CLOAKROOM_MIGRATIONS").ok();
    let times: u64 = times.map_or(1, |text| text.parse().unwrap());
    for _ in 0..times {
        let Some(server) = cloakroom_servers::Postgres::start() else {
            return;
        };
        let seed = SystemClock.now().as_millis() % 1_000_000;
        println!("seed {seed}");
        moves_and_is_killed_twice(&server.url(), seed).await;
    }
}
