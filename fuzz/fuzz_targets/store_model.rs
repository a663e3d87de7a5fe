//! Random operations on each embedded backend and on the model: the same
//! answers, the same contents.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use cloakroom_core::store::{
    Data, EndReason, Ending, KeyDigest, Listed, Record, Revision, Revoke, SessionStore, Stored,
    SubjectDigest, TOMBSTONE_AGE_MAX,
};
use cloakroom_core::{Site, Subject, Timestamp};
use cloakroom_file::{Durability, FileStore};
use cloakroom_memory::MemoryStore;
use cloakroom_redb::RedbStore;
use cloakroom_sled::SledStore;
use cloakroom_testkit::{ManualClock, MapStore, key};
use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const BASE: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Digests are one of four, subjects one of three or nobody, deadlines up to four
/// minutes from the base.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Load(u8),
    Create(u8, u8, u8, u8),
    Update(u8, bool, u8, u8, u8),
    Touch(u8, bool, u8),
    Rotate(u8, u8, bool, u8, u8),
    Delete(u8),
    Sweep(u8),
    RevokeAll(u8),
    RevokeAllBut(u8, u8),
    RevokeOne(u8, u8),
    Import(u8, u8, u8, u64),
    ImportMark(u8, u8, u8),
    Scan(u8),
    End(u8, u8),
    EndAll(u8, u8),
    SweepADayLater(u8),
}

struct Backends {
    memory: MemoryStore,
    sled: SledStore,
    redb: RedbStore,
    file: FileStore,
    _folder: TempDir,
}

static BACKENDS: LazyLock<Backends> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let clock = Arc::new(ManualClock::at(BASE));
    Backends {
        memory: MemoryStore::builder().clock(clock).build(),
        sled: SledStore::open(path("sled")).expect("a database"),
        redb: RedbStore::open(path("redb")).expect("a database"),
        file: FileStore::open_with(path("file"), Durability::Lazy).expect("a folder"),
        _folder: folder,
    }
});

fn at(seconds: u8) -> Timestamp {
    BASE.saturating_add(Duration::from_secs(1_000 + u64::from(seconds)))
}

fn sweep<S: SessionStore>(store: &S, now: Timestamp) {
    let sweep = store.capabilities().sweep.expect("each of them can");
    // A step of a store on disk may look at files of other runs first.
    while block_on(sweep.sweep(now, 1_000))
        .expect("the store answers")
        .more
    {}
}

fn listed_as(subject: &Subject) -> SubjectDigest {
    SubjectDigest::new(&Site::default(), subject)
}

fn list<S: SessionStore>(store: &S, subject: &Subject) -> Vec<Listed> {
    let subjects = store.capabilities().subjects.expect("each of them can");
    let mut listed = block_on(subjects.sessions_of(&listed_as(subject), usize::MAX)).expect("the store answers");
    listed.sort_by_key(|listed| listed.digest);
    listed
}

fn ending(at: Timestamp) -> Ending {
    Ending::new(EndReason::LoggedOut, at)
}

fn revoke<S: SessionStore>(store: &S, subject: &Subject, which: Revoke) -> Vec<KeyDigest> {
    end_sessions(store, subject, which, None)
}

fn end_sessions<S: SessionStore>(
    store: &S,
    subject: &Subject,
    which: Revoke,
    ending: Option<&Ending>,
) -> Vec<KeyDigest> {
    let subjects = store.capabilities().subjects.expect("each of them can");
    let subject = listed_as(subject);
    let ended = block_on(subjects.end_sessions(&subject, which, ending));
    let mut ended = ended.expect("the store answers");
    ended.sort();
    ended
}

fn import<S: SessionStore>(store: &S, digest: &KeyDigest, stored: &Stored) -> bool {
    let import = store.capabilities().import.expect("each of them can");
    block_on(import.import(digest, stored)).expect("the store answers")
}

/// In the order in which it is found.
fn scan<S: SessionStore>(store: &S, max: u8) -> Vec<(KeyDigest, Stored)> {
    let scan = store.capabilities().scan.expect("each of them can");
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = block_on(scan.scan(cursor.as_ref(), max.into())).expect("the store answers");
        for item in page.items {
            found.push((item.digest, item.stored.expect("nothing is damaged")));
        }
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

fn run<S: SessionStore>(store: &S, ops: &[Op]) {
    let model = MapStore::default();
    let digests: [KeyDigest; 4] = std::array::from_fn(|_| key().digest());
    let digest = |at: u8| digests[usize::from(at) % 4];
    let whose = ["", "a", "a\0"].map(|text| Subject::new(text).expect("short"));
    let subject = |of: u8| &whose[usize::from(of) % 3];
    let record = |digest: &KeyDigest, fresh: bool, deadline: u8, data: u8, of: u8| {
        let there = block_on(model.load(digest)).expect("a model");
        let there = there.and_then(Stored::into_record);
        let mut record = Record::new(BASE, at(deadline));
        record.revision = there.map_or(Revision::FIRST, |there| there.revision);
        if !fresh {
            record.revision = record.revision.next();
        }
        record.data = Data::from_bytes(vec![data; usize::from(data)]);
        record.subject = whose.get(usize::from(of) % 4).cloned();
        record
    };
    macro_rules! same {
        ($method:ident($($argument:expr),*)) => {{
            let ours = block_on(store.$method($($argument),*)).map_err(|error| error.kind());
            let models = block_on(model.$method($($argument),*)).map_err(|error| error.kind());
            assert_eq!(ours, models);
        }};
    }
    for op in ops {
        match *op {
            Op::Load(one) => same!(load(&digest(one))),
            Op::Create(one, deadline, data, of) => {
                let record = record(&digest(one), true, deadline, data, of);
                same!(create(&digest(one), &record));
            }
            Op::Update(one, fresh, deadline, data, of) => {
                let record = record(&digest(one), fresh, deadline, data, of);
                same!(update(&digest(one), &record));
            }
            Op::Touch(one, fresh, deadline) => {
                let record = record(&digest(one), fresh, deadline, 0, 3);
                same!(touch(&digest(one), record.revision, (&record).into()));
            }
            Op::Rotate(old, new, fresh, until, of) => {
                let (old, new) = (digest(old), digest(new));
                if old != new {
                    let record = record(&old, fresh, until, 3, of);
                    same!(rotate(&old, &new, &record, at(until / 2)));
                }
            }
            Op::Delete(one) => same!(delete(&digest(one))),
            Op::Sweep(now) => {
                sweep(store, at(now));
                sweep(&model, at(now));
            }
            Op::RevokeAll(of) => {
                let (of, which) = (subject(of), Revoke::All);
                assert_eq!(revoke(store, of, which), revoke(&model, of, which));
            }
            Op::RevokeAllBut(of, one) => {
                let (of, which) = (subject(of), Revoke::AllBut(digest(one)));
                assert_eq!(revoke(store, of, which), revoke(&model, of, which));
            }
            Op::RevokeOne(of, one) => {
                let (of, which) = (subject(of), Revoke::One(digest(one)));
                assert_eq!(revoke(store, of, which), revoke(&model, of, which));
            }
            Op::Import(one, deadline, of, revision) => {
                let mut record = record(&digest(one), true, deadline, 3, of);
                record.revision = Revision::from_u64(revision);
                let stored = Stored::Record(record);
                let ours = import(store, &digest(one), &stored);
                assert_eq!(ours, import(&model, &digest(one), &stored));
            }
            Op::ImportMark(one, to, until) => {
                let (one, to, until) = (digest(one), digest(to), at(until));
                // Never round in circles: no rotation leaves such marks.
                let leads_on = matches!(model.snapshot().get(&to), Some(Stored::Rotated { .. }));
                if one != to && !leads_on {
                    let stored = Stored::Rotated { to, until };
                    assert_eq!(import(store, &one, &stored), import(&model, &one, &stored));
                }
            }
            Op::Scan(max) => {
                let models: Vec<_> = model.snapshot().into_iter().collect();
                assert_eq!(scan(store, max), models);
            }
            Op::End(one, when) => same!(end(&digest(one), Some(&ending(at(when))))),
            Op::EndAll(of, when) => {
                let (of, ending) = (subject(of), ending(at(when)));
                let ours = end_sessions(store, of, Revoke::All, Some(&ending));
                assert_eq!(ours, end_sessions(&model, of, Revoke::All, Some(&ending)));
            }
            Op::SweepADayLater(now) => {
                let now = at(now).saturating_add(TOMBSTONE_AGE_MAX);
                sweep(store, now);
                sweep(&model, now);
            }
        }
        for digest in &digests {
            same!(load(digest));
        }
        for subject in &whose {
            assert_eq!(list(store, subject), list(&model, subject));
        }
    }
    // What is left must not weigh on later runs.
    sweep(store, Timestamp::MAX);
}

fuzz_target!(|ops: Vec<Op>| {
    let ops = &ops[..ops.len().min(24)];
    let backends = &*BACKENDS;
    run(&backends.memory, ops);
    run(&backends.sled, ops);
    run(&backends.redb, ops);
    run(&backends.file, ops);
});
