//! What a sweep leaves, at every edge of a deadline.

use cloakroom_core::store::{
    EndReason, Ending, Import, Record, SessionStore, Stored, Sweep, TOMBSTONE_AGE_MAX, Tombstone,
};
use cloakroom_core::{SessionExpiry, Subject, Timestamp};

use crate::sample::key;

/// Puts records, rotation marks and tombstones into a store whose deadlines lie at, before
/// and behind the edges of a sweep, sweeps, and compares what is left with what
/// [`Stored::swept`] says. It is for stores that write this rule in a language of their own,
/// as SQL is, and that never look at the time.
///
/// It sweeps away all that the store holds.
///
/// # Panics
/// Where something else is left, where a step sweeps more than it may, and where the store
/// offers no sweep, import and scan.
pub async fn sweeps_at_every_edge<S: SessionStore>(store: &S) {
    let capabilities = store.capabilities();
    let import = capabilities.import.expect("a store that takes records in");
    let sweep = capabilities.sweep.expect("a store that sweeps");
    let scan = capabilities.scan.expect("a store that is read whole");
    let day = u64::try_from(TOMBSTONE_AGE_MAX.as_millis()).expect("a day");
    let last = Timestamp::MAX.as_millis();
    for now in [0, 1, day - 1, day, day + 1, 20_000 * day, last - 1, last] {
        sweeps_at(import, sweep, store, now, day).await;
        // Nothing is remembered behind the last instant.
        while sweep_step(sweep, Timestamp::MAX).await.1 {}
        let left = scan.scan(None, 10).await.expect("the store answers");
        assert!(left.items.is_empty(), "{:?}", left.items);
    }
}

async fn sweeps_at<S: SessionStore>(
    import: &dyn Import,
    sweep: &dyn Sweep,
    store: &S,
    now: u64,
    day: u64,
) {
    let mut deadlines = vec![0, 1, now.saturating_add(1), u64::MAX];
    for before in [0, 1, day - 1, day, day + 1] {
        deadlines.push(now.saturating_sub(before));
    }
    deadlines.sort_unstable();
    deadlines.dedup();
    let now = Timestamp::from_millis(now);
    let (mut expected, mut due) = (Vec::new(), 0);
    for deadline in deadlines.into_iter().map(Timestamp::from_millis) {
        for stored in occupants(deadline) {
            let digest = key().digest();
            let put = import.import(&digest, &stored).await;
            assert!(put.expect("the store answers"));
            let is_due = stored.expires_at() <= now;
            due += usize::from(is_due);
            let left = match is_due {
                true => stored.swept(now).map(Stored::Ended),
                false => Some(stored),
            };
            expected.push((digest, left));
        }
    }
    let mut removed = 0;
    loop {
        let (some, more) = sweep_step(sweep, now).await;
        removed += some;
        if !more {
            break;
        }
    }
    assert_eq!(removed, due, "at {now:?}");
    for (digest, left) in expected {
        let found = store.load(&digest).await.expect("the store answers");
        assert_eq!(found, left, "at {now:?}");
    }
}

/// Sweeps a few; answers how many, and whether there may be more.
async fn sweep_step(sweep: &dyn Sweep, now: Timestamp) -> (usize, bool) {
    const FEW: usize = 3;
    let swept = sweep.sweep(now, FEW).await.expect("the store answers");
    assert!(swept.removed <= FEW, "a step is bounded");
    (swept.removed, swept.more)
}

/// Everything that may stand at a digest, with this deadline.
fn occupants(deadline: Timestamp) -> Vec<Stored> {
    let mut bare = Record::new(Timestamp::EPOCH, deadline);
    bare.revision = bare.revision.next();
    let mut absolute = bare.clone();
    absolute.absolute_deadline = Some(deadline);
    absolute.subject = Some(Subject::new("user-42").expect("short"));
    let mut chosen = bare.clone();
    chosen.absolute_deadline = Some(Timestamp::MAX);
    chosen.expiry = SessionExpiry::Idle(TOMBSTONE_AGE_MAX);
    let mut ending = Ending::new(EndReason::LoggedOut, Timestamp::EPOCH);
    ending.until = deadline;
    vec![
        Stored::Record(bare),
        Stored::Record(absolute),
        Stored::Record(chosen),
        Stored::Rotated {
            to: key().digest(),
            until: deadline,
        },
        Stored::Ended(Tombstone::new(&ending, None)),
    ]
}
