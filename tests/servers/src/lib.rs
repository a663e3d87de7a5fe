//! Real servers for tests: each on a free port of 127.0.0.1, in a
//! folder of its own, gone with the test that started it.
//!
//! ```
//! use cloakroom_servers::Redis;
//!
//! // Nothing where Redis is not installed, which is said loudly; where `CI` is
//! // set, that is a panic.
//! let Some(redis) = Redis::start() else { return };
//! assert_eq!(redis.command(&["SET", "coat", "7"]).unwrap(), "OK");
//! redis.kill();
//! redis.restart();
//! assert_eq!(redis.command(&["GET", "coat"]).unwrap(), "7");
//! assert!(redis.url().starts_with("redis://127.0.0.1:"));
//! ```
//!
//! Tests that harm nothing share one server a process: [`redis()`],
//! [`redis_cluster()`], [`postgres()`], [`mariadb()`].
//!
//! No server survives. A shell stands over each one and reads from a pipe that
//! only this process holds open; at its end, be it by a drop, an exit or a
//! SIGKILL, the shell kills the server and removes the folder. Where this
//! process is root's, the shell and the server run as another user.

mod chromium;
mod cluster;
mod guard;
mod machine;
mod mariadb;
mod nginx;
mod pgbouncer;
mod postgres;
mod redis;
mod server;
mod wire;

use std::sync::OnceLock;

pub use chromium::{Chromium, OpenPage};
pub use cluster::RedisCluster;
pub use machine::free_port;
pub use mariadb::Mariadb;
pub use nginx::Nginx;
pub use pgbouncer::Pgbouncer;
pub use postgres::Postgres;
pub use redis::Redis;
pub use server::{PATIENCE, Server};

/// The Redis that the tests of this process share.
///
/// # Panics
/// As [`Redis::start`].
pub fn redis() -> Option<&'static Redis> {
    static SHARED: OnceLock<Option<Redis>> = OnceLock::new();
    SHARED.get_or_init(Redis::start).as_ref()
}

/// The cluster that the tests of this process share.
///
/// # Panics
/// As [`RedisCluster::start`].
pub fn redis_cluster() -> Option<&'static RedisCluster> {
    static SHARED: OnceLock<Option<RedisCluster>> = OnceLock::new();
    SHARED.get_or_init(RedisCluster::start).as_ref()
}

/// The PostgreSQL that the tests of this process share.
///
/// # Panics
/// As [`Postgres::start`].
pub fn postgres() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

/// The MariaDB that the tests of this process share.
///
/// # Panics
/// As [`Mariadb::start`].
pub fn mariadb() -> Option<&'static Mariadb> {
    static SHARED: OnceLock<Option<Mariadb>> = OnceLock::new();
    SHARED.get_or_init(Mariadb::start).as_ref()
}
