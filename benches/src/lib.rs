//! What the benches share: a session such as sites have, and its parts.
//!
//! Run them with `cargo bench -p cloakroom-benches`, and the cookie's once more
//! with `--features ring`. Each group sets what a user pays for beside the raw
//! primitive under it; read the ratio of the two, since absolute times vary from
//! machine to machine.

mod cookies;
mod crowd;

use std::future::Future;

use cloakroom::engine::Context;
use cloakroom::session::Session;
use cloakroom::store::Record;
use cloakroom::{Expiry, Limits, Subject, Timestamp};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

pub use crate::cookies::{Jar, Ours, Theirs};
pub use crate::crowd::{Crowd, digest};

/// When the benches take place: in 2096, so that no record has expired for a store that
/// looks at the system's clock.
pub const NOW: Timestamp = Timestamp::from_millis(4_000_000_000_000);

/// A typical session as a struct: who it is, a cart of three lines, a CSRF token,
/// instants, preferences. 417 bytes as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Typical {
    cart: Vec<Line>,
    csrf: String,
    currency: String,
    language: String,
    last_login: u64,
    last_pages: Vec<String>,
    name: String,
    theme: String,
    timezone: String,
    user: u64,
    /// What the benches read and change.
    pub visits: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    article: String,
    pieces: u32,
    cents: u64,
}

/// Made of hexadecimal digits, so that [`changed`] can put others in its place.
const CSRF: &str = "ab83ef1234567890abcdef1234567890ab83ef1234567890abcdef1234567890";

impl Typical {
    /// The one that all benches use.
    #[must_use]
    pub fn new() -> Self {
        let articles = ["tea", "biscuits", "umbrella"];
        let cart = articles.into_iter().enumerate().map(|(at, article)| Line {
            article: article.to_owned(),
            pieces: 1 + at as u32,
            cents: 499 + 100 * at as u64,
        });
        let pages = ["/", "/tea", "/cart", "/checkout/ok"];
        Self {
            cart: cart.collect(),
            csrf: CSRF.to_owned(),
            currency: "GBP".to_owned(),
            language: "en-GB".to_owned(),
            last_login: NOW.as_millis() - 86_400_000,
            last_pages: pages.map(str::to_owned).to_vec(),
            name: "Ada Lovelace".to_owned(),
            theme: "dark".to_owned(),
            timezone: "Europe/London".to_owned(),
            user: 4711,
            visits: 17,
        }
    }
}

impl Default for Typical {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts the typical session's fields into a session, an entry each.
///
/// # Panics
/// Never: they are within every limit.
pub fn fill(session: &Session, typical: &Typical) {
    let entries = || -> Result<(), cloakroom::Error> {
        session.insert("cart", &typical.cart)?;
        session.insert("csrf", &typical.csrf)?;
        session.insert("currency", &typical.currency)?;
        session.insert("language", &typical.language)?;
        session.insert("last_login", typical.last_login)?;
        session.insert("last_pages", &typical.last_pages)?;
        session.insert("name", &typical.name)?;
        session.insert("theme", &typical.theme)?;
        session.insert("timezone", &typical.timezone)?;
        session.insert("user", typical.user)?;
        session.insert("visits", typical.visits)
    };
    entries().expect("a typical session is within every limit");
}

/// A record of the typical session.
///
/// # Panics
/// Never: its parts are within every limit.
#[must_use]
pub fn record() -> Record {
    let session = Session::detached();
    fill(&session, &Typical::new());
    session
        .set_subject(Subject::new("4711").expect("short"))
        .expect("an open session");
    session
        .changeset()
        .expect("within every limit")
        .record(&Expiry::default(), NOW, 0)
}

/// The record with another CSRF token, so that no store can skip the write.
///
/// # Panics
/// Never: the record is the typical one.
#[must_use]
pub fn changed(record: &Record, number: u64) -> Record {
    let mut bytes = record.data.as_bytes().to_vec();
    let csrf = bytes
        .windows(4)
        .position(|window| window == b"csrf")
        .expect("an entry of the typical session");
    // The name, the value's length, its kind, its text's length.
    let text = csrf + 4 + 3;
    bytes[text..text + 16].copy_from_slice(format!("{number:016x}").as_bytes());
    let mut changed = record.clone();
    changed.data = cloakroom::store::Data::from_bytes(bytes);
    changed
}

/// What a session is opened with.
#[must_use]
pub fn context() -> Context {
    Context::new(NOW, Limits::default(), Expiry::default())
}

/// A runtime as a server has.
///
/// # Panics
/// Where the system gives no threads.
#[must_use]
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The answer of a future that waits for nothing, without a runtime's share.
///
/// # Panics
/// Where it waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use super::*;

    #[test]
    fn the_typical_session_is_417_bytes_of_json() {
        let json = serde_json::to_string(&Typical::new()).unwrap();
        assert_eq!(json.len(), 417, "{json}");
    }

    #[test]
    fn a_changed_record_differs_in_one_value_alone() {
        let (one, other) = (record(), changed(&record(), 7));
        let read = |record: &Record| {
            let session = Session::open(Some(record.clone()), context()).unwrap();
            session.items().unwrap()
        };
        let differing = read(&one).into_iter().zip(read(&other));
        let differing = differing.filter(|(one, other)| one != other);
        let names: Vec<String> = differing.map(|(one, _)| one.0).collect();
        assert_eq!(names, ["csrf"]);
        assert_eq!(one.encode().unwrap().len(), other.encode().unwrap().len());
    }
}
