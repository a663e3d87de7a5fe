//! What the benches share: a session such as sites have, and its parts.
//!
//! Run them with `cargo bench -p cloakroom-benches`. Each group sets what a
//! user pays for beside the raw primitive under it; read the ratio of the two,
//! since absolute times vary from machine to machine.

use cloakroom::{Entries, Expiry, Record, Session, Subject, Timestamp};
use serde::Serialize;

/// When the benches take place.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Serialize)]
struct Line {
    article: &'static str,
    pieces: u32,
    cents: u64,
}

/// Puts a typical session's entries into a session: who it is, a cart of three
/// lines, preferences, a CSRF token.
///
/// # Panics
/// Never: they are within every limit.
pub fn fill(session: &Session) {
    let cart: Vec<Line> = ["tea", "biscuits", "umbrella"]
        .into_iter()
        .enumerate()
        .map(|(at, article)| Line {
            article,
            pieces: 1 + at as u32,
            cents: 499 + 100 * at as u64,
        })
        .collect();
    let entries = || -> Result<(), cloakroom::Error> {
        session.insert("name", "Ada Lovelace")?;
        session.insert("cart", cart)?;
        session.insert("visits", 17_u64)?;
        session.insert("theme", "dark")?;
        session.insert("language", "en-GB")?;
        session.insert("csrf", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA")?;
        session.insert("last_pages", ["/", "/tea", "/cart", "/checkout"])
    };
    entries().expect("a typical session is within every limit");
}

/// A record of a typical session.
///
/// # Panics
/// Never: its parts are within every limit.
#[must_use]
pub fn record() -> Record {
    let session = Session::detached();
    fill(&session);
    session
        .set_subject(Subject::new("4711").expect("short"))
        .expect("an open session");
    session
        .draft()
        .expect("within every limit")
        .record(&Expiry::default(), NOW, 0)
}

/// The record with one value changed, so that no store can skip the write.
///
/// # Panics
/// Never: its parts are within every limit.
#[must_use]
pub fn changed(record: &Record, number: u64) -> Record {
    let entries = Entries::open(record.data.clone()).expect("just made");
    let mut bytes = entries.data().as_bytes().to_vec();
    let end = bytes.len();
    bytes[end - 8..].copy_from_slice(&number.to_le_bytes());
    let mut changed = record.clone();
    changed.data = cloakroom::Data::from_bytes(bytes);
    changed
}
