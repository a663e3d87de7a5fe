//! Many requests of one session at once, over our stores.

#![cfg(feature = "v0_15")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use cloakroom_core::store::SessionStore;
use cloakroom_tower_sessions::CloakroomStore;
use tower_sessions_0_15::Session;
use tower_sessions_0_15::session::Id;

use common::Opened;

const REQUESTS: usize = 24;

fn request<S: SessionStore>(store: &CloakroomStore<S>, id: Option<Id>) -> Session {
    Session::new(id, Arc::new(store.clone()), None)
}

/// Requests that have all loaded the session before the first one saves.
async fn loaded<S: SessionStore>(store: &CloakroomStore<S>) -> (Option<Id>, Vec<Session>) {
    let first = request(store, None);
    first.insert("cart", "tea").await.unwrap();
    first.save().await.unwrap();
    let mut requests = Vec::new();
    for number in 0..REQUESTS {
        let request = request(store, first.id());
        request.insert(&number.to_string(), number).await.unwrap();
        requests.push(request);
    }
    (first.id(), requests)
}

async fn each_change_survives<S: SessionStore>(opened: Option<Opened<S>>) {
    let Some(Opened { store, .. }) = &opened else {
        return;
    };
    let (id, requests) = loaded(store).await;
    let saves = requests.into_iter();
    let saves = saves.map(|request| tokio::spawn(async move { request.save().await }));
    for save in saves.collect::<Vec<_>>() {
        save.await.unwrap().unwrap();
    }
    let after = request(store, id);
    for number in 0..REQUESTS {
        let read: Option<usize> = after.get(&number.to_string()).await.unwrap();
        assert_eq!(read, Some(number));
    }
}

async fn a_logout_is_final<S: SessionStore>(opened: Option<Opened<S>>) {
    let Some(Opened { store, .. }) = &opened else {
        return;
    };
    let (id, requests) = loaded(store).await;
    let logout = request(store, id);
    let logout = tokio::spawn(async move { logout.flush().await });
    let saves = requests.into_iter();
    let saves = saves.map(|request| tokio::spawn(async move { request.save().await }));
    let saves: Vec<_> = saves.collect();
    logout.await.unwrap().unwrap();
    for save in saves {
        // Before the logout it is saved, after it refused.
        let _either = save.await.unwrap();
    }
    let read: Option<String> = request(store, id).get("cart").await.unwrap();
    assert_eq!(read, None);
}

async fn one_rotation_has_the_session<S: SessionStore>(opened: Option<Opened<S>>) {
    let Some(Opened { store, .. }) = &opened else {
        return;
    };
    let (old, requests) = loaded(store).await;
    let logins = requests.into_iter().map(|request| {
        tokio::spawn(async move {
            request.cycle_id().await.unwrap();
            request.save().await.unwrap();
            request.id()
        })
    });
    let (mut ids, mut carts) = (BTreeSet::new(), 0);
    for (number, login) in logins.collect::<Vec<_>>().into_iter().enumerate() {
        let id = login.await.unwrap();
        ids.insert(id.map(|id| id.0));
        let session = request(store, id);
        if session
            .get_value(&number.to_string())
            .await
            .unwrap()
            .is_some()
        {
            carts += usize::from(session.get_value("cart").await.unwrap().is_some());
        }
    }
    assert_eq!(ids.len(), REQUESTS, "each has an id of its own");
    assert!(carts <= 1, "{carts} sessions go on with what was one");
    let old: Option<String> = request(store, old).get("cart").await.unwrap();
    assert_eq!(old, None);
}

macro_rules! over {
    ($($store:ident)*) => {$(
        mod $store {
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn changes_of_many_requests_at_once_all_survive() {
                super::each_change_survives(super::common::$store().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_logout_among_many_saves_is_final() {
                super::a_logout_is_final(super::common::$store().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn of_many_rotations_at_once_one_has_the_session_at_most() {
                super::one_rotation_has_the_session(super::common::$store().await).await;
            }
        }
    )*};
}

over!(memory redb sqlite postgres redis);
