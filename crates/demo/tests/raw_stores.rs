//! What a store holds after a walk through the demo, byte by byte: no address, no browser's
//! description of itself, no key; and, sealed, nothing that the visitor has left.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::path::Path;

use cloakroom::AnyStore;
use cloakroom::engine::SessionKey;
use cloakroom_servers::Redis;
use common::{PASSWORD, Site};

/// What every request brings beside its cookie, and no part of the site asks to keep.
const HEADERS: [(&str, &str); 5] = [
    ("x-forwarded-for", "203.0.113.77"),
    ("x-real-ip", "203.0.113.77"),
    ("forwarded", "for=203.0.113.77"),
    (
        "user-agent",
        "Walker/9 (X11; Linux x86_64; rv:125.0) Firefox/125.0",
    ),
    ("accept-language", "tlh-AQ"),
];

/// Parts of it that nothing else contains.
const UNASKED: [&str; 4] = ["203.0.113.77", "Walker/9", "rv:125.0", "tlh-AQ"];

const NAME: &str = "Augusta-Ada-Byron";

/// What a walk has left behind that could be searched for.
struct Left {
    /// Every token that the visitor has held.
    tokens: Vec<String>,
    /// What the session itself keeps: the name, and the token of its forms.
    values: Vec<String>,
}

async fn walk(store: AnyStore) -> Left {
    let site = Site::over(store);
    let mut browser = site.browser();
    let mut left = Left {
        tokens: Vec::new(),
        values: vec![NAME.to_owned()],
    };
    let mut note = |browser: &common::Browser| {
        left.tokens.extend(browser.cookie.clone());
        left.values.extend(browser.token.clone());
    };
    let entry = [("name", NAME), ("password", PASSWORD)];
    for (method, path, fields) in [
        ("GET", "/cart", &[][..]),
        ("POST", "/cart/add", &[("item", "hat")]),
        ("GET", "/register", &[]),
        ("POST", "/register", &entry),
        ("GET", "/count", &[]),
        ("POST", "/count", &[]),
        ("GET", "/devices", &[]),
        ("POST", "/cart/add", &[("item", "hat")]),
        ("GET", "/cart", &[]),
    ] {
        let mut headers = HEADERS.to_vec();
        headers.push(("sec-fetch-site", "same-origin"));
        let mut fields = fields.to_vec();
        let form_token = browser.token.clone();
        fields.extend(form_token.as_deref().map(|token| ("csrf", token)));
        let seen = browser.send(method, path, &headers, &fields).await;
        assert!(seen.status.as_u16() < 400, "{path}: {}", seen.text);
        note(&browser);
    }
    assert!(
        browser.get("/").await.text.contains(NAME),
        "it is logged in"
    );
    left.values.sort();
    left.values.dedup();
    assert!(left.tokens.len() > 5 && left.values.len() > 1);
    left
}

/// All bytes of all files below a folder, with their names.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(path.file_name().unwrap().as_encoded_bytes());
        match path.is_dir() {
            true => all.extend(bytes_below(&path)),
            // A socket is no file to read.
            false => all.extend(std::fs::read(path).unwrap_or_default()),
        }
    }
    all
}

fn holds(all: &[u8], wanted: impl AsRef<[u8]>) -> bool {
    let wanted = wanted.as_ref();
    all.windows(wanted.len()).any(|window| window == wanted)
}

fn search(kind: &str, folder: &Path, left: &Left, is_sealed: bool) {
    let all = bytes_below(folder);
    for unasked in UNASKED {
        assert!(!holds(&all, unasked), "{kind}: {unasked}");
    }
    for token in &left.tokens {
        let raw = *SessionKey::parse(token).unwrap().expose_bytes();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [token.as_bytes(), &raw[..16], hex.as_bytes()] {
            assert!(!holds(&all, form), "{kind}: a key");
        }
    }
    for value in &left.values {
        // Where nothing is sealed, this shows that the search finds what is there.
        assert_eq!(holds(&all, value), !is_sealed, "{kind}: {value}");
    }
    // What the demo does ask to keep, for the list of devices: a few words of its own.
    assert!(holds(&all, "Firefox on Linux"), "{kind}");
}

#[tokio::test]
async fn a_walk_leaves_no_address_no_user_agent_and_no_key_and_sealed_no_value() {
    for kind in ["redb", "sqlite", "file", "sled"] {
        for (options, is_sealed) in [("", false), ("?sealed=true", true)] {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("{kind}:{}{options}", folder.path().join("s").display());
            let store = cloakroom::open(&url).await.unwrap();
            let left = walk(store.clone()).await;
            store.close().await.unwrap();
            search(kind, folder.path(), &left, is_sealed);
        }
    }
}

/// Its log holds every command as it came.
#[tokio::test]
async fn nor_does_it_in_redis() {
    for (options, is_sealed) in [("", false), ("?sealed=true", true)] {
        let Some(redis) = Redis::start() else { return };
        let url = format!("{}{options}", redis.url());
        let left = walk(cloakroom::open(&url).await.unwrap()).await;
        search("redis", redis.folder(), &left, is_sealed);
    }
}
