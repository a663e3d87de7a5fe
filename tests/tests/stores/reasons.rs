//! What each store that needs no server remembers of the end of a session.

use std::collections::BTreeMap;

use cloakroom::AnyStore;
use cloakroom::store::EndReason::{self, *};
use cloakroom_testkit::MapStore;
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::reasons::{Told, told_by};

/// What a store knows that sweeps, and keeps tombstones.
fn all_known() -> Told {
    BTreeMap::from([
        ("logged out", Some(LoggedOut)),
        ("logged out on another device", Some(LoggedOutElsewhere)),
        ("ended by an administrator", Some(EndedByAdministrator)),
        ("all ended after a password reset", Some(AllEnded)),
        ("over the limit of sessions", Some(SessionLimit)),
        ("rotated by a login", Some(Rotated)),
        ("rotated by a login, and swept", Some(Rotated)),
        ("idle", Some(Idle)),
        ("idle, and swept", Some(Idle)),
        ("absolute", Some(Absolute)),
        ("absolute, and swept", Some(Absolute)),
        ("a day later", Some(EndReason::Unknown)),
        ("a day later, and swept", Some(EndReason::Unknown)),
    ])
}

#[tokio::test]
async fn the_model_knows_each_reason() {
    let store = AnyStore::new(MapStore::default());
    assert_eq!(told_by(&store).await, all_known());
}

#[tokio::test]
async fn each_url_without_a_server_knows_each_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec!["memory:".to_owned()];
    for kind in Embedded::ALL {
        let path = kind.path_in(folder.path());
        let options = ["", "?cache=8MiB&stale=5s", "?sealed=true"];
        urls.extend(
            (0..)
                .zip(options)
                .map(|(number, options)| format!("{kind}:{}-{number}{options}", path.display())),
        );
    }
    for url in urls {
        let store = cloakroom::open(&url).await;
        let store = store.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        assert_eq!(told_by(&store).await, all_known(), "{url}");
    }
}
