//! The raw primitives under our stores, on the bytes that these keep.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redb::{Database, TableDefinition};
use ::redis::AsyncCommands as _;
use ::redis::aio::MultiplexedConnection;
use cloakroom::engine::{OsEntropy, SessionKey};
use rusqlite::Connection;

use super::session::record;
use super::{folder, sqlite};
use crate::contender::{Contender, Run};
use crate::profile::Profile;
use crate::works::durable::BATCH;

/// GET and SET, by the client library that our store uses.
pub struct Redis(MultiplexedConnection);

static KEY: AtomicU64 = AtomicU64::new(0);

impl Redis {
    pub async fn connect(url: &str) -> Self {
        let client = ::redis::Client::open(url).unwrap();
        Redis(client.get_multiplexed_async_connection().await.unwrap())
    }
}

impl Contender for Redis {
    type Key = String;
    type Rec = Vec<u8>;

    fn fillers(&self) -> usize {
        32
    }
    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let mut bytes = record(profile).encode().unwrap();
        bytes.extend(profile.user_id.to_le_bytes());
        bytes
    }
    /// Raw bytes are not decoded: the number says whose they are.
    fn decode(&self, rec: Vec<u8>) -> Profile {
        let number = u64::from_le_bytes(*rec.last_chunk().unwrap());
        Profile::new(number - 1_000_000)
    }
    fn touch(&self, rec: &mut Vec<u8>, stamp: u64) {
        rec[30..38].copy_from_slice(&stamp.to_le_bytes());
    }
    async fn create(&self, rec: Vec<u8>) -> String {
        let key = format!("raw:{:064x}", KEY.fetch_add(1, Ordering::Relaxed));
        let () = self.0.clone().set(&key, rec).await.unwrap();
        key
    }
    async fn load(&self, key: &String) -> Option<Vec<u8>> {
        self.0.clone().get(key).await.unwrap()
    }
    async fn save(&self, key: &String, rec: Vec<u8>) {
        self.0.clone().set(key, rec).await.unwrap()
    }
}

/// A new session as a store keeps it, and the digest of its key.
fn fresh(number: usize) -> ([u8; 32], Vec<u8>) {
    let digest = SessionKey::generate(&OsEntropy).unwrap().digest();
    let frame = record(&Profile::new(number as u64)).encode().unwrap();
    (*digest.as_bytes(), frame)
}

/// The two tables that a session without a subject is written to.
pub fn redb_batches(run: &Run) {
    const RECORDS: TableDefinition<'_, (u64, &[u8; 32]), &[u8]> = TableDefinition::new("records");
    const DEADLINES: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("deadlines");
    let folder = folder();
    let database = Database::create(folder.path().join("raw")).unwrap();
    run.durable_batch(|first| {
        let transaction = database.begin_write().unwrap();
        let mut records = transaction.open_table(RECORDS).unwrap();
        let mut deadlines = transaction.open_table(DEADLINES).unwrap();
        for number in first..first + BATCH {
            let (digest, frame) = fresh(number);
            let deadline = number as u64;
            records.insert((deadline, &digest), &frame[..]).unwrap();
            deadlines.insert(&digest, deadline).unwrap();
        }
        drop((records, deadlines));
        transaction.commit().unwrap();
    });
}

/// The same, and sled's flush with what it lacks: an `fdatasync`.
pub fn sled_batches(run: &Run) {
    let folder = folder();
    let database = ::sled::open(folder.path().join("raw")).unwrap();
    let log = OpenOptions::new()
        .write(true)
        .open(folder.path().join("raw/db"));
    let log = log.expect("sled's only file");
    let records = database.open_tree("records").unwrap();
    let expiry = database.open_tree("expiry").unwrap();
    run.durable_batch(|first| {
        for number in first..first + BATCH {
            let (digest, frame) = fresh(number);
            let entry = [&number.to_be_bytes()[..], &digest].concat();
            records.insert(digest, frame).unwrap();
            expiry.insert(entry, &[]).unwrap();
        }
        database.flush().unwrap();
        log.sync_data().unwrap();
    });
}

/// Our own table, by one statement.
pub fn sqlite_batches(run: &Run) {
    const INSERT: &str = r#"
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
        INSERT INTO "cloakroom_sessions"
            (digest, format, revision, created_at, last_seen_at, expires_at, data)
            SELECT randomblob(32), 1, 1, ?2, ?2, ?2 + n, ?3 FROM numbers"#;
    if !run.wants("durable") {
        return;
    }
    let folder = folder();
    drop(sqlite(folder.path()));
    let connection = Connection::open(folder.path().join("sessions")).unwrap();
    connection
        .pragma_update(None, "synchronous", "FULL")
        .unwrap();
    let data = record(&Profile::new(0)).data.as_bytes().to_vec();
    run.durable_batch(|first| {
        connection
            .execute(INSERT, (BATCH as i64, first as i64, &data[..]))
            .unwrap();
    });
}
