//! A Redis server of our own, and just enough of a client to empty it.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const VARIABLE: &str = "COMPARE_REDIS";

/// Where the server listens that the measuring process has started.
pub fn address() -> Option<String> {
    env::var(VARIABLE).ok()
}

pub fn flush() {
    let mut stream = TcpStream::connect(address().expect("asked before")).unwrap();
    stream.write_all(b"FLUSHALL\r\nQUIT\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("+OK"), "{reply}");
}

/// Stopped when it is dropped. It keeps nothing on a disk.
pub struct Server {
    process: Child,
    pub address: String,
}

impl Server {
    /// `None` where there is no `redis-server`.
    pub fn start() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("a free port");
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
            ])
            .arg(address.port().to_string())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let mut server = Server {
            process,
            address: address.to_string(),
        };
        while TcpStream::connect(address).is_err() {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "redis-server ends at once: {ended:?}");
            sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn tell(&self, child: &mut Command) {
        child.env(VARIABLE, &self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
