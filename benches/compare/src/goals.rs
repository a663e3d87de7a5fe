//! What is wanted, in the order in which it was written down, each a ratio in one run.

use crate::results::{Figure, Results};

pub struct Goal {
    pub what: &'static str,
    work: &'static str,
    /// Contender and variant.
    pub ours: (&'static str, &'static str),
    pub theirs: (&'static str, &'static str),
    ratio: Ratio,
}

enum Ratio {
    AtMost(f64),
    /// Where rates are compared.
    AtLeast(f64),
}

/// What was measured.
pub struct Judged {
    pub ours: Figure,
    pub theirs: Figure,
    pub ratio: f64,
    pub is_met: bool,
}

impl Goal {
    pub fn judge(&self, results: &Results) -> Option<Judged> {
        let find = |(contender, variant)| results.figure(self.work, contender, variant);
        let (ours, theirs) = (find(self.ours)?, find(self.theirs)?);
        let ratio = ours.median / theirs.median;
        let is_met = match self.ratio {
            AtMost(goal) => ratio <= goal,
            AtLeast(goal) => ratio >= goal,
        };
        Some(Judged {
            ours,
            theirs,
            ratio,
            is_met,
        })
    }

    /// The goal as it is written: `0.45`, or `at least 8`.
    pub fn wanted(&self) -> String {
        match self.ratio {
            AtMost(goal) => goal.to_string(),
            AtLeast(goal) => format!("at least {goal}"),
        }
    }
}

use Ratio::{AtLeast, AtMost};

const fn goal(
    what: &'static str,
    ratio: Ratio,
    (work, variant): (&'static str, &'static str),
    ours: &'static str,
    theirs: &'static str,
) -> Goal {
    let (ours, theirs) = ((ours, variant), (theirs, variant));
    Goal {
        what,
        work,
        ours,
        theirs,
        ratio,
    }
}

/// Durable creates by 64 writers, beside the store's own single writer, or beside the raw
/// batch of 64 on the same tables.
const fn durable(
    what: &'static str,
    ratio: Ratio,
    ours: &'static str,
    theirs: (&'static str, &'static str),
) -> Goal {
    let ours = (ours, "64 writers");
    Goal {
        what,
        work: "W8",
        ours,
        theirs,
        ratio,
    }
}

pub const MEMORY: &str = "cloakroom memory";
pub const TOWER: &str = "tower-sessions 0.15 memory";
pub const REDB: &str = "cloakroom redb";
const SLED: &str = "cloakroom sled";
const SQLITE: &str = "cloakroom sqlite";
pub const NORMAL: &str = "cloakroom sqlite, synchronous=NORMAL";
pub const TOWER_SQLITE: &str = "tower-sessions 0.14 sqlite";
pub const ENCRYPTED: &str = "cloakroom cookie encrypted";
pub const PRIVATE: &str = "cookie 0.18 PrivateJar";
pub const SIGNED: &str = "cloakroom cookie signed";
pub const SIGNED_JAR: &str = "cookie 0.18 SignedJar";
pub const NEAR: &str = "cloakroom cached over redb";
pub const REDIS: &str = "cloakroom redis";
const RAW_REDIS: &str = "raw: redis GET and SET";
pub const TOWER_REDIS: &str = "tower-sessions 0.14 redis";
// Measured by an example of cloakroom-sql.
const POSTGRES: &str = "cloakroom postgres";
const RAW_POSTGRES: &str = "raw: prepared SELECT and UPDATE";
const ONE: &str = "1 writer";
const RAW: &str = "batches of 64";

#[rustfmt::skip] // A table.
pub const GOALS: &[Goal] = &[
    goal("W4 request, anonymous", AtMost(0.45), ("W4", "anonymous"), MEMORY, TOWER),
    goal("W4 request, session untouched", AtMost(0.33), ("W4", "untouched"), MEMORY, TOWER),
    goal("W4 request, two keys read", AtMost(0.35), ("W4", "read"), MEMORY, TOWER),
    goal("W4 request, one key written", AtMost(0.30), ("W4", "write"), MEMORY, TOWER),
    goal("W4 request, six keys of a new session", AtMost(0.50), ("W4", "new"), MEMORY, TOWER),
    goal("W1 load, 1 thread", AtMost(0.12), ("W1", "1 thread"), MEMORY, TOWER),
    goal("W1 load, 2 threads", AtMost(0.05), ("W1", "2 threads"), MEMORY, TOWER),
    goal("W1 load, six values decoded", AtMost(0.45), ("W1", "decoded"), MEMORY, TOWER),
    goal("W2 save, 1 thread", AtMost(0.10), ("W2", "1 thread"), MEMORY, TOWER),
    goal("W2 save, 2 threads", AtMost(0.05), ("W2", "2 threads"), MEMORY, TOWER),
    goal("W3 create", AtMost(0.60), ("W3", "1 thread"), MEMORY, TOWER),
    goal("W6 bytes a session", AtMost(0.12), ("W6", "in the process"), MEMORY, TOWER),
    goal("W7 load among 1,000,000", AtMost(0.20), ("W7", "load at 1000000"), MEMORY, TOWER),
    goal("W5 encrypted cookie, seal", AtMost(0.8), ("W5", "seal"), ENCRYPTED, PRIVATE),
    goal("W5 encrypted cookie, open", AtMost(0.7), ("W5", "open"), ENCRYPTED, PRIVATE),
    goal("W5 encrypted cookie, bytes", AtMost(0.9), ("W5", "size"), ENCRYPTED, PRIVATE),
    goal("W5 signed cookie, seal", AtMost(0.8), ("W5", "seal"), SIGNED, SIGNED_JAR),
    goal("W5 signed cookie, open", AtMost(0.7), ("W5", "open"), SIGNED, SIGNED_JAR),
    goal("W5 signed cookie, bytes", AtMost(0.85), ("W5", "size"), SIGNED, SIGNED_JAR),
    goal("W1 SQLite load, no sync", AtMost(0.15), ("W1", "1 thread"), NORMAL, TOWER_SQLITE),
    goal("W4 SQLite request, one key written, no sync", AtMost(0.4), ("W4", "write"), NORMAL, TOWER_SQLITE),
    goal("W1 Redis load", AtMost(1.05), ("W1", "1 thread"), REDIS, RAW_REDIS),
    goal("W4 Redis request, one key written", AtMost(1.0), ("W4", "write"), REDIS, TOWER_REDIS),
    goal("W1 PostgreSQL load", AtMost(1.10), ("W1", "1 thread"), POSTGRES, RAW_POSTGRES),
    goal("W2 PostgreSQL update", AtMost(1.15), ("W2", "1 thread"), POSTGRES, RAW_POSTGRES),
    durable("W8 redb, 64 durable writers", AtLeast(8.0), REDB, (REDB, ONE)),
    durable("W8 redb, the same", AtLeast(0.6), REDB, ("raw: redb, batches of 64", RAW)),
    durable("W8 sled, 64 durable writers", AtLeast(8.0), SLED, (SLED, ONE)),
    durable("W8 sled, the same", AtLeast(0.6), SLED, ("raw: sled, batches of 64", RAW)),
    durable("W8 SQLite, 64 durable writers", AtLeast(8.0), SQLITE, (SQLITE, ONE)),
    durable("W8 SQLite, the same", AtLeast(0.6), SQLITE, ("raw: sqlite, batches of 64", RAW)),
    goal("W1 near cache over redb, a hit", AtMost(1.2), ("W1", "1 thread"), NEAR, MEMORY),
];
