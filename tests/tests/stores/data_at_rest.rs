//! What a copy of the disk reveals: after a thousand sessions, a search over every byte
//! and every file name of a store's folder.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use cloakroom::engine::SessionKey;
use cloakroom::{AnyStore, Engine, Site, Subject};
use cloakroom_testkit::key;
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::in_process::{COOKIE, TestApp};
use futures_util::StreamExt as _;

const SESSIONS: usize = 1_000;

/// Visitors at a time, who share what the stores let them share.
const AT_ONCE: usize = 16;

/// Everything is searched for in pieces of this length, so that a text that is
/// stored in two parts is found all the same.
const PIECE: usize = 16;

/// What one visitor leaves behind.
struct Planted {
    name: String,
    value: String,
    /// In the header, which is never sealed.
    subject: Option<String>,
    /// Every token that the visitor has held; the last one opens the session.
    tokens: Vec<String>,
}

/// A random text of two pieces that nothing else contains.
fn text() -> String {
    key().to_token().expose()[..2 * PIECE].to_owned()
}

/// A session with a planted name and value: written, for some written again, for
/// some moved to another key by a login.
async fn visit(store: AnyStore, number: usize) -> Planted {
    let app = TestApp::with(|_| Engine::builder(store));
    let (name, value) = (text(), text());
    let mut tokens = Vec::new();
    let first = if number.is_multiple_of(3) {
        text()
    } else {
        value.clone()
    };
    app.visit(async |s| s.insert(name.as_str(), &first).unwrap())
        .await;
    tokens.extend(app.token());
    let mut subject = None;
    if number.is_multiple_of(2) {
        let user = text();
        app.visit(async |s| s.set_subject(Subject::new(user.as_str()).unwrap()).unwrap())
            .await;
        tokens.extend(app.token());
        subject = Some(user);
    }
    if first != value {
        app.visit(async |s| s.insert(name.as_str(), &value).unwrap())
            .await;
    }
    let mut found: Option<String> = None;
    app.visit(async |s| found = s.get(&name).unwrap()).await;
    assert_eq!(found.as_deref(), Some(value.as_str()));
    Planted {
        name,
        value,
        subject,
        tokens,
    }
}

async fn plant(store: AnyStore) -> Vec<Planted> {
    let visits = (0..SESSIONS).map(|number| visit(store.clone(), number));
    futures_util::stream::iter(visits)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The first and the last piece.
fn pieces(text: impl AsRef<[u8]>) -> [Vec<u8>; 2] {
    let text = text.as_ref();
    [text[..PIECE].to_vec(), text[text.len() - PIECE..].to_vec()]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A key as bytes, as the text that the client holds, and in hexadecimal.
fn key_pieces(planted: &Planted) -> impl Iterator<Item = Vec<u8>> {
    planted.tokens.iter().flat_map(|token| {
        let key = SessionKey::parse(token).unwrap();
        let raw = key.expose_bytes();
        [pieces(raw), pieces(token), pieces(hex(raw))]
            .into_iter()
            .flatten()
    })
}

fn data_pieces(planted: &Planted) -> impl Iterator<Item = Vec<u8>> {
    [pieces(&planted.name), pieces(&planted.value)]
        .into_iter()
        .flatten()
}

/// All bytes of all files below a folder, with their names.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(path.file_name().unwrap().as_encoded_bytes());
        match path.is_dir() {
            true => all.extend(bytes_below(&path)),
            false => all.extend(std::fs::read(path).unwrap()),
        }
    }
    all
}

/// Which of the pieces are there.
fn found(all: &[u8], wanted: impl Iterator<Item = Vec<u8>>) -> HashSet<Vec<u8>> {
    let wanted: HashSet<Vec<u8>> = wanted.collect();
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    // Most places are settled by their first bytes.
    let mut starts = vec![false; 1 << 16];
    for piece in &wanted {
        starts[start(piece)] = true;
    }
    let windows = all.windows(PIECE).filter(|window| starts[start(window)]);
    windows
        .filter_map(|window| wanted.get(window).cloned())
        .collect()
}

async fn search(kind: Embedded, options: &str, data_is_sealed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let planted = plant(kind.open_with(folder.path(), options).await).await;
    let all = bytes_below(folder.path());
    let keys = found(&all, planted.iter().flat_map(key_pieces));
    assert!(
        keys.is_empty(),
        "{kind}{options}: {} pieces of keys",
        keys.len()
    );

    // That the search finds what is there: digests, and the header.
    let digests = planted.iter().flat_map(|planted| {
        let key = SessionKey::parse(planted.tokens.last().unwrap()).unwrap();
        let digest = key.of_site(&Site::new(COOKIE).unwrap()).digest();
        match kind {
            Embedded::File => pieces(digest.to_hex()),
            _ => pieces(digest.as_bytes()),
        }
    });
    assert_eq!(
        found(&all, digests).len(),
        2 * SESSIONS,
        "{kind}{options}: digests"
    );
    let subjects = planted
        .iter()
        .filter_map(|planted| planted.subject.as_ref());
    let subjects = found(&all, subjects.flat_map(pieces));
    assert_eq!(subjects.len(), SESSIONS, "{kind}{options}: subjects");

    let data = found(&all, planted.iter().flat_map(data_pieces));
    let expected = if data_is_sealed { 0 } else { 4 * SESSIONS };
    assert_eq!(data.len(), expected, "{kind}{options}: pieces of data");
}

#[tokio::test]
async fn a_byte_search_over_sealed_files_finds_no_planted_value_and_no_key() {
    search(Embedded::File, "?sealed=true", true).await;
}

#[tokio::test]
async fn a_byte_search_over_sealed_redb_finds_no_planted_value_and_no_key() {
    search(Embedded::Redb, "?sealed=true", true).await;
}

#[tokio::test]
async fn a_byte_search_over_sealed_sled_finds_no_planted_value_and_no_key() {
    search(Embedded::Sled, "?sealed=true", true).await;
}

#[tokio::test]
async fn a_byte_search_over_sealed_sqlite_finds_no_planted_value_and_no_key() {
    search(Embedded::Sqlite, "?sealed=true", true).await;
}

#[tokio::test]
async fn without_the_seal_a_byte_search_finds_the_values_and_still_no_key() {
    for kind in Embedded::ALL {
        search(kind, "", false).await;
    }
}
