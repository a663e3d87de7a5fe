//! The event about a server's clock. A binary of its own: a subscriber of one thread may
//! miss an event that another thread was the first to send.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::SessionStore as _;
use cloakroom_core::{Clock, SystemClock};
use cloakroom_redis::RedisStore;
use cloakroom_servers::Redis;
use cloakroom_testkit::{CollectedEvents, ManualClock, key};
use tracing::Level;

#[tokio::test]
async fn a_clock_that_is_off_is_told_at_connect_and_at_each_reconnect() {
    let Some(server) = Redis::start() else { return };
    let events = CollectedEvents::begin();
    let told = || events.take_text(Level::WARN);
    let builder = RedisStore::builder(server.url());
    builder.connect().await.unwrap();
    assert_eq!(told(), "", "the server has this machine's clock");

    let hours = Duration::from_secs(2 * 3_600);
    let now = SystemClock.now();
    let ahead = now.saturating_add(hours);
    let behind = cloakroom_core::Timestamp::from_millis(now.as_millis() - 7_200_000);
    for (clock, field) in [(ahead, "behind=7"), (behind, "ahead=7")] {
        let clock = Arc::new(ManualClock::at(clock));
        let own = clock.now().as_millis() / 1_000;
        let builder = RedisStore::builder(server.url()).clock(clock);
        let store = builder.connect().await.unwrap();
        let at_connect = told();
        server.restart();
        store.load(&key().digest()).await.unwrap();
        for told in [at_connect, told()] {
            assert_eq!(told.matches("WARN").count(), 1, "{told}");
            let server = format!("server=127.0.0.1:{}", server.port());
            let own = format!("own_unix_secs={own}");
            for part in [field, "NTP", &server, &own, "server_unix_secs=1"] {
                assert!(told.contains(part), "{part}: {told}");
            }
        }
    }
}
