//! A MariaDB server.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::guard::Guard;
use crate::machine;
use crate::server::{Kind, Server, is_a_server, words};
use crate::wire::{Wire, strange, text};

/// What both the server and the making of its tables take.
const SMALL: &str = "--innodb-buffer-pool-size=16M --innodb-log-file-size=8M";

/// Carried out at every start, before anybody can connect.
const INIT: &str = "CREATE DATABASE IF NOT EXISTS cloakroom;\n\
    CREATE USER IF NOT EXISTS 'cloakroom'@'127.0.0.1';\n\
    GRANT ALL ON *.* TO 'cloakroom'@'127.0.0.1';\n";

/// A MariaDB with a database `cloakroom` and an almighty user of that name
/// without a password. It syncs as in production.
#[derive(Debug)]
pub struct Mariadb {
    server: Server,
}
is_a_server!(Mariadb);

impl Mariadb {
    /// Starts one, or says loudly that there is none on this machine.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set, or does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with further arguments, such as `["--max-connections=10"]`;
    /// the last of a name wins.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(args: &[&str]) -> Option<Self> {
        let install = ["mariadb-install-db", "mysql_install_db"];
        let install = install.iter().find_map(|name| machine::program(name));
        let (Some(install), Some(program)) = (install, machine::program("mariadbd")) else {
            machine::absent(&["mariadbd", "mariadb-install-db"], "mariadb-server");
            return None;
        };
        let user = machine::user(&["mysql"]);
        let args = words(args);
        let kind = Kind {
            name: "mariadb",
            stop: "TERM",
            answers,
            command: Box::new(move |port, folder| {
                let here = |name: &str| folder.join(name).display().to_string();
                let mut command = vec![program.display().to_string(), "--no-defaults".into()];
                command.push(format!("--datadir={}", here("data")));
                command.push(format!("--socket={}", here("socket")));
                command.push(format!("--pid-file={}", here("mariadb.pid")));
                command.push(format!("--init-file={}", here("init.sql")));
                command.push(format!("--port={port}"));
                command.extend(words(&["--bind-address=127.0.0.1", "--skip-name-resolve"]));
                command.extend(words(&["--performance-schema=OFF", "--skip-log-bin"]));
                command.extend(words(&["--aria-pagecache-buffer-size=8M"]));
                command.extend(SMALL.split(' ').map(str::to_owned));
                command.extend(args.iter().cloned());
                command
            }),
        };
        static TEMPLATE: OnceLock<Guard> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let guard = Guard::new(&machine::quick_folder(), "installdb", user.as_ref());
            let data = guard.folder().join("data").display().to_string();
            let mut command = vec![install.display().to_string(), "--no-defaults".into()];
            command.push(format!("--datadir={data}"));
            let args = "--auth-root-authentication-method=normal --skip-test-db \
                        --skip-name-resolve";
            command.extend(args.split_whitespace().map(str::to_owned));
            command.extend(SMALL.split(' ').map(str::to_owned));
            guard.run(&command);
            guard
        });
        let server = Server::start(kind, user.as_ref(), |guard| {
            let from = template.folder().join("data").display().to_string();
            guard.run(&words(&["cp", "-R", &from, "data"]));
            guard.write("init.sql", INIT);
        });
        Some(Self { server })
    }

    /// `mysql://cloakroom@127.0.0.1:port/cloakroom`.
    pub fn url(&self) -> String {
        format!("mysql://cloakroom@127.0.0.1:{}/cloakroom", self.port())
    }

    /// Runs one statement in the database over a connection of its own. The
    /// answer is every row, its values as text, empty where NULL.
    ///
    /// # Errors
    /// Where nothing answers within five seconds, or the answer is an error.
    pub fn query(&self, sql: &str) -> io::Result<Vec<Vec<String>>> {
        query(self.port(), sql)
    }
}

fn answers(port: u16, folder: &Path) -> bool {
    query(port, "SELECT @@datadir")
        .is_ok_and(|rows| rows.len() == 1 && Path::new(&rows[0][0]) == folder.join("data"))
}

/// Long password (an old name for the protocol's base), connect with a
/// database, protocol 4.1, secure connection, authentication by plugin.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x8000 | 0x8_0000;

fn query(port: u16, sql: &str) -> io::Result<Vec<Vec<String>>> {
    let mut wire = Wire::connect(port)?;
    let handshake = packet(&mut wire)?;
    if handshake.first() != Some(&10) {
        return Err(refusal(&handshake));
    }
    let mut login = CAPABILITIES.to_le_bytes().to_vec();
    login.extend(0x0100_0000_u32.to_le_bytes());
    // UTF-8, 23 bytes that mean nothing, the user, a password of no bytes.
    login.push(45);
    login.extend([0; 23]);
    login.extend(b"cloakroom\0\0cloakroom\0mysql_native_password\0");
    wire.send(&framed(1, &login))?;
    let answer = packet(&mut wire)?;
    if answer.first() != Some(&0) {
        return Err(refusal(&answer));
    }
    let mut ask = vec![3];
    ask.extend(sql.bytes());
    wire.send(&framed(0, &ask))?;
    let head = packet(&mut wire)?;
    match head.first() {
        Some(0) => return Ok(Vec::new()),
        Some(&columns) if columns < 0xfb => {
            // The columns, and the mark behind them.
            for _ in 0..=columns {
                packet(&mut wire)?;
            }
        }
        _ => return Err(refusal(&head)),
    }
    let mut rows = Vec::new();
    loop {
        let body = packet(&mut wire)?;
        match body.first() {
            Some(0xfe) if body.len() < 9 => return Ok(rows),
            Some(0xff) => return Err(refusal(&body)),
            _ => rows.push(row(&body)?),
        }
    }
}

fn framed(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("tests send short queries");
    let mut bytes = length.to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend(body);
    bytes
}

fn packet(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let [low, middle, high, _number] = wire.take_array()?;
    wire.take(u32::from_le_bytes([low, middle, high, 0]) as usize)
}

fn refusal(body: &[u8]) -> io::Error {
    strange(String::from_utf8_lossy(body.get(3..).unwrap_or_default()))
}

fn row(mut rest: &[u8]) -> io::Result<Vec<String>> {
    let short = || strange("a short row");
    let mut values = Vec::new();
    while let Some((&length, after)) = rest.split_first() {
        let (length, after) = match length {
            // NULL.
            0xfb => (0, after),
            0xfc => {
                let (length, after) = after.split_first_chunk().ok_or_else(short)?;
                (usize::from(u16::from_le_bytes(*length)), after)
            }
            0xfd | 0xfe => return Err(strange("a value of more than 65,535 bytes")),
            length => (usize::from(length), after),
        };
        let (value, after) = after.split_at_checked(length).ok_or_else(short)?;
        values.push(text(value.to_vec())?);
        rest = after;
    }
    Ok(values)
}
