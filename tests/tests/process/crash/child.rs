//! The process that is killed.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cloakroom::engine::TokenStore as _;
use cloakroom::store::Stored;
use cloakroom::{AnyStore, ErrorKind, Timestamp};
use cloakroom_tests::embedded::{Chance, Embedded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::crash::operation::{Content, Id, Op, load};

/// Each works on sessions of its own.
pub(crate) const THREADS: u64 = 4;

/// Around this many sessions live in each thread's care.
const LIVE: usize = 12;

/// What a child is asked to do after it has opened the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nothing.
    Open,
    /// Work to no end.
    Work,
    /// Work to no end, while the disk fails now and then.
    Fail,
    /// Work a little, then close the store.
    Close,
}

const TASKS: [(Task, &str); 4] = [
    (Task::Open, "open"),
    (Task::Work, "work"),
    (Task::Fail, "fail"),
    (Task::Close, "close"),
];

/// Everything that a child is told.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Embedded,
    pub(crate) task: Task,
    pub(crate) folder: PathBuf,
    /// Numbers its new sessions, too: no two rounds have the same.
    pub(crate) round: u64,
    pub(crate) seed: u64,
    /// The present moment, in milliseconds.
    pub(crate) now: u64,
    /// Sessions that stand, for the threads to share.
    pub(crate) live: Vec<Id>,
}

/// The test that is the child.
const CHILD: &str = "crash::child::the_child_does_as_it_was_ordered";

const ORDER: &str = "CLOAKROOM_CRASH_ORDER";

impl Order {
    /// A command that carries it out in another process.
    pub(crate) fn command(&self) -> Command {
        let task = TASKS.iter().find(|(task, _)| *task == self.task).unwrap();
        let words = format!(
            "{} {} {} {} {} {}",
            self.kind,
            task.1,
            self.round,
            self.seed,
            self.now,
            self.folder.display()
        );
        // A write beyond the limit on the size of files is an error to a process that
        // ignores the signal, and what is ignored stays so in the program that is run.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture"])
            .env(ORDER, words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// What the standard input of that process is to say.
    pub(crate) fn input(&self) -> String {
        let live: Vec<String> = self.live.iter().map(u64::to_string).collect();
        live.join(" ")
    }

    fn received() -> Option<Self> {
        let words = std::env::var(ORDER).ok()?;
        let words: Vec<&str> = words.splitn(6, ' ').collect();
        let mut live = String::new();
        std::io::stdin().read_to_string(&mut live).unwrap();
        Some(Self {
            kind: Embedded::of_scheme(words[0]),
            task: TASKS.iter().find(|(_, name)| *name == words[1]).unwrap().0,
            round: words[2].parse().unwrap(),
            seed: words[3].parse().unwrap(),
            now: words[4].parse().unwrap(),
            folder: Path::new(words[5]).to_owned(),
            live: live
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect(),
        })
    }
}

/// Says a line to the parent: one write, so that a kill leaves all of it or none.
fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Never ends by itself while its parent listens; without an order, nothing.
#[test]
fn the_child_does_as_it_was_ordered() {
    let Some(order) = Order::received() else {
        return;
    };
    // The test harness has begun a line.
    say("");
    say("opening");
    let store = wait_for(order.kind.open(&order.folder));
    say("opened");
    if order.task != Task::Open {
        let sweeper = (order.task != Task::Close).then(|| {
            let (store, now) = (store.clone(), Timestamp::from_millis(order.now));
            let may_fail = order.task == Task::Fail;
            thread::spawn(move || wait_for(sweep(&store, now, may_fail)))
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let worker = Worker::new(number, &order, store.clone());
                thread::spawn(move || wait_for(worker.work()))
            })
            .collect();
        // Each worker has read what it works on.
        if order.task == Task::Fail {
            let chance = Chance::new(order.seed);
            thread::spawn(move || fail_now_and_then(chance));
        }
        let all = workers.into_iter().chain(sweeper);
        let ended: Vec<_> = all.map(thread::JoinHandle::join).collect();
        assert!(ended.iter().all(Result::is_ok), "a thread has failed");
        say("closing");
        wait_for(store.close()).unwrap();
        drop(store);
        say("closed");
    }
    loop {
        thread::sleep(Duration::from_millis(100));
        // Fails, and ends the process, where the parent is no more.
        say("waiting");
    }
}

/// Lets no file grow beyond a size for a moment: to the store, a disk that is full.
fn fail_now_and_then(mut chance: Chance) {
    let limit = |current| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let usual = getrlimit(Resource::Fsize).current;
    loop {
        thread::sleep(Duration::from_millis(chance.below(40)));
        limit(Some(*chance.one(&[0, 4_096, 100_000])));
        say("failing");
        thread::sleep(Duration::from_millis(chance.below(40)));
        limit(usual);
        // For the store to be open again, now and then.
        thread::sleep(Duration::from_millis(chance.below(300)));
    }
}

async fn sweep(store: &AnyStore, now: Timestamp, may_fail: bool) {
    loop {
        let sweep = store.token_capabilities().sweep.unwrap();
        match sweep.sweep(now, 3).await {
            Err(error) if !(may_fail && error.kind() == ErrorKind::Unavailable) => {
                say(&format!("! sweep: {error:?}"));
                panic!("{error:?}");
            }
            _ => {}
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A session as its thread knows it.
#[derive(Clone, Copy)]
struct Live {
    id: Id,
    revision: u64,
    expires_at: u64,
    /// The mark of its last rotation, where that is not due.
    mark: Option<Id>,
}

struct Worker {
    number: u64,
    store: AnyStore,
    chance: Chance,
    now: u64,
    live: Vec<Live>,
    next: Id,
    /// Operations still to do.
    left: u64,
    may_fail: bool,
}

impl Worker {
    fn new(number: u64, order: &Order, store: AnyStore) -> Self {
        let mut chance = Chance::new(order.seed ^ number);
        let mut live = Vec::new();
        for id in order.live.iter().filter(|id| *id % THREADS == number) {
            match wait_for(load(&store, *id)) {
                Some(Stored::Record(record)) => live.push(Live {
                    id: *id,
                    revision: record.revision.as_u64(),
                    expires_at: record.expires_at.as_millis(),
                    mark: None,
                }),
                other => {
                    say(&format!("! session {id} should stand, and is {other:?}"));
                    panic!("{other:?}");
                }
            }
        }
        Self {
            number,
            store,
            now: order.now,
            live,
            next: (order.round << 24) + number,
            left: match order.task {
                Task::Close => chance.below(20),
                _ => u64::MAX,
            },
            may_fail: order.task == Task::Fail,
            chance,
        }
    }

    fn fresh(&mut self) -> Id {
        self.next += THREADS;
        self.next
    }

    async fn work(mut self) {
        while self.left > 0 {
            self.left -= 1;
            let op = self.choose();
            say(&format!("> {} {op}", self.number));
            match op.run(&self.store).await {
                Ok(()) => say(&format!("< {}", self.number)),
                Err(error) if self.may_fail && error.kind() == ErrorKind::Unavailable => {
                    say(&format!("? {}", self.number));
                    // Nobody knows what stands there, so it is left alone.
                    let concerned = op.leaves_alive();
                    self.live.retain(|one| Some(one.id) != concerned);
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    say(&format!("! {op}: {error:?}"));
                    panic!("{error:?}");
                }
            }
        }
    }

    /// The next operation; what it leaves alive is noted as if it were done.
    fn choose(&mut self) -> Op {
        let die = self.chance.below(100);
        if self.live.is_empty() || (self.live.len() < LIVE && die < 40) {
            return self.create();
        }
        let at = usize::try_from(self.chance.below(self.live.len() as u64)).unwrap();
        let content = Content::any(&mut self.chance, self.now);
        let one = self.live.swap_remove(at);
        let (id, revision) = (one.id, one.revision);
        match die % 10 {
            0..4 => {
                let (revision_next, expires_at) = (revision + 1, content.expires_at);
                self.keep(Live {
                    revision: revision_next,
                    expires_at,
                    ..one
                });
                Op::Update {
                    id,
                    revision,
                    content,
                }
            }
            4..6 => {
                let expires_at = one.expires_at + 1 + self.chance.below(1_000);
                self.keep(Live { expires_at, ..one });
                Op::Touch {
                    id,
                    revision,
                    expires_at,
                }
            }
            6..8 => {
                let new = self.fresh();
                let until = self.now + self.chance.below(2_000);
                self.keep(Live {
                    id: new,
                    revision: revision + 1,
                    expires_at: content.expires_at,
                    mark: (until > self.now).then_some(id),
                });
                Op::Rotate {
                    old: id,
                    new,
                    revision,
                    content,
                    until,
                }
            }
            // A logout by the old key ends the session where it has moved.
            8 => self.end(one.mark.unwrap_or(id)),
            _ => self.end(id),
        }
    }

    fn end(&mut self, id: Id) -> Op {
        match self.chance.percent(60) {
            true => Op::End { id, at: self.now },
            false => Op::Delete { id },
        }
    }

    fn create(&mut self) -> Op {
        let (id, content) = (self.fresh(), Content::any(&mut self.chance, self.now));
        self.keep(Live {
            id,
            revision: 1,
            expires_at: content.expires_at,
            mark: None,
        });
        Op::Create { id, content }
    }

    /// What is due is the sweep's from now on.
    fn keep(&mut self, one: Live) {
        if one.expires_at > self.now {
            self.live.push(one);
        }
    }
}
