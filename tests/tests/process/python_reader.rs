//! The reader in Python of docs/format.md, as it stands there, over what the stores have written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cloakroom::engine::Binding;
use cloakroom::session::{Limits, Value};
use cloakroom::store::{
    Data, EndReason, Ending, KeyDigest, Record, SessionStore, Stored, SubjectDigest,
};
use cloakroom::stores::{FileStore, SqliteStore};
use cloakroom::{Aal, Authentication, Label, Login, SessionExpiry, Site, Subject, Timestamp};
use serde_json::json;

/// The one block of this language below a heading of the page.
fn block(heading: &str, language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let begin = format!("```{language}\n");
    let blocks = section.split(&*begin).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// What the reader prints of a file, a value for each line; `None` where there is no Python.
fn read(folder: &Path, file: &Path) -> Option<Vec<serde_json::Value>> {
    let program = folder.join("read_sessions.py");
    fs::write(&program, &block("The reader", "python")[0]).unwrap();
    let Ok(done) = Command::new("python3").arg(program).arg(file).output() else {
        let ci = std::env::var("CI").is_ok_and(|ci| ci != "false" && !ci.is_empty());
        assert!(!ci, "python3 is not installed");
        println!("SKIPPED: python3 is not installed");
        return None;
    };
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    Some(lines.collect())
}

/// A value of each kind, and of each size that has a kind of its own.
fn values() -> Vec<(&'static str, Value)> {
    let text = |length| Value::Str("é".repeat(length));
    let number = |bits: u32| Value::UInt(1 << bits);
    let line = |sku: &str, qty| {
        let fields = [("sku", Value::Str(sku.into())), ("qty", Value::UInt(qty))];
        Value::Map(
            fields
                .map(|(name, value)| (Value::Str(name.into()), value))
                .into(),
        )
    };
    vec![
        ("bytes", Value::Bytes(vec![0, 255])),
        ("cart", Value::List(vec![line("tea", 2), line("milk", 300)])),
        ("false", Value::Bool(false)),
        ("float", Value::Float(-0.5)),
        ("huge", Value::BigUInt(u128::from(u64::MAX) + 1)),
        (
            "long list",
            Value::List((0..300).map(Value::UInt).collect()),
        ),
        ("long text", text(200)),
        (
            "long map",
            Value::Map(
                (0..40)
                    .map(|n| (Value::Str(format!("n{n}")), Value::UInt(n)))
                    .collect(),
            ),
        ),
        ("low", Value::BigInt(i128::from(i64::MIN) - 1)),
        (
            "negative",
            Value::List((1..63).map(|bits| Value::Int(-(1 << bits))).collect()),
        ),
        ("nothing", Value::Null),
        ("numbers", Value::List((0..64).map(number).collect())),
        ("some nothing", Value::Some(Box::new(Value::Null))),
        ("text", text(20)),
        ("true", Value::Bool(true)),
    ]
}

fn expected_values() -> serde_json::Value {
    json!({
        "bytes": "00ff",
        "cart": [{"sku": "tea", "qty": 2}, {"sku": "milk", "qty": 300}],
        "false": false,
        "float": -0.5,
        "huge": 18_446_744_073_709_551_616.0,
        "long list": (0..300).collect::<Vec<_>>(),
        "long text": "é".repeat(200),
        "long map": (0..40).map(|n| (format!("n{n}"), n)).collect::<std::collections::BTreeMap<_, _>>(),
        "low": -9_223_372_036_854_775_809.0,
        "negative": (1..63).map(|bits| -(1_i64 << bits)).collect::<Vec<_>>(),
        "nothing": null,
        "numbers": (0..64).map(|bits| 1_u64 << bits).collect::<Vec<_>>(),
        "some nothing": null,
        "text": "é".repeat(20),
        "true": true,
    })
}

fn record() -> Record {
    let mut record = Record::new(Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
    record.site = Site::new("__Host-session").unwrap();
    record.subject = Some(Subject::new("42").unwrap());
    record.label = Some(Label::new("Firefox on Linux").unwrap());
    record.expiry = SessionExpiry::Idle(Duration::from_millis(1_500));
    record.data = Data::from_values(values(), &Limits::default()).unwrap();
    record
}

/// Offered to a device.
fn offer() -> Binding {
    Binding::offered([7; 32], Timestamp::from_millis(3_000))
}

/// A record with this binding, a rotation mark and a tombstone.
async fn fill(store: &impl SessionStore, binding: Binding) {
    let digest = |byte| KeyDigest::from_bytes([byte; 32]);
    let mut proven = record();
    let how = Authentication::from(Aal::Two).by(Label::new("passkey").unwrap());
    let mut login = Login::new(&how, Timestamp::from_millis(2_000));
    login.binding = Some(Box::new(binding));
    proven.login = Some(login.into());
    store.create(&digest(1), &proven).await.unwrap();
    let revision = store.create(&digest(2), &record()).await.unwrap();
    let moving = record().at_revision(revision);
    let until = Timestamp::from_millis(5_000);
    store
        .rotate(&digest(2), &digest(3), &moving, until)
        .await
        .unwrap();
    let note = Some(Label::new("lost phone").unwrap());
    let at = Timestamp::from_millis(6_000);
    let ending = Ending::new(EndReason::EndedByAdministrator, at).with_note(note);
    store.end(&digest(3), Some(&ending)).await.unwrap();
}

/// Whether each field of `expected` is there as it should.
fn holds(read: &serde_json::Value, expected: serde_json::Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name} in {read}");
    }
}

fn subject_digest() -> String {
    let site = Site::new("__Host-session").unwrap();
    SubjectDigest::new(&site, &Subject::new("42").unwrap()).to_hex()
}

#[test]
fn the_vector_of_the_page_reads_as_the_page_says() {
    let [frame, says] = &block("A vector", "text")[..] else {
        panic!("two blocks");
    };
    let hex: Vec<u8> = frame
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let frame: Vec<u8> = hex.chunks(2).map(byte).collect();
    assert!(Stored::decode(&frame).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frame");
    fs::write(&file, frame).unwrap();
    let Some(read) = read(folder.path(), &file) else {
        return;
    };
    assert_eq!(
        read,
        [serde_json::from_str::<serde_json::Value>(says).unwrap()]
    );
}

#[tokio::test]
async fn python_reads_the_rows_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.sqlite");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, offer()).await;
    let Some(mut read) = read(folder.path(), &file) else {
        return;
    };
    read.sort_by_key(|session| session["digest"].to_string());
    let [record, mark, tombstone] = &read[..] else {
        panic!("{read:?}");
    };
    holds(
        record,
        json!({
            "kind": "record", "digest": "01".repeat(32), "revision": 1, "created_at": 1_000,
            "expires_at": 9_000, "expiry": "idle:1500", "site": "__Host-session", "subject": "42",
            "subject_digest": subject_digest(), "label": "Firefox on Linux",
            "login": {
                "level": 2, "at_secs": 2, "method": "passkey", "secret": "(32 bytes)",
                "offered_at_secs": 3,
            },
            "values": expected_values(),
        }),
    );
    holds(
        mark,
        json!({"kind": "rotation mark", "moved_to": "03".repeat(32)}),
    );
    holds(
        tombstone,
        json!({
            "kind": "tombstone", "ended": "ended_by_administrator", "last_seen_at": 6_000,
            "label": "lost phone", "subject": subject_digest(),
        }),
    );
}

#[tokio::test]
async fn python_reads_the_files_of_the_file_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("sessions")).unwrap();
    fill(&store, offer().bound_to([4; 65])).await;
    let file = |byte: &str| -> PathBuf {
        folder
            .path()
            .join("sessions/v1")
            .join(byte)
            .join(byte.repeat(32))
    };
    let read = |byte| Some(read(folder.path(), &file(byte))?.remove(0));
    let Some(record) = read("01") else { return };
    holds(
        &record,
        json!({
            "kind": "record", "revision": 1, "created_at": 1_000, "expires_at": 9_000,
            "absolute_deadline": null, "expiry": "idle:1500", "site": "__Host-session",
            "subject": "42", "label": "Firefox on Linux",
            "login": {
                "level": 2, "at_secs": 2, "method": "passkey", "secret": "(32 bytes)",
                "device_key": "04".repeat(65),
            },
            "flushes": 0, "values": expected_values(),
        }),
    );
    let mark = json!({"kind": "rotation mark", "expires_at": 5_000, "moved_to": "03".repeat(32)});
    holds(&read("02").unwrap(), mark);
    holds(
        &read("03").unwrap(),
        json!({
            "kind": "tombstone", "because": "ended_by_administrator", "last_seen_at": 6_000,
            "note": "lost phone", "subject": subject_digest(),
        }),
    );
}
