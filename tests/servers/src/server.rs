//! One server of any kind: its process, its port, its folder.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::guard::Guard;
use crate::machine::{self, User};

/// How long a server may take to start, on a slow disk too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take to end, once it is told to.
const FAREWELL: Duration = Duration::from_secs(30);

/// How many ports are tried.
const TRIES: u32 = 5;

type Command = dyn Fn(u16, &Path) -> Vec<String> + Send + Sync;

/// What one kind of server has of its own.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The signal that asks for a clean end without waiting for clients.
    pub(crate) stop: &'static str,
    /// Whether the server of this folder, and no stranger, answers at this port.
    pub(crate) answers: fn(u16, &Path) -> bool,
    /// The program and its arguments, for a port and a folder.
    pub(crate) command: Box<Command>,
}

/// A server of its own folder and port, which ends with its value, or with the
/// process that started it, however that goes.
///
/// All methods take `&self`, so the instance that the tests of a binary share
/// has them too; a test that kills, stops or pauses starts one of its own.
pub struct Server {
    kind: Kind,
    guard: Guard,
    port: u16,
    pid: AtomicU32,
}

impl Server {
    pub(crate) fn start(kind: Kind, user: Option<&User>, prepare: impl FnOnce(&Guard)) -> Self {
        let guard = Guard::new(&machine::temp_folder(), kind.name, user);
        prepare(&guard);
        let mut server = Self {
            kind,
            guard,
            port: 0,
            pid: AtomicU32::new(0),
        };
        for _ in 0..TRIES {
            server.port = machine::free_port();
            if server.launch(Instant::now() + PATIENCE) {
                return server;
            }
        }
        panic!("no port is free for {server:?}:\n{}", server.log());
    }

    /// False where somebody else has the port.
    fn launch(&self, until: Instant) -> bool {
        let before = self.log().len();
        let command = (self.kind.command)(self.port, self.guard.folder());
        self.pid
            .store(self.guard.start(&command), Ordering::Relaxed);
        loop {
            if (self.kind.answers)(self.port, self.guard.folder()) {
                return true;
            }
            if self.guard.ended() {
                let log = self.log();
                assert!(
                    log[before..].contains("Address already in use"),
                    "{self:?} has ended instead of starting:\n{log}"
                );
                return false;
            }
            assert!(
                Instant::now() < until,
                "{self:?} does not answer:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The port of 127.0.0.1 that it listens on, the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the process that was started last.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Its folder, gone once this value is.
    pub fn folder(&self) -> &Path {
        self.guard.folder()
    }

    /// Kills it and all that it forked, as `kill -9` does. The folder stays;
    /// returns once nothing of it runs.
    ///
    /// # Panics
    /// Where it survives thirty seconds.
    pub fn kill(&self) {
        self.guard.call("kill_all");
        assert!(self.guard.ended(), "{self:?} survives a kill");
    }

    /// Lets it end in order, cutting its clients off. The folder stays.
    ///
    /// # Panics
    /// Where it takes more than thirty seconds.
    pub fn stop(&self) {
        self.guard.call(&format!("ask {}", self.kind.stop));
        let until = Instant::now() + FAREWELL;
        while !self.guard.ended() {
            assert!(
                Instant::now() < until,
                "{self:?} does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again on the same port and folder, killing it first where it
    /// still runs. Returns once it answers.
    ///
    /// # Panics
    /// Where it does not answer within [`PATIENCE`], or the port is lost.
    pub fn restart(&self) {
        self.kill();
        let until = Instant::now() + PATIENCE;
        while !self.launch(until) {
            assert!(
                Instant::now() < until,
                "{self:?} has lost its port:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Freezes it and all that it forked: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.guard.call("stop_all");
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        self.guard.call("wake_all");
    }

    /// What it has written to its log since it was made, to show where a test fails.
    pub fn log(&self) -> String {
        self.guard.log()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("kind", &self.kind.name)
            .field("port", &self.port)
            .field("pid", &self.pid)
            .field("folder", &self.guard.folder())
            .finish()
    }
}

/// Gives a public kind of server the methods of [`Server`].
macro_rules! is_a_server {
    ($kind:ty) => {
        impl std::ops::Deref for $kind {
            type Target = $crate::Server;

            fn deref(&self) -> &$crate::Server {
                &self.server
            }
        }
    };
}
pub(crate) use is_a_server;

/// Words of a command.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
