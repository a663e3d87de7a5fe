//! A Redis server.

use std::io;
use std::path::{Path, PathBuf};

use crate::machine::{self, SECOND_PORT};
use crate::server::{Kind, Server, is_a_server, words};
use crate::wire::{Wire, strange, text};

const SOCKET: &str = "redis.sock";

/// A Redis of one node, which keeps what it acknowledged over
/// [`kill`](Server::kill) and [`restart`](Server::restart): its log is written
/// before the answer and synced each second.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    tls: bool,
}
is_a_server!(Redis);

impl Redis {
    /// Starts one, or says loudly that there is none on this machine.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set, or does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with further arguments, such as
    /// `["--appendfsync", "always"]`; the last of a name wins. A password is set
    /// later, with `CONFIG SET`: what asks whether it answers knows none.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(args: &[&str]) -> Option<Self> {
        let server = launch(words(args), |_| ())?;
        Some(Self { server, tls: false })
    }

    /// Starts one that speaks TLS at [`url`](Self::url) under a certificate
    /// for 127.0.0.1 and localhost, signed by [`ca`](Self::ca). The plain port stays.
    ///
    /// # Panics
    /// As [`start`](Self::start), and where `openssl` fails.
    pub fn start_tls() -> Option<Self> {
        let Some(openssl) = machine::program("openssl") else {
            machine::absent(&["openssl"], "openssl");
            return None;
        };
        let args = "--tls-cert-file leaf.crt --tls-key-file leaf.key \
                    --tls-ca-cert-file ca.crt --tls-auth-clients no";
        let mut args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        args.extend(words(&["--tls-port", "second"]));
        let server = launch(args, |guard| {
            let openssl = openssl.display().to_string();
            let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
            let make = format!(
                "req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=cloakroom-ca\n\
                 req {key} -keyout leaf.key -out leaf.csr -subj /CN=localhost\n\
                 x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
                 -out leaf.crt -days 2 -extfile names"
            );
            let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
            guard.write("names", names);
            for line in make.lines() {
                let mut command = vec![openssl.clone()];
                command.extend(line.split_whitespace().map(str::to_owned));
                guard.run(&command);
            }
        })?;
        Some(Self { server, tls: true })
    }

    pub(crate) fn start_node() -> Option<Self> {
        let args = words(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let server = launch(args, |_| ())?;
        Some(Self { server, tls: false })
    }

    /// `redis://127.0.0.1:port`, or `rediss://` where it speaks TLS.
    pub fn url(&self) -> String {
        if self.tls {
            return format!("rediss://127.0.0.1:{}", self.port() + SECOND_PORT);
        }
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder().join(SOCKET)
    }

    /// The certificate to trust, in PEM, where it speaks TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.then(|| self.folder().join("ca.crt"))
    }

    /// Sends one command over a connection of its own. The answer is what
    /// `redis-cli` would show: parts in a line each, nothing for nil.
    ///
    /// # Errors
    /// Where nothing answers within five seconds, or the answer is an error.
    pub fn command(&self, parts: &[&str]) -> io::Result<String> {
        command(self.port(), parts)
    }
}

fn launch(args: Vec<String>, prepare: impl FnOnce(&crate::guard::Guard)) -> Option<Server> {
    let Some(program) = machine::program("redis-server") else {
        machine::absent(&["redis-server"], "redis-server");
        return None;
    };
    let kind = Kind {
        name: "redis",
        stop: "TERM",
        answers,
        command: Box::new(move |port, folder| {
            let mut command = vec![program.display().to_string()];
            command.extend(words(&["--bind", "127.0.0.1", "--daemonize", "no"]));
            command.extend(words(&["--save", "", "--appendonly", "yes"]));
            command.extend(["--dir".into(), folder.display().to_string()]);
            command.extend(["--port".into(), port.to_string()]);
            // It lies in the folder, where it is unlinked with it.
            command.extend(words(&["--unixsocket", SOCKET, "--unixsocketperm", "777"]));
            let second = (port + SECOND_PORT).to_string();
            let fill = |arg: &String| match arg.as_str() {
                "second" => second.clone(),
                _ => arg.clone(),
            };
            command.extend(args.iter().map(fill));
            command
        }),
    };
    let user = machine::user(&["redis"]);
    Some(Server::start(kind, user.as_ref(), prepare))
}

fn answers(port: u16, folder: &Path) -> bool {
    // It tells its settings while it loads its data, and does nothing else then.
    command(port, &["CONFIG", "GET", "dir"])
        .is_ok_and(|answer| answer.lines().nth(1).map(Path::new) == Some(folder))
        && command(port, &["PING"]).is_ok()
}

fn command(port: u16, parts: &[&str]) -> io::Result<String> {
    let mut wire = Wire::connect(port)?;
    let mut request = format!("*{}\r\n", parts.len());
    for part in parts {
        request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    wire.send(request.as_bytes())?;
    reply(&mut wire)
}

fn reply(wire: &mut Wire) -> io::Result<String> {
    let line = wire.take_line()?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange("nothing"))?;
    let count = || rest.parse::<isize>().map_err(|_| strange(line.as_str()));
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" => match usize::try_from(count()?) {
            Ok(length) => {
                let mut bytes = wire.take(length + 2)?;
                bytes.truncate(length);
                text(bytes)
            }
            Err(_) => Ok(String::new()),
        },
        "*" => {
            let parts: io::Result<Vec<String>> = (0..count()?).map(|_| reply(wire)).collect();
            Ok(parts?.join("\n"))
        }
        _ => Err(strange(line)),
    }
}
