//! Why the demo does not run.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use cloakroom::ErrorKind;

/// Why the demo does not run. What it prints is one line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum DemoError {
    /// The address is not this machine's own, and nobody has allowed that.
    PublicHttp(SocketAddr),
    /// The address cannot be listened on.
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be used.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The accounts cannot be read.
    Accounts {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The store cannot be opened.
    Store {
        /// Its URL, as it may be shown.
        url: String,
        /// What it says.
        source: cloakroom::Error,
    },
    /// No certificate can be made.
    Certificate(String),
    /// The system gives no randomness.
    Randomness,
    /// The system does not say when the server is to stop.
    Signal(io::Error),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicHttp(addr) => write!(
                f,
                "refusing to listen on {addr}: it is not a loopback address, and session cookies \
                 over plain http can be read and used by others on the network; listen on \
                 127.0.0.1, or pass --allow-public-http if that is what you want"
            ),
            Self::Listen { addr, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "cannot listen on {addr}: the port is in use; choose another with --listen, \
                     or stop the program that has it"
                ),
                _ => write!(f, "cannot listen on {addr}: {source}"),
            },
            Self::Folder { folder, source } => {
                // The text names the folder that fails: this one, or one on the way to it.
                let (text, folder) = (source.to_string(), folder.display().to_string());
                if !text.contains(&folder) {
                    write!(f, "cannot use the folder {folder}: ")?;
                }
                write!(f, "{text}; choose another with --folder")
            }
            Self::Accounts { file, why } => write!(
                f,
                "cannot use {}: {why}; mend it or move it away, it is left as it is",
                file.display()
            ),
            Self::Store { url, source } => {
                match url.as_str() {
                    "" => write!(f, "cannot open the store: ")?,
                    url => write!(f, "cannot open the store `{url}`: ")?,
                }
                f.write_str(&with_causes(source))?;
                if source.kind() == ErrorKind::Locked {
                    f.write_str("; stop that process, or choose another --folder or --store")?;
                }
                Ok(())
            }
            Self::Certificate(why) => write!(f, "no certificate can be made for --tls: {why}"),
            Self::Randomness => f.write_str("the operating system gives no randomness"),
            Self::Signal(source) => write!(f, "cannot listen for Ctrl-C: {source}"),
        }
    }
}

/// An error and its causes, each once: a store's text often ends with its cause already.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(" ({said})"));
        }
        next = cause.source();
    }
    text
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Folder { source, .. } | Self::Signal(source) => {
                Some(source)
            }
            Self::Store { source, .. } => Some(source),
            Self::PublicHttp(_)
            | Self::Accounts { .. }
            | Self::Certificate(_)
            | Self::Randomness => None,
        }
    }
}
