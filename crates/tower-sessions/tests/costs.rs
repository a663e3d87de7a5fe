//! What a session costs the store below, and the allocator beside their in-memory store.
//! Counts are exact, so they are asserted; `examples/ratio.rs` measures times.

#![cfg(feature = "v0_15")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;

use cloakroom_core::store::SessionStore;
use cloakroom_memory::MemoryStore;
use cloakroom_testkit::Call::{Create, Delete, Load, Rotate, Update};
use cloakroom_testkit::{MapStore, RecordingStore};
use cloakroom_tower_sessions::CloakroomStore;
use serde_json::json;
use tower_sessions_0_15::session::{Id, Record};
use tower_sessions_0_15::{MemoryStore as Theirs, Session, SessionStore as Foreign};

type Recorded = Arc<RecordingStore<MapStore>>;

fn session<S: SessionStore>(store: &CloakroomStore<S>, id: Option<Id>) -> Session {
    Session::new(id, Arc::new(store.clone()), None)
}

async fn begun() -> (CloakroomStore<Recorded>, Recorded, Option<Id>) {
    let calls = Arc::new(RecordingStore::new(MapStore::default()));
    let store = CloakroomStore::new(Arc::clone(&calls));
    let first = session(&store, None);
    first.insert("n", 1).await.unwrap();
    first.save().await.unwrap();
    assert_eq!(calls.take(), [Create]);
    // The same request again, as a handler that saves before its response.
    first.insert("n", 2).await.unwrap();
    first.save().await.unwrap();
    assert_eq!(calls.take(), [Update]);
    (store, calls, first.id())
}

#[tokio::test]
async fn a_request_is_a_load_and_an_update() {
    let (store, calls, id) = begun().await;
    let request = session(&store, id);
    assert_eq!(request.get("n").await.unwrap(), Some(2));
    assert_eq!(calls.take(), [Load]);
    request.insert("n", 3).await.unwrap();
    request.save().await.unwrap();
    assert_eq!(calls.take(), [Update]);
    request.save().await.unwrap();
    assert_eq!(calls.take(), [Update]);
}

#[tokio::test]
async fn a_conflict_is_a_load_and_an_update_more() {
    let (store, calls, id) = begun().await;
    let (one, other) = (session(&store, id), session(&store, id));
    for (request, name) in [(&one, "a"), (&other, "b")] {
        request.insert(name, 1).await.unwrap();
    }
    one.save().await.unwrap();
    calls.take();
    other.save().await.unwrap();
    assert_eq!(calls.take(), [Update, Load, Update]);
}

#[tokio::test]
async fn a_rotation_is_two_loads_and_two_writes() {
    let (store, calls, id) = begun().await;
    let login = session(&store, id);
    login.get_value("n").await.unwrap();
    calls.take();
    login.cycle_id().await.unwrap();
    assert_eq!(calls.take(), [Load, Update]);
    login.save().await.unwrap();
    assert_eq!(calls.take(), [Load, Rotate]);
}

#[tokio::test]
async fn a_logout_is_a_load_and_a_write() {
    let (store, calls, id) = begun().await;
    let logout = session(&store, id);
    logout.flush().await.unwrap();
    assert_eq!(calls.take(), [Load, Update]);
    // The session is ended already: another request's logout removes it.
    session(&store, id).flush().await.unwrap();
    assert_eq!(calls.take(), [Load, Delete]);
    session(&store, id).flush().await.unwrap();
    assert_eq!(calls.take(), [Load]);
}

/// A session of six values, as a shop has it.
fn typical() -> Record {
    let data = json!({
        "user": 4_711,
        "name": "Ada Lovelace",
        "theme": "dark",
        "csrf": "Zm9yZ2VyeS1wcm90ZWN0aW9uLXRva2Vu",
        "visits": 17,
        "cart": [{"sku": "tea", "qty": 2}, {"sku": "milk", "qty": 1}],
    });
    Record {
        id: Id::default(),
        data: data.as_object().unwrap().clone().into_iter().collect(),
        expiry_date: time::OffsetDateTime::now_utc() + time::Duration::days(1),
    }
}

/// How often a load and a save allocate.
fn allocations(store: impl Foreign) -> [u64; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut record = typical();
    runtime.block_on(store.create(&mut record)).unwrap();
    let mut counts = [0; 2];
    for _ in 0..3 {
        let mut loaded = None;
        let load = allocation_counter::measure(|| {
            loaded = runtime.block_on(store.load(&record.id)).unwrap();
        });
        let mut loaded = loaded.unwrap();
        loaded.data.insert("visits".to_owned(), json!(18));
        let save = allocation_counter::measure(|| {
            runtime.block_on(store.save(&loaded)).unwrap();
        });
        counts = [load.count_total, save.count_total];
    }
    counts
}

#[test]
fn a_load_allocates_little_more_often_than_theirs_and_a_save_a_third_as_often() {
    let theirs = allocations(Theirs::default());
    let ours = allocations(CloakroomStore::new(MemoryStore::builder().build()));
    println!("allocations of a load and a save: theirs {theirs:?}, ours {ours:?}");
    assert!(5 * ours[0] <= 6 * theirs[0]);
    assert!(3 * ours[1] <= theirs[1]);
}
