//! A PostgreSQL server.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::guard::Guard;
use crate::machine;
use crate::server::{Kind, PATIENCE, Server, is_a_server, words};
use crate::wire::{ANSWER, Wire, strange, text};

/// A PostgreSQL with a database `cloakroom`, which trusts whoever connects as
/// `postgres`. It syncs as in production.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}
is_a_server!(Postgres);

impl Postgres {
    /// Starts one, or says loudly that there is none on this machine.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set, or does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with further arguments, such as
    /// `["-c", "max_connections=10"]`; the last of a name wins.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(args: &[&str]) -> Option<Self> {
        // Both of one version, whatever stands first in PATH.
        let initdb = machine::program("initdb").and_then(|file| file.canonicalize().ok());
        let beside = initdb.as_ref().map(|file| file.with_file_name("postgres"));
        let (Some(initdb), Some(program)) = (initdb, beside.filter(|file| file.exists())) else {
            machine::absent(&["initdb", "postgres"], "postgresql");
            return None;
        };
        let user = machine::user(&["postgres"]);
        let args = words(args);
        let kind = Kind {
            name: "postgres",
            stop: "INT",
            answers,
            command: Box::new(move |port, folder| {
                let mut command = vec![program.display().to_string(), "-D".into()];
                command.push(folder.join("data").display().to_string());
                command.extend(["-p".into(), port.to_string()]);
                command.extend(words(&["-c", "listen_addresses=127.0.0.1"]));
                command.extend(words(&["-c", "unix_socket_directories="]));
                command.extend(words(&["-c", "shared_buffers=16MB"]));
                // In its folder, and gone with it: what a killed server leaves
                // elsewhere nobody clears away.
                command.extend(words(&["-c", "dynamic_shared_memory_type=mmap"]));
                command.extend(args.iter().cloned());
                command
            }),
        };
        static TEMPLATE: OnceLock<Guard> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let guard = Guard::new(&machine::quick_folder(), "initdb", user.as_ref());
            let mut command = vec![initdb.display().to_string()];
            let args = "-D data -U postgres -A trust -N -E UTF8 --locale=C";
            command.extend(args.split(' ').map(str::to_owned));
            guard.run(&command);
            guard
        });
        let server = Server::start(kind, user.as_ref(), |guard| {
            let from = template.folder().join("data").display().to_string();
            guard.run(&words(&["cp", "-R", &from, "data"]));
        });
        // A server before version 15 syncs each file of it by itself.
        let create = "CREATE DATABASE cloakroom";
        let made = query_within(PATIENCE, server.port(), "postgres", create);
        assert!(made.is_ok(), "no database: {made:?}\n{}", server.log());
        Some(Self { server })
    }

    /// `postgres://postgres@127.0.0.1:port/cloakroom`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/cloakroom", self.port())
    }

    /// Runs SQL in the database over a connection of its own. The answer is
    /// every row, its values as text, empty where NULL.
    ///
    /// # Errors
    /// Where nothing answers within five seconds, or the answer is an error.
    pub fn query(&self, sql: &str) -> io::Result<Vec<Vec<String>>> {
        query(self.port(), "cloakroom", sql)
    }
}

fn answers(port: u16, folder: &Path) -> bool {
    query(port, "postgres", "SHOW data_directory")
        .is_ok_and(|rows| rows.len() == 1 && Path::new(&rows[0][0]) == folder.join("data"))
}

pub(crate) fn query(port: u16, database: &str, sql: &str) -> io::Result<Vec<Vec<String>>> {
    query_within(ANSWER, port, database, sql)
}

fn query_within(
    limit: Duration,
    port: u16,
    database: &str,
    sql: &str,
) -> io::Result<Vec<Vec<String>>> {
    let mut wire = Wire::connect_within(port, limit)?;
    // Protocol 3.0.
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    body.extend(format!("user\0postgres\0database\0{database}\0\0").bytes());
    wire.send(&framed(&body))?;
    until_ready(&mut wire)?;
    wire.send(b"Q")?;
    wire.send(&framed(format!("{sql}\0").as_bytes()))?;
    let rows = until_ready(&mut wire)?;
    wire.send(b"X")?;
    wire.send(&framed(&[]))?;
    Ok(rows)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("tests send short queries");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// Reads messages until the server waits for the next query.
fn until_ready(wire: &mut Wire) -> io::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    loop {
        let [kind] = wire.take_array()?;
        let length = u32::from_be_bytes(wire.take_array()?) as usize;
        let body = wire.take(length.saturating_sub(4))?;
        match kind {
            b'D' => rows.push(row(&body)?),
            b'E' => {
                let fields = body.split(|&byte| byte == 0);
                let message = fields.filter(|field| field.starts_with(b"M"));
                let message: Vec<u8> = message.flatten().skip(1).copied().collect();
                return Err(strange(text(message)?));
            }
            b'Z' => return Ok(rows),
            _ => {}
        }
    }
}

fn row(body: &[u8]) -> io::Result<Vec<String>> {
    let short = || strange("a short row");
    let (count, mut rest) = body.split_first_chunk().ok_or_else(short)?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk().ok_or_else(short)?;
        // Minus one says NULL.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, after) = after.split_at_checked(length).ok_or_else(short)?;
        values.push(text(value.to_vec())?);
        rest = after;
    }
    Ok(values)
}
