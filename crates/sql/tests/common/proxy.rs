//! A network that dies without a word.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A way to a server of this machine, on threads of its own.
pub(crate) struct Proxy {
    port: u16,
    /// What was opened in an age before this one is dead: nothing comes through it,
    /// and it is not closed.
    age: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let age = Arc::new(AtomicU64::new(0));
        let current = age.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let born = current.load(Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let current = current.clone();
                    thread::spawn(move || {
                        pump(from, to, || current.load(Ordering::SeqCst) == born)
                    });
                }
            }
        });
        Self { port, age }
    }

    /// The URL of a server, by this way.
    pub(crate) fn url(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Kills every connection that there is, without a word to either end.
    pub(crate) fn go_dark(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, lives: impl Fn() -> bool) {
    let mut buffer = [0; 1 << 14];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        match read {
            _ if !lives() && read > 0 => {}
            0 => break,
            _ if to.write_all(&buffer[..read]).is_err() => break,
            _ => {}
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
