//! What each store that needs no server remembers of the end of a session.

use cloakroom::AnyStore;
use cloakroom_testkit::MapStore;
use cloakroom_tests::embedded::Embedded;
use cloakroom_tests::reasons::{all_known, told_by};

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
