//! Cookies and records that real sites have written: tests/former-sites runs these sites, and
//! moves their sessions for real.
//!
//! A file of `golden/` has four lines: who wrote it, the cookie's value, the key of the
//! record, and the record in hexadecimal digits. All are of one session, of user 7; the key
//! of the cookies of Rust's libraries is the bytes from 0 to 63.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_adopt::{
    CookieKey, FoundRecord, Records, Source, actix_cookie, actix_session, express_session, named,
    tower_sessions,
};
use cloakroom_core::session::Value;
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind, SessionExpiry, Timestamp};
use cloakroom_web::{FormerSession, FormerSessions as _};

/// Before each of the sessions expires, and within an hour of it.
const NOW: Timestamp = Timestamp::from_millis(1_795_899_000_000);

/// Records in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Records for Memory {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            let found = self.0.lock().unwrap().get(key).cloned();
            Ok(found.map(FoundRecord::new))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.0.lock().unwrap().remove(key);
            Ok(())
        })
    }
}

struct Golden {
    cookie: &'static str,
    records: Memory,
    key: &'static str,
    record: Vec<u8>,
}

impl Golden {
    fn read(text: &'static str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let [_, cookie, key, record] = lines[..] else {
            panic!("four lines")
        };
        let digits = record.as_bytes().chunks_exact(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let record: Vec<u8> = digits.map(byte).collect();
        let golden = Self {
            cookie,
            records: Memory::default(),
            key,
            record,
        };
        golden.store(&golden.record);
        golden
    }

    fn store(&self, record: &[u8]) {
        let mut records = self.records.0.lock().unwrap();
        records.insert(self.key.to_owned(), record.to_vec());
    }
}

fn key() -> CookieKey {
    let bytes: Vec<u8> = (0..64).collect();
    CookieKey::from_bytes(&bytes).unwrap()
}

fn other_key() -> CookieKey {
    CookieKey::from_bytes(&[7; 64]).unwrap()
}

fn until() -> Timestamp {
    NOW.saturating_add(Duration::from_secs(3600))
}

async fn load(source: &Source, cookie: &str) -> Result<Option<FormerSession>, Error> {
    let id = source.read_cookie(cookie).expect("the library's cookie");
    source.load(&id, NOW).await
}

fn visit() -> Value {
    let text = |text: &str| Value::Str(text.to_owned());
    let item = |name, count| Value::List(vec![text(name), Value::UInt(count)]);
    let mut pairs = vec![
        ("user", Value::UInt(7)),
        ("name", text("User 7, \"Äda\"")),
        ("cart", Value::List(vec![item("tea", 2), item("milk", 300)])),
        ("balance", Value::Int(-8)),
        ("ratio", Value::Float(0.25)),
        ("referrer", Value::Null),
        ("seen", Value::Bool(true)),
    ];
    pairs.sort_by_key(|(name, _)| *name);
    Value::Map(
        pairs
            .into_iter()
            .map(|(name, value)| (text(name), value))
            .collect(),
    )
}

/// JSON objects have no order.
fn sorted(value: &Value) -> Value {
    match value.clone() {
        Value::Map(mut pairs) => {
            pairs.sort_by_key(|(name, _)| name.display().to_string());
            Value::Map(pairs)
        }
        other => other,
    }
}

/// What makes a source of the records, and one that lacks the right key.
type Make = fn(Memory) -> Source;

const ALL: [(&str, &str, Make, Option<Make>); 7] = [
    (
        "tower, plain",
        include_str!("golden/tower-plain"),
        |records| tower_sessions(records),
        None,
    ),
    (
        "tower, signed",
        include_str!("golden/tower-signed"),
        |records| tower_sessions(records).signed(key()),
        Some(|records| tower_sessions(records).signed(other_key())),
    ),
    (
        "tower, private",
        include_str!("golden/tower-private"),
        |records| tower_sessions(records).private(key()),
        Some(|records| tower_sessions(records).private(other_key())),
    ),
    (
        "actix, private",
        include_str!("golden/actix-private"),
        |records| actix_session(records, key()),
        Some(|records| actix_session(records, other_key())),
    ),
    (
        "actix, signed",
        include_str!("golden/actix-signed"),
        |records| actix_session(records, key()).signed(key()),
        Some(|records| actix_session(records, key()).signed(other_key())),
    ),
    (
        "actix, in the cookie",
        include_str!("golden/actix-cookie"),
        |_| actix_cookie(key(), until()),
        Some(|_| actix_cookie(other_key(), until())),
    ),
    (
        "express",
        include_str!("golden/express"),
        |records| express_session(records, ["newer secret", "former secret"]),
        Some(|records| express_session(records, ["another secret"])),
    ),
];

#[tokio::test]
async fn what_a_real_site_has_written_is_read() {
    for (name, text, make, _) in ALL {
        let golden = Golden::read(text);
        let source = make(golden.records.clone()).subject(named(["user_id"]));
        let session = load(&source, golden.cookie).await.unwrap().expect(name);
        assert_eq!(session.subject.as_ref().unwrap().as_str(), "7", "{name}");
        let entries: BTreeMap<_, _> = session.entries.iter().cloned().collect();
        assert_eq!(entries.len(), 2, "{name}");
        assert_eq!(entries["user_id"], Value::UInt(7), "{name}");
        assert_eq!(sorted(&entries["visit"]), visit(), "{name}");
        assert_eq!(session.entries_lost, 0, "{name}");
        assert!(session.expires_at > NOW, "{name}: {:?}", session.expires_at);
        let within = match name {
            // Redis alone knows, and the records here are in memory.
            "actix, private" | "actix, signed" => 400 * 24,
            _ => 1,
        };
        let latest = NOW.saturating_add(Duration::from_secs(within * 3600));
        assert!(
            session.expires_at <= latest,
            "{name}: {:?}",
            session.expires_at
        );

        let id = source.read_cookie(golden.cookie).unwrap();
        source.delete(&id).await.unwrap();
        let is_left = load(&source, golden.cookie).await.unwrap().is_some();
        assert_eq!(is_left, name == "actix, in the cookie", "{name}");
    }
}

#[test]
fn a_cookie_that_was_changed_or_is_of_another_key_is_refused() {
    for (name, text, make, other) in ALL {
        let golden = Golden::read(text);
        let source = make(golden.records.clone());
        let Some(other) = other else {
            // Nothing protects an id in plain: its spelling alone is checked.
            for bad in [
                "",
                "x",
                "AAAAAAAAAAAAAAAAAAAAAB",
                "AAAAAAAAAAAAAAAAAAAAAA==",
            ] {
                assert!(source.read_cookie(bad).is_none(), "{bad}");
            }
            continue;
        };
        let read = |source: &Source, value: &str| source.read_cookie(value).is_some();
        assert!(read(&source, golden.cookie), "{name}");
        assert!(!read(&other(Memory::default()), golden.cookie), "{name}");
        for at in 0..golden.cookie.len() {
            for instead in ["A", "B", ".", "%00", "%FF", ""] {
                let mut changed = golden.cookie.to_owned();
                changed.replace_range(at..=at, instead);
                let decoded = |text: &str| text.replace("%3A", ":").replace("%2F", "/");
                let same = decoded(&changed) == decoded(golden.cookie);
                assert!(same || !read(&source, &changed), "{name}: {changed}");
            }
        }
    }
}

#[tokio::test]
async fn an_id_is_looked_up_behind_the_prefix_that_the_site_has_chosen() {
    for (name, text, make, _) in ALL {
        if name == "actix, in the cookie" {
            continue;
        }
        let mut golden = Golden::read(text);
        let bare = golden.key.trim_start_matches("sess:");
        golden.key = format!("shop:{bare}").leak();
        golden.records = Memory::default();
        golden.store(&golden.record);
        let source = make(golden.records.clone());
        assert!(
            load(&source, golden.cookie).await.unwrap().is_none(),
            "{name}"
        );
        let source = make(golden.records.clone()).key_prefix("shop:");
        assert!(
            load(&source, golden.cookie).await.unwrap().is_some(),
            "{name}"
        );
        source
            .delete(&source.read_cookie(golden.cookie).unwrap())
            .await
            .unwrap();
        assert!(golden.records.0.lock().unwrap().is_empty(), "{name}");
    }
}

/// Records under keys that live for another half hour.
struct Lasting(Memory);

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

impl Records for Lasting {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            let mut found = self.0.get(key).await?;
            if let Some(found) = &mut found {
                found.lives_for = Some(HALF_AN_HOUR);
            }
            Ok(found)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.0.delete(key)
    }
}

/// A request that changes nothing moves the lifetime of the key, by connect-redis' `touch`, and
/// with `rolling` the cookie's; the record keeps the `cookie.expires` of its last change.
#[tokio::test]
async fn a_session_of_express_lives_as_long_as_its_key() {
    let golden = Golden::read(include_str!("golden/express"));
    let source = express_session(Lasting(golden.records.clone()), ["former secret"]);
    let id = source.read_cookie(golden.cookie).unwrap();
    for hours in [0, 2, 48] {
        let now = NOW.saturating_add(Duration::from_secs(hours * 3600));
        let session = source.load(&id, now).await.unwrap().unwrap();
        assert_eq!(session.expires_at, now.saturating_add(HALF_AN_HOUR));
        assert_eq!(session.expiry, SessionExpiry::Default);
    }
}

/// Signed cookies of one content are equal, whoever holds them.
#[test]
fn a_signed_cookie_that_is_the_whole_session_is_refused() {
    let golden = Golden::read(include_str!("golden/actix-signed"));
    let source = actix_cookie(key(), until()).signed(key());
    assert!(source.read_cookie(golden.cookie).is_none());
}

#[test]
fn a_short_key_is_refused() {
    let error = CookieKey::from_bytes(&[1; 63]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert_eq!(format!("{:?}", key()), "CookieKey(..)");
}

#[tokio::test]
async fn a_record_that_is_damaged_is_an_error_and_no_panic() {
    for (name, text, make, _) in ALL {
        if name == "actix, in the cookie" {
            continue;
        }
        let golden = Golden::read(text);
        let source = make(golden.records.clone());
        let expect_corrupt = async |record: &[u8]| {
            golden.store(record);
            let error = load(&source, golden.cookie).await.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}");
            assert!(std::error::Error::source(&error).is_none(), "{name}");
        };
        for bytes in 0..golden.record.len() {
            expect_corrupt(&golden.record[..bytes]).await;
        }
        // Deeply nested lists, of JSON and of MessagePack.
        expect_corrupt(&vec![b'['; 1 << 20]).await;
        expect_corrupt(&vec![0x91; 1 << 20]).await;
        for at in 0..golden.record.len() {
            let mut changed = golden.record.clone();
            changed[at] ^= 0x55;
            golden.store(&changed);
            let _ = load(&source, golden.cookie).await;
        }
    }
}

#[tokio::test]
async fn a_deep_value_is_lost_and_the_rest_carried_over() {
    let golden = Golden::read(include_str!("golden/actix-signed"));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let record = format!(r#"{{"a":"1","deep":"{deep}","no json":"x"}}"#);
    golden.store(record.as_bytes());
    let source = actix_session(golden.records.clone(), key()).signed(key());
    let session = load(&source, golden.cookie).await.unwrap().unwrap();
    assert_eq!(session.entries, [("a".to_owned(), Value::UInt(1))]);
    assert_eq!(session.entries_lost, 2);
}
