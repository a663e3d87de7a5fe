//! TLS, against a server whose certificate a CA of its own has signed.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use cloakroom_core::ErrorKind;
use cloakroom_core::store::{Invalidations as _, SessionStore as _};
use cloakroom_redis::RedisStore;
use cloakroom_servers::Redis;
use cloakroom_testkit::{Profile, conformance, key, sample};

#[tokio::test]
async fn a_server_is_trusted_through_its_ca_and_not_without() {
    let Some(server) = Redis::start_tls() else {
        return;
    };
    let pem = std::fs::read(server.ca().unwrap()).unwrap();
    let store = RedisStore::builder(server.url()).tls_ca_pem(pem);
    let store = store.connect().await.unwrap();
    conformance(&store, &Profile::SHARED).await;
    let mut listener = store.listen().await.unwrap();
    let (digest, mut record) = (key().digest(), sample("text"));
    record.revision = store.create(&digest, &record).await.unwrap();
    store.update(&digest, &record).await.unwrap();
    assert_eq!(common::next(&mut *listener).await.unwrap().digest, digest);

    let error = RedisStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    assert!(error.to_string().contains("is not trusted"), "{error}");
}

#[tokio::test]
async fn what_is_no_certificate_is_misconfigured() {
    let store = RedisStore::builder("rediss://127.0.0.1:1").tls_ca_pem("no PEM");
    let error = store.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
}
