//! A session of 417 bytes of JSON in a cookie: our store's beside the `cookie`
//! crate's jars, each from what the handler has to the header, and back.
//!
//! With `--features ring` the encrypted ones are ours by ring.

use std::hint::black_box;

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use cloakroom::Expiry;
use cloakroom::session::Session;
use cloakroom_benches::{Jar, NOW, Ours, Theirs, Typical, context, fill, record};
use criterion::{Criterion, criterion_group, criterion_main};

/// A mode of ours, and the jar that does the same.
type Mode = (&'static str, fn() -> Ours, &'static str, Jar);

const MODES: [Mode; 2] = [
    ("encrypted", Ours::encrypted, "PrivateJar", Jar::Private),
    ("signed", Ours::signed, "SignedJar", Jar::Signed),
];

/// The cipher alone, portable, of a session's data.
fn cipher() -> (XChaCha20Poly1305, XNonce, Vec<u8>) {
    let cipher = XChaCha20Poly1305::new(&[7; 32].into());
    (cipher, [9; 24].into(), record().encode().expect("small"))
}

/// What a response pays.
fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    let (cipher, nonce, clear) = cipher();
    let mut buffer = clear.clone();
    group.bench_function("raw: XChaCha20-Poly1305", |b| {
        b.iter(|| cipher.encrypt_inout_detached(&nonce, b"name", buffer.as_mut_slice().into()))
    });
    let record = record();
    let typical = Typical::new();
    let json = || serde_json::to_string(black_box(&typical)).expect("plain");
    let text = json();
    group.bench_function("raw: to JSON", |b| b.iter(json));
    for (mode, ours, their_name, jar) in MODES {
        let (ours, theirs) = (ours(), Theirs::new(jar));
        group.bench_function(format!("{their_name}, a text"), |b| {
            b.iter(|| theirs.set(black_box(&text).clone()))
        });
        group.bench_function(format!("{their_name}, a struct as JSON"), |b| {
            b.iter(|| theirs.set(json()))
        });
        group.bench_function(format!("{mode}, a record"), |b| {
            b.iter(|| ours.set(black_box(&record)))
        });
        group.bench_function(format!("{mode}, a new session, filled"), |b| {
            b.iter(|| {
                let session = Session::detached();
                fill(&session, black_box(&typical));
                let changeset = session.changeset()?;
                Ok::<_, cloakroom::Error>(ours.set(&changeset.record(&Expiry::default(), NOW, 0)))
            })
        });
        let header = ours.header(&record);
        let stored = ours.open(&header).stored_record();
        group.bench_function(format!("{mode}, one value changed"), |b| {
            b.iter(|| {
                let session = Session::open(stored.clone(), context())?;
                session.insert("visits", 18_u64)?;
                let changeset = session.changeset()?;
                let record = changeset.record(&Expiry::default(), NOW, 0);
                Ok::<_, cloakroom::Error>(ours.set_again(&header, &record))
            })
        });
    }
    group.finish();
}

/// The headers of many visitors, of whom another one comes each time: no branch
/// on a byte can be foretold from the one before.
struct Visitors {
    headers: Vec<String>,
    at: usize,
}

impl Visitors {
    fn new(header: impl Fn() -> String) -> Self {
        Self {
            headers: (0..256).map(|_| header()).collect(),
            at: 0,
        }
    }

    fn next(&mut self) -> &str {
        self.at = (self.at + 1) % self.headers.len();
        &self.headers[self.at]
    }
}

/// What a request pays.
fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    let (cipher, nonce, clear) = cipher();
    let mut sealed = clear.clone();
    let tag: Tag = cipher
        .encrypt_inout_detached(&nonce, b"name", sealed.as_mut_slice().into())
        .expect("small");
    let mut buffer = sealed.clone();
    group.bench_function("raw: XChaCha20-Poly1305", |b| {
        b.iter(|| {
            buffer.copy_from_slice(&sealed);
            cipher.decrypt_inout_detached(&nonce, b"name", buffer.as_mut_slice().into(), &tag)
        })
    });
    let text = serde_json::to_string(&Typical::new()).expect("plain");
    let of_json = |text: &str| serde_json::from_str::<Typical>(text).expect("its JSON");
    group.bench_function("raw: from JSON", |b| b.iter(|| of_json(black_box(&text))));
    for (mode, ours, their_name, jar) in MODES {
        let (ours, theirs) = (ours(), Theirs::new(jar));
        let mut visitors = Visitors::new(|| theirs.header(&text));
        group.bench_function(format!("{their_name}, a text"), |b| {
            b.iter(|| theirs.open(visitors.next()))
        });
        group.bench_function(format!("{their_name}, a struct of JSON"), |b| {
            b.iter(|| of_json(&theirs.open(visitors.next())).visits)
        });
        let mut visitors = Visitors::new(|| ours.header(&record()));
        group.bench_function(format!("{mode}, nothing read"), |b| {
            b.iter(|| ours.open(visitors.next()))
        });
        group.bench_function(format!("{mode}, one value read"), |b| {
            b.iter(|| ours.open(visitors.next()).get::<u64>("visits"))
        });
        group.bench_function(format!("{mode}, every value read"), |b| {
            b.iter(|| ours.open(visitors.next()).items())
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
