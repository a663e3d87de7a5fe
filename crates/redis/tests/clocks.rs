//! A server's clock and the application's need not agree.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::store::{
    EndReason, Ending, Import as _, KeyDigest, Record, Revoke, SessionStore as _, Stored,
    Subjects as _, TOMBSTONE_AGE_MAX, Touch,
};
use cloakroom_core::{Clock, Subject, SystemClock, Timestamp};
use cloakroom_testkit::{key, listed_as, sample};

use crate::common::Setup;

const IDLE: Duration = Duration::from_secs(30 * 60);
const MARK: Duration = Duration::from_secs(5 * 60);

/// A clock that is wrong by so much, to either side, as the server's sees it.
#[derive(Debug)]
struct Off {
    ahead: Duration,
    behind: Duration,
}

impl Clock for Off {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().saturating_add(self.ahead).as_millis();
        Timestamp::from_millis(now - u64::try_from(self.behind.as_millis()).unwrap())
    }
}

fn begun(now: Timestamp, subject: Option<&Subject>) -> Record {
    let mut record = sample("text");
    record.created_at = now;
    record.last_seen_at = now;
    record.expires_at = now.saturating_add(IDLE);
    record.subject = subject.cloned();
    record
}

/// The lifetime of a key is a minute longer than it must live, for as long as a slow
/// machine needs.
fn lives(setup: &Setup, key: &str, must: Duration) {
    let left = setup.ask(&["PTTL", key]).parse().unwrap();
    let left = Duration::from_millis(left);
    assert!(
        left <= must + Duration::from_secs(61) && left > must,
        "{key} lives {left:?} and must {must:?}"
    );
}

async fn every_write(setup: &Setup, clock: &Off, subject: Option<&Subject>) {
    let store = &setup.store;
    let name = |digest: &KeyDigest| format!("{}s:{}", setup.prefix, digest.to_hex());
    let (old, new) = (key().digest(), key().digest());
    let mut record = begun(clock.now(), subject);
    record.revision = store.create(&old, &record).await.unwrap();
    lives(setup, &name(&old), IDLE);
    record.revision = store.update(&old, &record).await.unwrap();
    lives(setup, &name(&old), IDLE);
    let touch = Touch {
        expires_at: record.expires_at.saturating_add(IDLE),
        ..Touch::from(&record)
    };
    store.touch(&old, record.revision, touch).await.unwrap();
    lives(setup, &name(&old), 2 * IDLE);
    let until = clock.now().saturating_add(MARK);
    store.rotate(&old, &new, &record, until).await.unwrap();
    lives(setup, &name(&old), MARK);
    lives(setup, &name(&new), IDLE);
    assert!(store.load(&new).await.unwrap().is_some());
    if let Some(subject) = subject {
        let subject = listed_as(subject);
        let listed = store.sessions_of(&subject, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        let index = format!("{}u:{}", setup.prefix, subject.to_hex());
        let left: u64 = setup.ask(&["PTTL", &index]).parse().unwrap();
        let left = Duration::from_millis(left);
        // As long again as the session has to live, at most as long as the touch gave it.
        assert!(left > IDLE && left < 5 * IDLE, "{left:?}");
    }
    let ending = Ending::new(EndReason::LoggedOut, clock.now());
    store.end(&old, Some(&ending)).await.unwrap();
    lives(setup, &name(&old), MARK);
    lives(setup, &name(&new), TOMBSTONE_AGE_MAX);
    let tombstone = store.load(&new).await.unwrap().unwrap();
    assert!(matches!(tombstone, Stored::Ended(_)));
    let imported = key().digest();
    assert!(store.import(&imported, &tombstone).await.unwrap());
    lives(setup, &name(&imported), TOMBSTONE_AGE_MAX);
    if let Some(subject) = subject {
        let digest = key().digest();
        store
            .create(&digest, &begun(clock.now(), Some(subject)))
            .await
            .unwrap();
        let subject = listed_as(subject);
        let ended = store.end_sessions(&subject, Revoke::All, Some(&ending));
        assert_eq!(ended.await.unwrap(), [digest]);
        lives(setup, &name(&digest), TOMBSTONE_AGE_MAX);
    }
}

/// With Redis two hours ahead, a login was answered with success and gone at once.
#[tokio::test]
async fn a_session_lives_as_long_as_it_was_given_whatever_the_servers_clock_says() {
    let (none, hours) = (Duration::ZERO, Duration::from_secs(2 * 3_600));
    for (ahead, behind) in [(none, hours), (hours, none)] {
        let clock = Arc::new(Off { ahead, behind });
        for setup in common::both_by(clock.clone()).await {
            every_write(&setup, &clock, None).await;
            let subject = Subject::new(key().digest().to_hex()).unwrap();
            every_write(&setup, &clock, Some(&subject)).await;
        }
    }
}
