//! What the little clients share: one connection with a limit on every wait.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a client waits for an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// A stranger at the port may speak another protocol, whose bytes are no length.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        Self::connect_within(port, ANSWER)
    }

    /// With another limit on every wait.
    pub(crate) fn connect_within(port: u16, limit: Duration) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > MESSAGE_BYTES_MAX {
            return Err(strange("a message of more than 16 MiB"));
        }
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn take_array<const COUNT: usize>(&mut self) -> io::Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A line without its CR LF.
    pub(crate) fn take_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take_array::<1>()?);
        }
        line.truncate(line.len() - 2);
        text(line)
    }
}

pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| strange("not text"))
}

/// The server said what this client does not understand, or no.
pub(crate) fn strange(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
