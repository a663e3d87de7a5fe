//! What lies on the disk, read without the stores: by the layouts that their
//! first pages document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cloakroom::{KeyDigest, Slot};
use cloakroom_tests::embedded::Embedded;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _,
};

const RECORDS: &str = "cloakroom/records/v1";
const EXPIRY: &str = "cloakroom/expiry/v1";

/// The tables, or trees, that are looked at here. Another index belongs here,
/// and into [`Raw::findings`].
const TABLES: [&str; 2] = [EXPIRY, RECORDS];

const INDEXED_AT_BYTES: usize = 8;

/// What a store has on the disk.
pub(crate) struct Raw {
    /// The frame of each.
    pub(crate) records: BTreeMap<KeyDigest, Vec<u8>>,
    /// `None` where the store has no index.
    indexes: Option<Indexes>,
    findings: Vec<String>,
}

#[derive(Default)]
struct Indexes {
    /// Where the record says that it stands in the index of deadlines.
    indexed_at: BTreeMap<KeyDigest, u64>,
    expiry: BTreeSet<(u64, KeyDigest)>,
}

impl Raw {
    /// Reads what lies in the store's place; nobody else may have it open.
    pub(crate) fn read(kind: Embedded, place: &Path) -> Self {
        match kind {
            Embedded::File => Self::of_files(place),
            Embedded::Redb => Self::of_redb(place),
            Embedded::Sled => Self::of_sled(place),
        }
    }

    fn of_database(names: BTreeSet<String>) -> Self {
        let findings = match names == TABLES.map(str::to_owned).into() {
            true => Vec::new(),
            false => vec![format!("nobody here checks all of the tables {names:?}")],
        };
        Self {
            records: BTreeMap::new(),
            indexes: Some(Indexes::default()),
            findings,
        }
    }

    fn add(&mut self, digest: KeyDigest, stored: &[u8]) {
        let Some((indexed_at, frame)) = stored.split_first_chunk::<INDEXED_AT_BYTES>() else {
            return self.findings.push(format!("{digest:?} ends early"));
        };
        let indexed_at = u64::from_be_bytes(*indexed_at);
        let indexes = self.indexes.get_or_insert_default();
        indexes.indexed_at.insert(digest, indexed_at);
        self.records.insert(digest, frame.to_vec());
    }

    fn list(&mut self, deadline: u64, digest: KeyDigest) {
        let indexes = self.indexes.get_or_insert_default();
        indexes.expiry.insert((deadline, digest));
    }

    fn of_sled(place: &Path) -> Self {
        let db = open_sled(place);
        let names = db.tree_names().into_iter();
        let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
        // Every database has the default tree.
        let mut raw = Self::of_database(names.filter(|n| n != "__sled__default").collect());
        assert!(db.is_empty());
        for entry in &db.open_tree(RECORDS).unwrap() {
            let (digest, stored) = entry.unwrap();
            raw.add(digest_of(&digest), &stored);
        }
        for entry in &db.open_tree(EXPIRY).unwrap() {
            let (key, value) = entry.unwrap();
            assert!(value.is_empty());
            let (deadline, digest) = key.split_first_chunk().unwrap();
            raw.list(u64::from_be_bytes(*deadline), digest_of(digest));
        }
        raw
    }

    fn of_redb(place: &Path) -> Self {
        let records = TableDefinition::<&[u8; 32], &[u8]>::new(RECORDS);
        let expiry = TableDefinition::<(u64, &[u8; 32]), ()>::new(EXPIRY);
        let db = Database::create(place).unwrap();
        let read = db.begin_read().unwrap();
        let tables = read.list_tables().unwrap();
        let mut raw = Self::of_database(tables.map(|table| table.name().to_owned()).collect());
        assert_eq!(read.list_multimap_tables().unwrap().count(), 0);
        for entry in read.open_table(records).unwrap().iter().unwrap() {
            let (digest, stored) = entry.unwrap();
            raw.add(digest_of(digest.value()), stored.value());
        }
        for entry in read.open_table(expiry).unwrap().iter().unwrap() {
            let (key, ()) = entry.map(|(key, _)| (key, ())).unwrap();
            let (deadline, digest) = key.value();
            raw.list(deadline, digest_of(digest));
        }
        raw
    }

    fn of_files(place: &Path) -> Self {
        let mut raw = Self {
            records: BTreeMap::new(),
            indexes: None,
            findings: Vec::new(),
        };
        for path in files_below(&place.join("v1")) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let folder = path.parent().unwrap().file_name().unwrap();
            let folder = folder.to_str().unwrap();
            if folder == "locks" || name.starts_with(".new-") {
                continue;
            }
            match KeyDigest::from_hex(name) {
                Some(digest) if name.starts_with(folder) => {
                    raw.records.insert(digest, std::fs::read(&path).unwrap());
                }
                _ => raw.findings.push(format!("a stray file: {name}")),
            }
        }
        raw
    }

    /// What is wrong between the records and the indexes, each in turn.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = self.findings.clone();
        for (digest, frame) in &self.records {
            if let Err(error) = Slot::decode(frame) {
                findings.push(format!("the frame at {digest:?}: {error}"));
            }
        }
        if let Some(indexes) = &self.indexes {
            findings.extend(self.expiry_findings(indexes));
        }
        findings
    }

    /// "A record has exactly one entry there, at its deadline or before it."
    fn expiry_findings(&self, indexes: &Indexes) -> Vec<String> {
        let mut findings = Vec::new();
        let expected: BTreeSet<_> = indexes
            .indexed_at
            .iter()
            .map(|(digest, deadline)| (*deadline, *digest))
            .collect();
        for (deadline, digest) in expected.difference(&indexes.expiry) {
            findings.push(format!("{digest:?} has no entry at {deadline}"));
        }
        for (deadline, digest) in indexes.expiry.difference(&expected) {
            findings.push(format!("an entry at {deadline} has no {digest:?}"));
        }
        for (digest, frame) in &self.records {
            let until = Slot::decode(frame).map(|slot| slot.expires_at().as_millis());
            if until.is_ok_and(|until| until < indexes.indexed_at[digest]) {
                findings.push(format!("{digest:?} is listed after its deadline"));
            }
        }
        findings
    }

    /// How much there is of anything: records, entries of an index, leftovers.
    pub(crate) fn is_empty(&self) -> bool {
        let no_entry = |indexes: &Indexes| indexes.expiry.is_empty();
        self.records.is_empty() && self.indexes.as_ref().is_none_or(no_entry)
    }
}

/// sled's threads keep the lock for a moment after a database was closed.
fn open_sled(place: &Path) -> sled::Db {
    let attempts = (0..100).map(|_| sled::open(place)).find_map(|opened| {
        let failed = opened.is_err();
        if failed {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        opened.ok()
    });
    attempts.expect("a database that nobody holds")
}

fn digest_of(bytes: &[u8]) -> KeyDigest {
    KeyDigest::from_bytes(bytes.try_into().unwrap())
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}
