//! What lies on the disk, read without the stores: by the layouts that their
//! first pages document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::crash::operation::is_left_by_a_sweep;
use cloakroom::engine::TokenStore as _;
use cloakroom::store::{KeyDigest, Stored, SubjectDigest};
use cloakroom_tests::embedded::Embedded;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _,
};

const RECORDS: &str = "cloakroom/records/v1";
const EXPIRY: &str = "cloakroom/expiry/v1";
const SUBJECTS: &str = "cloakroom/subjects/v1";

/// The trees, and the tables, that are looked at here. Another index belongs here,
/// and into [`Raw::findings`].
const TREES: [&str; 3] = [EXPIRY, RECORDS, SUBJECTS];
const DEADLINES: &str = "cloakroom/deadlines/v1";
const TABLES: [&str; 3] = [DEADLINES, RECORDS, SUBJECTS];

const INDEXED_AT_BYTES: usize = 8;

/// What a store has on the disk.
pub(crate) struct Raw {
    /// The frame of each.
    pub(crate) records: BTreeMap<KeyDigest, Vec<u8>>,
    /// `None` where the store has no index of deadlines.
    indexes: Option<Indexes>,
    /// By the digest of the subject.
    subjects: BTreeSet<(Vec<u8>, KeyDigest)>,
    /// Whether each entry has its record, or only each record its entry.
    is_exact: bool,
    findings: Vec<String>,
}

#[derive(Default)]
struct Indexes {
    /// Where the record says that it stands in the index of deadlines.
    indexed_at: BTreeMap<KeyDigest, u64>,
    /// And whose record it is, as the index says.
    expiry: BTreeMap<(u64, KeyDigest), Vec<u8>>,
}

impl Raw {
    /// Reads what lies in the store's place; nobody else may have it open.
    pub(crate) async fn read(kind: Embedded, place: &Path) -> Self {
        match kind {
            Embedded::File => Self::of_files(place),
            Embedded::Redb => Self::of_redb(place),
            Embedded::Sled => Self::of_sled(place),
            Embedded::Sqlite => Self::of_sqlite(place).await,
        }
    }

    /// SQLite keeps its indexes itself: the records are read by one, and listed by another.
    async fn of_sqlite(place: &Path) -> Self {
        let mut raw = Self {
            indexes: None,
            ..Self::of_database(BTreeSet::new(), &[])
        };
        let store = cloakroom::open(&format!("sqlite:{}", place.display())).await;
        let store = store.unwrap();
        let can = store.token_capabilities();
        let (scan, subjects) = (can.scan.unwrap(), can.subjects.unwrap());
        let (mut from, mut owners) = (None, BTreeSet::new());
        loop {
            let page = scan.scan(from.as_ref(), 1_000).await.unwrap();
            for found in page.items {
                let stored = found.stored.unwrap();
                raw.records.insert(found.digest, stored.encode().unwrap());
                let record = stored.into_record();
                owners.extend(record.and_then(|record| record.subject_digest()));
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        for owner in owners {
            for listed in subjects.sessions_of(&owner, usize::MAX).await.unwrap() {
                let entry = (owner.as_bytes().to_vec(), listed.digest);
                raw.subjects.insert(entry);
            }
        }
        store.close().await.unwrap();
        raw
    }

    fn of_database(names: BTreeSet<String>, known: &[&str]) -> Self {
        let findings = match names.iter().eq(known) {
            true => Vec::new(),
            false => vec![format!("nobody here checks all of the tables {names:?}")],
        };
        Self {
            records: BTreeMap::new(),
            indexes: Some(Indexes::default()),
            subjects: BTreeSet::new(),
            is_exact: true,
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

    fn list(&mut self, deadline: u64, digest: KeyDigest, owner: &[u8]) {
        let indexes = self.indexes.get_or_insert_default();
        indexes.expiry.insert((deadline, digest), owner.to_vec());
    }

    fn of_sled(place: &Path) -> Self {
        let db = open_sled(place);
        let names = db.tree_names().into_iter();
        let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
        // Every database has the default tree.
        let mut raw = Self::of_database(names.filter(|n| n != "__sled__default").collect(), &TREES);
        assert!(db.is_empty());
        for entry in &db.open_tree(RECORDS).unwrap() {
            let (digest, stored) = entry.unwrap();
            raw.add(digest_of(&digest), &stored);
        }
        for entry in &db.open_tree(EXPIRY).unwrap() {
            let (key, value) = entry.unwrap();
            let (deadline, digest) = key.split_first_chunk().unwrap();
            raw.list(u64::from_be_bytes(*deadline), digest_of(digest), &value);
        }
        for entry in &db.open_tree(SUBJECTS).unwrap() {
            let (key, value) = entry.unwrap();
            assert!(value.is_empty());
            let (subject, digest) = key.split_at(32);
            raw.subjects.insert((subject.to_vec(), digest_of(digest)));
        }
        raw
    }

    fn of_redb(place: &Path) -> Self {
        let records = TableDefinition::<(u64, &[u8; 32]), &[u8]>::new(RECORDS);
        let deadlines = TableDefinition::<&[u8; 32], u64>::new(DEADLINES);
        let subjects = TableDefinition::<(&[u8; 32], &[u8; 32]), ()>::new(SUBJECTS);
        let db = Database::create(place).unwrap();
        let read = db.begin_read().unwrap();
        let tables = read.list_tables().unwrap();
        let names = tables.map(|table| table.name().to_owned()).collect();
        let mut raw = Self::of_database(names, &TABLES);
        assert_eq!(read.list_multimap_tables().unwrap().count(), 0);
        for entry in read.open_table(records).unwrap().iter().unwrap() {
            let (key, value) = entry.unwrap();
            let ((deadline, digest), (owner, frame)) = (key.value(), owner_of(value.value()));
            raw.list(deadline, digest_of(digest), owner);
            raw.records.insert(digest_of(digest), frame.to_vec());
        }
        let indexes = raw.indexes.get_or_insert_default();
        for entry in read.open_table(deadlines).unwrap().iter().unwrap() {
            let (digest, deadline) = entry.unwrap();
            let digest = digest_of(digest.value());
            indexes.indexed_at.insert(digest, deadline.value());
        }
        for entry in read.open_table(subjects).unwrap().iter().unwrap() {
            let (key, _) = entry.unwrap();
            let (subject, digest) = key.value();
            raw.subjects.insert((subject.to_vec(), digest_of(digest)));
        }
        raw
    }

    fn of_files(place: &Path) -> Self {
        let mut raw = Self {
            records: BTreeMap::new(),
            indexes: None,
            subjects: BTreeSet::new(),
            // An entry alone is harmless there.
            is_exact: false,
            findings: Vec::new(),
        };
        for path in files_below(&place.join("v1")) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let folder = path.parent().unwrap().file_name().unwrap();
            let folder = folder.to_str().unwrap();
            if folder == "locks" || name.starts_with(".new-") {
                continue;
            }
            if let Some((subject, digest)) = name.split_once('.') {
                let digest = KeyDigest::from_hex(digest).expect("an entry ends in a digest");
                let subject = SubjectDigest::from_hex(subject).expect("and begins with one");
                raw.subjects.insert((subject.as_bytes().to_vec(), digest));
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
            if let Err(error) = Stored::decode(frame) {
                findings.push(format!("the frame at {digest:?}: {error}"));
            }
        }
        if let Some(indexes) = &self.indexes {
            findings.extend(self.expiry_findings(indexes));
        }
        findings.extend(self.subject_findings());
        findings
    }

    /// A record with a subject is listed under it, and under nothing else.
    fn subject_findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut expected = BTreeSet::new();
        for (digest, frame) in &self.records {
            if let Ok(Stored::Record(record)) = Stored::decode(frame)
                && let Some(subject) = record.subject_digest()
            {
                expected.insert((subject.as_bytes().to_vec(), *digest));
            }
        }
        for (_, digest) in expected.difference(&self.subjects) {
            findings.push(format!("{digest:?} is not listed under its subject"));
        }
        if self.is_exact {
            for (_, digest) in self.subjects.difference(&expected) {
                findings.push(format!("an entry by subject has no {digest:?}"));
            }
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
        let listed: BTreeSet<_> = indexes.expiry.keys().copied().collect();
        for (deadline, digest) in expected.difference(&listed) {
            findings.push(format!("{digest:?} has no entry at {deadline}"));
        }
        for (deadline, digest) in listed.difference(&expected) {
            findings.push(format!("an entry at {deadline} has no {digest:?}"));
        }
        for (digest, frame) in &self.records {
            let Ok(stored) = Stored::decode(frame) else {
                continue;
            };
            let indexed_at = indexes.indexed_at[digest];
            if stored.expires_at().as_millis() < indexed_at {
                findings.push(format!("{digest:?} is listed after its deadline"));
            }
            let record = stored.into_record();
            let subject = record.and_then(|record| record.subject_digest());
            let subject = subject.map_or_else(Vec::new, |subject| subject.as_bytes().to_vec());
            let owner = indexes.expiry.get(&(indexed_at, *digest));
            if owner.is_some_and(|owner| *owner != subject) {
                findings.push(format!("{digest:?} is listed as somebody else's"));
            }
        }
        findings
    }

    /// Where anything stands, but for what a sweep has left.
    pub(crate) fn standing(&self) -> BTreeSet<KeyDigest> {
        let is_left_by_a_sweep =
            |frame: &[u8]| Stored::decode(frame).is_ok_and(|stored| is_left_by_a_sweep(&stored));
        let standing = self.records.iter();
        let standing = standing.filter(|(_, frame)| !is_left_by_a_sweep(frame));
        standing.map(|(digest, _)| *digest).collect()
    }

    /// How much there is of anything: records, entries of an index, leftovers.
    pub(crate) fn is_empty(&self) -> bool {
        let no_entry = |indexes: &Indexes| indexes.expiry.is_empty();
        let is_listed = self.is_exact && !self.subjects.is_empty();
        self.records.is_empty() && !is_listed && self.indexes.as_ref().is_none_or(no_entry)
    }
}

/// sled's threads keep the lock for a moment after a database was closed.
fn open_sled(place: &Path) -> sled::Db {
    let attempts = (0..1_000).map(|_| sled::open(place)).find_map(|opened| {
        let failed = opened.is_err();
        if failed {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        opened.ok()
    });
    attempts.expect("a database that nobody holds")
}

/// The digest of a subject, empty where it is zeros for nobody; and what stands behind.
fn owner_of(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.split_at(32) {
        (owner, rest) if owner == [0; 32] => (&[], rest),
        split => split,
    }
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
