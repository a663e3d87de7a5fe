//! What an engine tells of the devices that its sessions are bound to.

use std::time::Duration;

use cloakroom::dbsc::Dbsc;
use cloakroom_testkit::{CollectedEvent, CollectedEvents};
use cloakroom_tests::in_process::{COOKIE, TestApp};

use crate::is_as_the_page_says;
use crate::recorder::Remembers;
use crate::walk::subject;

/// A device that does not prove itself is told once a minute, and each request is counted.
#[tokio::test(start_paused = true)]
async fn a_device_that_is_not_proven_is_told_and_counted() {
    let events = CollectedEvents::begin();
    let recorder = Remembers::default();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let app = TestApp::with(|builder| builder.device_bound(Dbsc::require()));
    let exchange = app.engine().exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.set_subject(subject("ada")).unwrap();
    let closing = exchange.close(200).await;
    let mut set = closing.token_headers().iter().map(|edit| edit.value());
    let own = set.find(|text| text.starts_with(COOKIE)).unwrap();
    let own = own.split(';').next().unwrap().to_owned();
    drop(events.take());
    // No device answers within the life of a bound cookie.
    app.clock.advance(Duration::from_secs(331));
    let exchange = app.engine().exchange();
    let session = exchange.open([own.as_bytes()].into_iter()).await.unwrap();
    assert!(session.subject().is_none());
    exchange.close(200).await;
    let told = events.take();
    is_as_the_page_says(&told, false);
    let names: Vec<_> = told.iter().map(CollectedEvent::name).collect();
    assert_eq!(names, ["device_unproven", "session_ended"]);
    assert_eq!(told[0].fields["why"], "never_bound");
    assert_eq!(told[1].fields["reason"], "binding_failed");
    let count = |result: &str| {
        recorder.sum(&format!(
            "cloakroom_devices_total{{store=map,result={result}}}"
        ))
    };
    assert_eq!((count("never_bound"), count("missing")), (1.0, 0.0));
}

/// A result without a counter of its own would be told by the log alone.
#[test]
fn each_result_of_a_device_that_the_page_names_is_counted() {
    let recorder = Remembers::default();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let _app = TestApp::with(|builder| builder.device_bound(Dbsc::prefer()));
    let page = include_str!("../../../docs/events.md");
    let row = page
        .lines()
        .find_map(|line| line.strip_prefix("| `cloakroom_devices_total` |"));
    let meaning = row.unwrap().rsplit(" | ").next().unwrap();
    let results: Vec<_> = meaning.split('`').skip(1).step_by(2).collect();
    assert_eq!(results.len(), 12);
    for result in results {
        // It panics where there is no such counter.
        recorder.sum(&format!(
            "cloakroom_devices_total{{store=map,result={result}}}"
        ));
    }
}
