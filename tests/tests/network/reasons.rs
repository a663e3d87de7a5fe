//! What each store on a server remembers of the end of a session.

use cloakroom::store::EndReason::{Absolute, Idle, Rotated};
use cloakroom_tests::reasons::{all_known, told_by};

use crate::fresh_stores;

/// The clock of the walk runs ahead, and no lifetime that Redis was told passes meanwhile: so
/// it still has what a sweep would have made a tombstone.
#[tokio::test]
async fn each_url_of_a_server_knows_each_reason() {
    for options in ["", "&cache=8MiB&stale=5s&sealed=true"] {
        for fresh in fresh_stores::all() {
            let url = format!("{}{options}", fresh.url);
            let store = cloakroom::open(&url).await;
            let store = store.unwrap_or_else(|error| panic!("{}: {error}", fresh.name));
            let mut known = all_known();
            if fresh.name.starts_with("Redis") {
                known.extend([
                    ("idle, and swept", Some(Idle)),
                    ("rotated by a login, and swept", Some(Rotated)),
                    ("absolute, and swept", Some(Absolute)),
                    ("a day later", Some(Absolute)),
                    ("a day later, and swept", Some(Absolute)),
                ]);
            }
            assert_eq!(told_by(&store).await, known, "{} {options}", fresh.name);
        }
    }
}
