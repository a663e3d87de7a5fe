//! A process is killed at a random moment, again and again in the same folder, and
//! every write that it had acknowledged is found.
//!
//! A child works on a store with several threads. It writes a line before each
//! operation and one when the store has acknowledged it; the parent kills it,
//! opens the store itself and compares: what was acknowledged stands, what was
//! in flight is there whole or not at all, nothing else has changed, and on the
//! disk the indexes agree with the records. Now and then the disk of a child fails for a
//! moment while it works, so that it is killed while its store recovers from that, and now
//! and then one is killed while it opens what a kill has left. SIGKILL leaves what the
//! system has been given; that it is on the disk too is what `syscalls.rs` asks.
//!
//! `CLOAKROOM_CRASHES` says how often each store is killed (20), and
//! `CLOAKROOM_CRASH_SEED` repeats the choices of a run; the threads of the child
//! and the moment of its death are as the machine has it.

mod child;
mod disk_layout;
mod ledger;
mod operation;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::Timestamp;
use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom_tests::embedded::{Chance, Embedded};
use tempfile::TempDir;

use crate::crash::child::{Order, THREADS, Task};
use crate::crash::disk_layout::{Raw, files_below};
use crate::crash::ledger::{Ledger, Tally};
use crate::crash::operation::Op;

const SIGKILL: i32 = 9;

#[tokio::test]
async fn a_killed_file_store_keeps_what_it_acknowledged() {
    kill_again_and_again(Embedded::File).await;
}

#[tokio::test]
async fn a_killed_redb_store_keeps_what_it_acknowledged_and_its_index_agrees() {
    kill_again_and_again(Embedded::Redb).await;
}

#[tokio::test]
async fn a_killed_sled_store_keeps_what_it_acknowledged_and_its_index_agrees() {
    kill_again_and_again(Embedded::Sled).await;
}

#[tokio::test]
async fn a_killed_sqlite_store_keeps_what_it_acknowledged() {
    kill_again_and_again(Embedded::Sqlite).await;
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

fn new_seed() -> u64 {
    let bytes = *SessionKey::generate(&OsEntropy).unwrap().expose_bytes();
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

async fn kill_again_and_again(kind: Embedded) {
    let crashes = number_from("CLOAKROOM_CRASHES").unwrap_or(20);
    let seed = number_from("CLOAKROOM_CRASH_SEED").unwrap_or_else(new_seed);
    println!("{kind}: CLOAKROOM_CRASH_SEED={seed}");
    let mut run = Run {
        kind,
        chance: Chance::new(seed),
        round: 0,
        closes: false,
        figures: Figures::default(),
    };
    while run.figures.kills < crashes {
        run.life_of_a_folder(crashes).await;
    }
    // Where each sync takes long, most of the children die before they have done much.
    // These come to their end first.
    run.closes = true;
    while run.figures.acknowledged <= crashes && run.figures.kills < 4 * crashes {
        run.life_of_a_folder(run.figures.kills + 1).await;
    }
    println!("{kind}: {:?}", run.figures);
    let figures = run.figures;
    assert!(figures.acknowledged > crashes, "the children work");
    assert!(figures.swept > 0 && figures.standing > 0, "{figures:?}");
    // The choices of a short run may leave one of them out.
    let is_long = crashes >= 100;
    assert!(!is_long || figures.kills_opening > 0, "{figures:?}");
    // The others have nothing to recover: the next write is taken as soon as there is room.
    let recovers = matches!(kind, Embedded::Redb | Embedded::Sled);
    assert!(
        !(is_long && recovers) || figures.kills_recovering > 0,
        "{figures:?}"
    );
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    folders: u64,
    kills: u64,
    /// Of those, before the store was open.
    kills_opening: u64,
    /// And after the disk had failed, before the store took writes again.
    kills_recovering: u64,
    acknowledged: u64,
    /// Operations that were unavailable, since the disk failed.
    refused: u64,
    tally: Tally,
    /// Sessions compared after a kill.
    compared: u64,
    /// Sessions that stood, and were still right, after a kill.
    standing: u64,
    swept: u64,
    reopening_max: Duration,
}

struct Run {
    kind: Embedded,
    chance: Chance,
    round: u64,
    /// Whether each child is let to close its store.
    closes: bool,
    figures: Figures,
}

/// A folder that stays where the test fails, with what has befallen it.
struct Folder {
    dir: TempDir,
    kills: Vec<String>,
}

impl Folder {
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("kept {}: {:#?}", self.path().display(), self.kills);
        }
    }
}

impl Run {
    /// A fresh folder, and one crash after the other in it.
    async fn life_of_a_folder(&mut self, crashes: u64) {
        let mut folder = Folder {
            dir: tempfile::tempdir().unwrap(),
            kills: Vec::new(),
        };
        self.figures.folders += 1;
        // A touch need not be on the disk when sled answers; a file's rotation
        // has two halves, as its first page says.
        let touches_lag = self.kind == Embedded::Sled;
        let mut ledger = Ledger::new(touches_lag, self.kind == Embedded::File);
        let rounds = 1 + self.chance.below(30);
        for _ in 0..rounds {
            if self.figures.kills >= crashes {
                break;
            }
            self.round += 1;
            // Some of what the last round has left is due in this one.
            let now = self.round * 1_000;
            ledger.set_now(now);
            let task = match self.chance.below(10) {
                _ if self.closes => Task::Close,
                0 => Task::Close,
                1..5 => Task::Fail,
                _ => Task::Work,
            };
            self.kill(task, &mut folder, &mut ledger);
            // Now and then recovery is killed before it comes to its end.
            while self.figures.kills < crashes && self.chance.percent(35) {
                self.kill(Task::Open, &mut folder, &mut ledger);
            }
            self.inspect(&folder, &mut ledger).await;
        }
        ledger.set_now(Timestamp::MAX.as_millis());
        self.sweep(&folder, &mut ledger).await;
        let raw = Raw::read(self.kind, &self.kind.path_in(folder.path())).await;
        assert!(raw.is_empty(), "a sweep at the end of time leaves nothing");
        if self.kind == Embedded::File {
            let left = files_below(&self.kind.path_in(folder.path()));
            let in_the_making = |path: &std::path::PathBuf| {
                let name = path.file_name().unwrap();
                name.to_str().unwrap().starts_with(".new-")
            };
            assert!(!left.iter().any(in_the_making), "and no leftovers");
        }
    }

    /// Lets a child work, kills it, and notes what it has said.
    fn kill(&mut self, task: Task, folder: &mut Folder, ledger: &mut Ledger) {
        let now = self.round * 1_000;
        let order = Order {
            kind: self.kind,
            task,
            folder: folder.path().to_owned(),
            round: self.round,
            seed: self.chance.any(),
            now,
            live: ledger.live(),
        };
        let (after, micros) = match task {
            Task::Open => ("opening", 20_000),
            Task::Work if self.chance.percent(12) => ("opening", 20_000),
            Task::Work => ("opened", 150_000),
            Task::Fail => ("failing", 150_000),
            Task::Close => ("closing", 8_000),
        };
        let pause = Duration::from_micros(self.chance.below(micros));
        let lines = lines_of_a_short_life(&order, after, pause);
        self.figures.kills += 1;
        folder.kills.push(format!(
            "round {}: {task:?}, {} lines, {} µs after {after}",
            self.round,
            lines.len(),
            pause.as_micros()
        ));
        if !lines.iter().any(|line| line == "opened") {
            self.figures.kills_opening += 1;
        }
        let mut last_first = lines.iter().rev();
        if let Some(last) = last_first.find(|line| line.starts_with(['<', '?']))
            && last.starts_with('?')
        {
            self.figures.kills_recovering += 1;
        }
        // A disk that takes no new file keeps no store of files from ending a session.
        ledger.set_ends_leave_less(self.kind == Embedded::File && task == Task::Fail);
        self.note(&lines, ledger);
    }

    fn note(&mut self, lines: &[String], ledger: &mut Ledger) {
        let mut begun: [Option<Op>; THREADS as usize] = [None; THREADS as usize];
        for line in lines {
            match line.split_at_checked(2) {
                Some(("> ", rest)) => {
                    let (thread, op) = rest.split_once(' ').unwrap();
                    begun[thread.parse::<usize>().unwrap()] = Some(Op::parse(op));
                }
                Some(("< ", thread)) => {
                    let thread: usize = thread.parse().unwrap();
                    ledger.acknowledged(begun[thread].take().unwrap());
                    self.figures.acknowledged += 1;
                }
                Some(("? ", thread)) => {
                    let thread: usize = thread.parse().unwrap();
                    ledger.unanswered(begun[thread].take().unwrap());
                    self.figures.refused += 1;
                }
                Some(("! ", complaint)) => panic!("the child complains: {complaint}"),
                _ => {}
            }
        }
        for op in begun.into_iter().flatten() {
            ledger.unanswered(op);
        }
    }

    /// Opens what the child has left, and compares.
    async fn inspect(&mut self, folder: &Folder, ledger: &mut Ledger) {
        let begun = Instant::now();
        let store = self.kind.open(folder.path()).await;
        self.figures.reopening_max = self.figures.reopening_max.max(begun.elapsed());
        let mut shown = std::collections::BTreeMap::new();
        for id in ledger.ids() {
            shown.insert(id, operation::load(&store, id).await);
        }
        drop(store);
        self.figures.compared += shown.len() as u64;
        match ledger.settle(|id| shown[&id].clone()) {
            Ok(tally) => self.figures.tally.add(tally),
            Err(findings) => panic!("{} in round {}: {findings:#?}", self.kind, self.round),
        }
        self.compare_raw(folder, ledger).await;
        if self.chance.percent(30) {
            self.sweep(folder, ledger).await;
            self.compare_raw(folder, ledger).await;
        }
    }

    async fn sweep(&mut self, folder: &Folder, ledger: &mut Ledger) {
        let store = self.kind.open(folder.path()).await;
        let sweep = store.token_capabilities().sweep.unwrap();
        loop {
            let swept = sweep.sweep(Timestamp::from_millis(ledger.now()), 64).await;
            let swept = swept.unwrap();
            self.figures.swept += swept.removed as u64;
            if !swept.more {
                break;
            }
        }
        ledger.swept();
    }

    /// Exactly what the ledger knows of lies on the disk, and indexed.
    async fn compare_raw(&mut self, folder: &Folder, ledger: &Ledger) {
        let raw = Raw::read(self.kind, &self.kind.path_in(folder.path())).await;
        let mut findings = raw.findings();
        let there = raw.standing();
        let ours: BTreeSet<_> = ledger
            .standing()
            .map(|(id, _)| operation::key(id).digest())
            .collect();
        self.figures.standing += ours.len() as u64;
        for stray in there.symmetric_difference(&ours) {
            findings.push(format!("{stray:?} is only on one side"));
        }
        assert!(
            findings.is_empty(),
            "{} in round {}: {findings:#?}",
            self.kind,
            self.round
        );
    }
}

/// Runs a child until a while after it has said a line, and kills it.
fn lines_of_a_short_life(order: &Order, after: &str, pause: Duration) -> Vec<String> {
    let mut child = order.command().spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(order.input().as_bytes()).unwrap();
    drop(input);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (say, heard) = channel();
    let reader = thread::spawn(move || read(output, &say));
    // Who complains says no more.
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        match heard.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(line) if line == after => break thread::sleep(pause),
            Ok(line) if line.starts_with('!') => break,
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the child does not say {after:?}"),
        }
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let lines = reader.join().unwrap();
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "the child ended by itself: {lines:?}"
    );
    lines
}

fn read(mut output: impl BufRead, say: &Sender<String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let whole = line.trim_end().to_owned();
        line.clear();
        // The parent may have stopped listening.
        let _ = say.send(whole.clone());
        lines.push(whole);
    }
    lines
}
