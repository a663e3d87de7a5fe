//! What is measured, and how its figures are written down.

use std::time::Duration;

use crate::profile::Profile;

/// A session store. Its own record type is what it loads and saves; turning the typed
/// session into a record and back (`encode`, `decode`) is timed where a work says so.
pub trait Contender: Send + Sync + 'static {
    type Key: Clone + Send + Sync + 'static;
    type Rec: Send + 'static;

    /// Tasks that fill the store before the clock starts: many where it waits for a disk
    /// or a server.
    fn fillers(&self) -> usize {
        1
    }

    fn encode(&self, profile: &Profile) -> Self::Rec;
    fn decode(&self, rec: Self::Rec) -> Profile;
    /// Changes one value of a loaded record.
    fn touch(&self, rec: &mut Self::Rec, stamp: u64);

    /// Stores a new session under a key made here.
    fn create(&self, rec: Self::Rec) -> impl Future<Output = Self::Key> + Send;
    fn load(&self, key: &Self::Key) -> impl Future<Output = Option<Self::Rec>> + Send;
    /// Stores a record that was loaded and touched.
    fn save(&self, key: &Self::Key, rec: Self::Rec) -> impl Future<Output = ()> + Send;

    /// Stores a session that has expired; false where there is no sweep to call.
    fn create_expired(&self, _rec: Self::Rec) -> impl Future<Output = bool> + Send {
        async { false }
    }
    /// Deletes expired sessions, and says how many.
    fn sweep(&self) -> impl Future<Output = usize> + Send {
        async { 0 }
    }
    /// Bytes held outside this process: a server's memory, a database's files.
    fn outside_bytes(&self) -> u64 {
        0
    }
    /// Closes what lies on a disk, opens it again and loads a session: how long the opening
    /// and the first load take.
    fn reopen(&self, _key: &Self::Key) -> impl Future<Output = Option<Duration>> + Send {
        async { None }
    }
}

/// A session kept in the cookie.
pub trait Sealer {
    /// The cookie's value as it stands in the header: encoded, without name and attributes.
    fn seal(&self, profile: &Profile) -> String;
    fn open(&self, value: &str) -> Profile;
}

/// One contender's run of the works that were asked for.
pub struct Run {
    pub contender: &'static str,
    pub works: Vec<String>,
}

/// A contender's name, and what it takes part in.
pub type Entry = (&'static str, fn(&Run));

impl Run {
    pub fn wants(&self, work: &str) -> bool {
        self.works.iter().any(|wanted| wanted == work)
    }

    /// The number behind a colon, as in `growth:1000`.
    pub fn number(&self, work: &str) -> Option<usize> {
        let mut numbers = self
            .works
            .iter()
            .filter_map(|wanted| wanted.strip_prefix(work));
        numbers.next()?.strip_prefix(':')?.parse().ok()
    }

    /// Prints a figure for the process that asked for it.
    pub fn emit(&self, work: &str, variant: &str, value: f64, unit: &str) {
        let contender = self.contender;
        println!(
            "{}",
            crate::results::line(contender, work, variant, value, unit)
        );
    }
}

/// Measured repetitions of every figure; one more is thrown away first.
pub const REPETITIONS: u64 = 3;

/// How many operations a repetition has, to last about 0.15 s.
pub fn operations(ns_per_op: f64, max: usize) -> usize {
    ((1.5e8 / ns_per_op.max(1.0)) as usize).clamp(200, max)
}
