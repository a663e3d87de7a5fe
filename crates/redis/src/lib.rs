//! Cloakroom sessions in Redis or Valkey: a single server or a cluster.
//!
//! ```
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_redis::RedisStore;
//!
//! # async fn example() -> Result<(), cloakroom_core::Error> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
//! let digest = KeyDigest::from_bytes([0; 32]);
//! store.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The store needs Redis 6 or later, or Valkey, with scripts allowed, and a tokio
//! runtime with I/O and time: the one it was opened on, for as long as it is used. Its
//! tests have passed with Redis 6.2 and 7.0 and with Valkey 9.1, single and in a
//! cluster; TLS with Redis 7.0.
//!
//! **In the book:** [Redis: which settings?](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/redis.md).
//!
//! # What is promised
//!
//! On a single server every operation is one command or one script, called by its hash: one
//! step for all who look, and one round trip. A revocation is one for each 128 sessions that it
//! ends, so that other calls wait for two milliseconds at most; where it fails, those that
//! were ended stay ended. A server that was started since does not know the
//! script, says so without doing anything, and is given it; that call takes two round
//! trips.
//!
//! What is acknowledged is as durable as the server makes it. With `appendonly yes` and
//! `appendfsync always` it survives a crash of the server's machine. With `everysec`,
//! the default of `appendonly yes`, some two seconds of writes may be lost, in rare
//! cases even when only the process is killed. With snapshots alone, the writes since
//! the last one may be lost; with replicas, those that had not reached the replica that
//! took over. A logout may be among them: the session then lives again until its
//! deadline.
//!
//! No call waits for ever: each has a time-out, 2 s by default
//! ([`RedisBuilder::timeout`]), with the time to connect in it. A server that is down or
//! silent is [`ErrorKind::Unavailable`], and the next call tries to connect again:
//! nothing has to be restarted. A connection that the server closed while it was idle is
//! noticed and opened again before the next call. When a connection breaks under a call,
//! a read is retried once. A write is not, since it may have been made: it is
//! `Unavailable`. A call that times out gives up its connection too, since a dead
//! connection looks just the same.
//!
//! What a restart of the server would not cure (a wrong password, a missing right, a
//! replica) is [`ErrorKind::Misconfigured`]. No error and no `Debug` quotes a URL.
//!
//! **Why a session was ended is remembered** for a day: the script that ends it puts a
//! tombstone in its place, by the command that would have removed it. That costs no round
//! trip, and some 350 bytes of the server's memory until the day is over. A server that is
//! full may refuse the tombstone: the session ends all the same, and nobody knows why. That
//! a session expired, unused or at its absolute deadline, is not remembered, nor that a
//! rotation mark stood somewhere: Redis collects what is due by itself, and leaves nothing.
//!
//! **Set `maxmemory-policy noeviction`.** With any other policy, a server whose memory
//! is full evicts keys of its own choice: users are logged out, and ending the sessions of
//! a subject misses those whose index is gone. A store is not opened there, unless that is
//! [allowed](RedisBuilder::allow_eviction). One node is asked, at opening: a policy that is
//! changed later is not seen.
//!
//! # How sessions are stored
//!
//! Under `cloakroom:s:` (the prefix can be [chosen](RedisBuilder::prefix)) and the
//! digest in hexadecimal stands a string: a head of 134 characters, which scripts
//! compare and patch, and then the [frame], with its version and CRC:
//!
//! ```text
//! cr1 r 00000000000000000002 00000001795413817617 00000001795410217617 9f86…0a08⏎
//!     |   revision             expires_at           last_seen_at       subject digest
//!     r record, m rotation mark (its last field is the digest that it leads to),
//!     t tombstone (expires_at is until when it stands, last_seen_at when the session ended)
//! ```
//!
//! A touch writes those two instants and leaves the rest. Where head and frame do not
//! belong together, the record is [`ErrorKind::Corrupt`]; a record of a newer build is
//! never written over. A write does not read the frame that it replaces: an update heals
//! damage there. Whose session a tombstone is of stands in its head alone, which the script
//! that ends a session copies from the record: no script can make the CRC of a frame.
//!
//! Redis's own TTL collects a record, a mark or a tombstone a minute after its deadline.
//! There is nothing to sweep, and no [`Sweep`](cloakroom_core::store::Sweep).
//!
//! **The server's clock need not be right.** A TTL is a duration: the time from the
//! application's now ([`RedisBuilder::clock`]) to the deadline. No script asks the server's
//! clock, and no instant is given to it. Where the two clocks differ by more than 5 s, an
//! event at `WARN` says by how much, at connect and at each reconnect: when one of them is
//! corrected, what is stored ends earlier or later by as much, past the minute.
//!
//! Under `cloakroom:u:` and the [`SubjectDigest`] in hexadecimal stands the index of a
//! subject: a sorted set of its sessions, written by the same script as they are. A
//! session that Redis collects leaves an orphan there. Lists are read in pages, by
//! `ZSCAN`; where the server's `zset-max-listpack-entries` is more than 256, a page may be
//! as long. They pass orphans over and remove them, and each login checks four entries that are due. The set itself has a
//! TTL, which never ends before that of its longest session. The scripts reach keys that
//! they were not given, by prefix and digest: a proxy that spreads keys over several
//! servers will not do.
//!
//! # How calls are made
//!
//! **A script writes the record last,** by one command with its TTL, after it has written
//! the index and announced the write. A server may refuse any call of a script by itself (a
//! missing right, a key of another type), and what it refuses must not be half done. A call
//! that has to come after the record is tried before it, in a form that changes nothing.
//!
//! **Connections are this crate's own,** over those of redis-rs. Its connection manager
//! fails the first call after an idle connection was closed, and keeps a connection that
//! has fallen silent. Its client for clusters sends a write again whose reply was lost, so
//! the map of slots is kept here. A write is sent again only where a server has refused it,
//! or where nothing was sent.
//!
//! # How other nodes hear of writes
//!
//! Writes are announced on the channel `cloakroom:changes`, by the same script: a digest
//! and a revision. A listener has a connection of its own. **It counts as hearing only while
//! it proves that it hears**: each 5 s ([`PROOF_EVERY`]) the store publishes a message of
//! the listener's own, by the connection of its writes, and a listener whose messages have
//! not come back for 15 s ([`PROOF_AGE_MAX`]) fails, as one whose first does not come back
//! within the time-out. So a proxy that passes no messages on, or leads the listener to
//! another server than the writes, is noticed. A near cache then does what its
//! `on_disconnect` says.
//!
//! The listener also checks every second whether its connection still lives: a silent one
//! is noticed within that second and the time-out, 3 s by default, a closed one at once. A
//! server that was made a replica is noticed within the second too, where the user may ask
//! for its ROLE. A primary that is
//! cut off from those who replaced it does not know that, and is believed until it does:
//! till then, a near cache has its bound on staleness. A listener that leaves 65,536
//! messages waiting fails ([`BACKLOG_MAX`]). Channels do not know databases: two stores
//! of one prefix in two databases hear each other, which does no harm.
//!
//! # In a cluster
//!
//! [`RedisStore::cluster`] finds the nodes from the ones that it is told, and follows
//! slots that move. A session lies in one slot, the index of its subject in another, the
//! new key of a rotation in a third. No step spans two slots, and the steps are ordered
//! so that a crash between two of them does no harm.
//!
//! | | round trips: anonymous | with a subject | order |
//! |---|---|---|---|
//! | load | 1 | 1 | |
//! | create | 1 | 2 | index entry, record |
//! | update | 1 | 1, 2 where the deadline moves, 3 where it moves far or the subject changes | index entry, record |
//! | touch | 1 | 2 where the deadline moves, 3 where it moves far | record, then the index is kept longer; before, where it would not outlive the record |
//! | rotate | 3 | 5, two of them at once | index entry, the new record as *moving*, the mark at the old digest, the new record as arrived, the old index entry |
//! | end, delete | 1, and 1 for each mark | and 1 | record, index entry |
//! | revoke | 1 | and 2 or more for each session | each as an end |
//!
//! An index entry without its record is harmless. A record that is *moving* opens
//! nothing until the mark stands at its old digest: writing that mark, a
//! compare-and-swap, is the one step of a rotation that counts. So at every moment
//! exactly one of the two keys opens the session, wherever a crash cuts the rotation. A
//! load of the new key before the last step looks at the old digest, and finishes the
//! rotation where the mark stands; where a crash left it unfinished, that must happen
//! while the mark stands. What fails after the step that counts is `Unavailable`,
//! whatever the reason.
//!
//! A call waits for no other node than the one that has its slot. A revocation reads the
//! first 1,024 entries of the index, ends 64 sessions at once, and reads on until it has
//! read all that are left; a session that cannot be ended spares no other, and is the
//! error.
//!
//! A listener hears every primary, and fails where one goes or another comes, since
//! messages may have been lost meanwhile. A scan may miss what the cluster moves from
//! node to node while it runs.
//!
//! # Where to find what
//!
//! Each file imports from those above it alone:
//!
//! | file | |
//! |---|---|
//! | `value.rs` | the string under a session's key |
//! | `scripts.rs`, `scripts/` | the scripts, each one step on the server |
//! | `errors.rs` | what a server or the network says, as errors |
//! | `connection.rs`, `nodes.rs` | one connection to one server; the nodes of a cluster |
//! | `client.rs` | a call to the server that has a key |
//! | `index.rs` | the sessions of a subject |
//! | `session.rs` | the operations on one session |
//! | `single_node.rs`, `cluster.rs` | those on several keys, as one script or in steps |
//! | `store.rs`, `scan.rs`, `invalidations.rs` | the store and its capabilities |
//! | `builder.rs` | how a store is opened |
//!
//! [`ErrorKind::Unavailable`]: cloakroom_core::ErrorKind::Unavailable
//! [`ErrorKind::Misconfigured`]: cloakroom_core::ErrorKind::Misconfigured
//! [`ErrorKind::Corrupt`]: cloakroom_core::ErrorKind::Corrupt
//! [frame]: cloakroom_core::store::Stored
//! [`SubjectDigest`]: cloakroom_core::store::SubjectDigest

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod client;
mod cluster;
mod connection;
mod errors;
mod home;
mod index;
mod invalidations;
mod nodes;
mod scan;
mod scripts;
mod session;
mod single_node;
mod store;
mod value;

pub use crate::builder::{PREFIX_BYTES_MAX, PREFIX_DEFAULT, RedisBuilder, TIMEOUT_DEFAULT};
pub use crate::invalidations::{BACKLOG_MAX, HEARTBEAT, PROOF_AGE_MAX, PROOF_EVERY};
pub use crate::store::RedisStore;
