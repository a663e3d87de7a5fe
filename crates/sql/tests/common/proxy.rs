//! A network that dies without a word.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// A way to a server of this machine, on threads of its own.
pub(crate) struct Proxy {
    port: u16,
    /// What was opened in an age before this one is dead: nothing comes through it,
    /// and it is not closed.
    age: Arc<AtomicU64>,
    /// Whether the next answer is lost, and its connection with it.
    loses_answer: Arc<AtomicBool>,
    /// How often a client has asked what was answered before it asked again.
    trips: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let age = Arc::new(AtomicU64::new(0));
        let (current, trips) = (age.clone(), Arc::new(AtomicU64::new(0)));
        let counted = trips.clone();
        let loses_answer = Arc::new(AtomicBool::new(false));
        let loses = loses_answer.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let born = current.load(Ordering::SeqCst);
                let is_answered = Arc::new(AtomicBool::new(true));
                for (from, to, asks) in [(&client, &server, true), (&server, &client, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (current, trips) = (current.clone(), counted.clone());
                    let is_answered = is_answered.clone();
                    let loses = loses.clone();
                    let passes = move || {
                        let begins = is_answered.swap(!asks, Ordering::SeqCst);
                        if asks && begins {
                            trips.fetch_add(1, Ordering::SeqCst);
                        }
                        if !asks && loses.swap(false, Ordering::SeqCst) {
                            return Passage::Cut;
                        }
                        match current.load(Ordering::SeqCst) == born {
                            true => Passage::Through,
                            false => Passage::Dark,
                        }
                    };
                    thread::spawn(move || pump(from, to, passes));
                }
            }
        });
        Self {
            port,
            age,
            loses_answer,
            trips,
        }
    }

    /// The URL of a server, by this way.
    pub(crate) fn url(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Ordering::SeqCst)
    }

    /// Cuts the connection whose answer comes next, before the client has it.
    pub(crate) fn lose_answer(&self) {
        self.loses_answer.store(true, Ordering::SeqCst);
    }

    /// Whether the answer that was to be lost is still to come.
    pub(crate) fn is_to_lose(&self) -> bool {
        self.loses_answer.load(Ordering::SeqCst)
    }

    /// Kills every connection that there is, without a word to either end.
    pub(crate) fn go_dark(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }
}

/// What becomes of some bytes.
enum Passage {
    Through,
    /// They vanish.
    Dark,
    /// They vanish, and both ends see the connection end.
    Cut,
}

fn pump(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> Passage) {
    let mut buffer = [0; 1 << 14];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            break;
        }
        match passes() {
            Passage::Through if to.write_all(&buffer[..read]).is_ok() => {}
            Passage::Dark => {}
            Passage::Through | Passage::Cut => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
