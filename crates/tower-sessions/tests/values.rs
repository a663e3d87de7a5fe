//! Their values to ours and back.

#![cfg(feature = "v0_15")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;

use cloakroom_memory::MemoryStore;
use cloakroom_tower_sessions::{CloakroomStore, axum_login_subject};
use serde_json::{Map, Value, json};
use tower_sessions_0_15::session::{Error, Id};
use tower_sessions_0_15::{Session, session_store};

fn session(store: &CloakroomStore<MemoryStore>, id: Option<Id>) -> Session {
    Session::new(id, Arc::new(store.clone()), None)
}

/// A list in a list, so many levels deep.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

#[tokio::test]
async fn every_value_comes_back_as_it_was() {
    let store = CloakroomStore::new(MemoryStore::builder().build());
    let mut object = Map::new();
    for name in ["", "b", "a", "ключ", "a\0b"] {
        object.insert(name.to_owned(), json!([null, {"x": {}}]));
    }
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(-1),
        json!(0.1),
        json!(1.0),
        json!(-0.0),
        json!(f64::MAX),
        json!(f64::MIN_POSITIVE),
        json!(""),
        json!("Grüße \u{1f9e5}\0"),
        json!([]),
        json!({}),
        Value::Object(object),
        nested(32),
    ];
    let first = session(&store, None);
    for (number, value) in values.iter().enumerate() {
        first
            .insert_value(&number.to_string(), value.clone())
            .await
            .unwrap();
    }
    first.save().await.unwrap();
    let second = session(&store, first.id());
    for (number, value) in values.iter().enumerate() {
        let read = second.get_value(&number.to_string()).await.unwrap();
        assert_eq!(read.as_ref(), Some(value));
        assert_eq!(read.unwrap().to_string(), value.to_string());
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_an_error_of_its_kind() {
    let store = CloakroomStore::new(MemoryStore::builder().build());
    let long = "n".repeat(257);
    for (name, value, why) in [
        ("deep", nested(33), "nest"),
        (long.as_str(), json!(1), "name_bytes_max"),
        ("large", json!("x".repeat(65 * 1024)), "record_bytes_max"),
    ] {
        let session = session(&store, None);
        session.insert_value(name, value).await.unwrap();
        let error = session.save().await.unwrap_err();
        let Error::Store(session_store::Error::Encode(text)) = &error else {
            panic!("{error:?}");
        };
        assert!(text.contains(why), "{text}");
    }
    // serde_json itself holds no number of more than 64 bits.
    session(&store, None)
        .insert("big", u128::MAX)
        .await
        .unwrap_err();
}

#[test]
fn the_user_of_axum_login_is_the_subject() {
    let subject = |user_id: Value| {
        let data = json!({"user_id": user_id, "auth_hash": [1]});
        let data = [("axum-login.data".to_owned(), data)].into();
        axum_login_subject(&data).map(|subject| subject.as_str().to_owned())
    };
    assert_eq!(subject(json!(42)).as_deref(), Some("42"));
    assert_eq!(subject(json!("ada")).as_deref(), Some("ada"));
    assert_eq!(subject(json!({"oid": 1})).as_deref(), Some(r#"{"oid":1}"#));
    assert_eq!(subject(json!(null)), None);
    assert_eq!(subject(json!("x".repeat(257))), None);
    assert_eq!(axum_login_subject(&[].into()), None);
}
