//! What must stand, by the lines that a child has written.

use std::collections::BTreeMap;

use cloakroom::store::Stored;

use crate::crash::operation::{Content, Id, Op, Stand};

/// What each of some sessions may be, where all of them are.
type Outcome = Vec<(Id, Vec<Stand>)>;

/// An operation that was begun and not acknowledged: made whole, or not at all.
struct InFlight {
    op: Op,
    outcomes: Vec<Outcome>,
}

/// What each session may be. What an acknowledged operation left behind is the
/// only thing, but where less is promised.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Never empty lists; what is likeliest comes last.
    stands: BTreeMap<Id, Vec<Stand>>,
    in_flight: Vec<InFlight>,
    /// What is due by now a sweep may have taken.
    now: u64,
    /// Whether an acknowledged touch may be lost.
    touches_lag: bool,
    /// Whether a rotation in flight may leave both keys opening the session.
    rotations_halve: bool,
    /// Whether an end may leave no tombstone, since the disk may have had no room for it.
    ends_leave_less: bool,
}

/// What has come of the operations that were not acknowledged for good.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) in_flight: u64,
    pub(crate) in_flight_made: u64,
    pub(crate) in_flight_halved: u64,
    pub(crate) touches_lost: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.in_flight += other.in_flight;
        self.in_flight_made += other.in_flight_made;
        self.in_flight_halved += other.in_flight_halved;
        self.touches_lost += other.touches_lost;
    }
}

impl Ledger {
    pub(crate) fn new(touches_lag: bool, rotations_halve: bool) -> Self {
        Self {
            touches_lag,
            rotations_halve,
            ..Self::default()
        }
    }

    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
        for stands in self.stands.values_mut() {
            if stands.iter().any(|stand| stand.is_due(now)) {
                stands.insert(0, Stand::Nothing);
            }
        }
    }

    pub(crate) fn set_ends_leave_less(&mut self, leave_less: bool) {
        self.ends_leave_less = leave_less;
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Every session that may stand, or must not.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.stands.keys().copied().collect()
    }

    fn may_be(&self, id: Id) -> Vec<Stand> {
        let stands = self.stands.get(&id).cloned();
        stands.unwrap_or_else(|| vec![Stand::Nothing])
    }

    fn last(&self, id: Id) -> Stand {
        *self.may_be(id).last().expect("never an empty list")
    }

    /// What an operation leaves behind where it is made.
    fn made(&self, op: Op) -> Vec<(Id, Stand)> {
        match op {
            Op::Create { id, content } => vec![(id, written(content, 0))],
            Op::Update {
                id,
                revision,
                content,
            } => vec![(id, written(content, revision))],
            Op::Touch { id, expires_at, .. } => match self.last(id) {
                Stand::Record { content, revision } => {
                    let content = Content {
                        expires_at,
                        ..content
                    };
                    vec![(id, Stand::Record { content, revision })]
                }
                other => panic!("a child has touched {other:?}"),
            },
            Op::Rotate {
                old,
                new,
                revision,
                content,
                until,
            } => vec![
                (new, written(content, revision)),
                (old, Stand::Mark { to: new, until }),
            ],
            Op::End { id, at } => match self.current(id) {
                (id, Stand::Record { content, .. }) => vec![(id, Stand::Ended { content, at })],
                (_, other) => panic!("a child has ended {other:?}"),
            },
            Op::Delete { id } => vec![(self.current(id).0, Stand::Nothing)],
        }
    }

    /// Where a session stands that may have moved, and what stands there.
    fn current(&self, mut id: Id) -> (Id, Stand) {
        loop {
            match self.last(id) {
                Stand::Mark { to, .. } => id = to,
                stand => return (id, stand),
            }
        }
    }

    /// What it leaves behind, or nothing where a sweep may have come by, or where there may
    /// have been no room for a tombstone.
    fn or_nothing(&self, stand: Stand) -> Vec<Stand> {
        let is_forgotten = self.ends_leave_less && matches!(stand, Stand::Ended { .. });
        match stand.is_due(self.now) || is_forgotten {
            true => vec![Stand::Nothing, stand],
            false => vec![stand],
        }
    }

    pub(crate) fn acknowledged(&mut self, op: Op) {
        for (id, stand) in self.made(op) {
            let after = self.or_nothing(stand);
            let stands = self.stands.entry(id).or_default();
            if !(self.touches_lag && matches!(op, Op::Touch { .. })) {
                stands.clear();
            }
            stands.extend(after);
        }
    }

    pub(crate) fn unanswered(&mut self, op: Op) {
        let made = self.made(op);
        let after: Outcome = made
            .iter()
            .map(|(id, stand)| (*id, self.or_nothing(*stand)))
            .collect();
        let before: Outcome = made.iter().map(|(id, _)| (*id, self.may_be(*id))).collect();
        let mut outcomes = vec![before, after];
        if self.rotations_halve && matches!(op, Op::Rotate { .. }) {
            outcomes.push(vec![outcomes[1][0].clone(), outcomes[0][1].clone()]);
        }
        for (id, stands) in outcomes.iter().flatten() {
            self.stands.entry(*id).or_default().extend(stands);
        }
        self.in_flight.push(InFlight { op, outcomes });
    }

    /// Compares with what a store shows, and takes that for what stands.
    ///
    /// # Errors
    /// Each session that is what it must not be.
    pub(crate) fn settle(
        &mut self,
        shown: impl Fn(Id) -> Option<Stored>,
    ) -> Result<Tally, Vec<String>> {
        let mut findings = Vec::new();
        let mut tally = Tally::default();
        let mut found = BTreeMap::new();
        for (id, stands) in &self.stands {
            let stored = shown(*id);
            // From the last, so that what is the same by chance counts as made.
            match stands.iter().rev().find(|stand| stand.stored() == stored) {
                Some(stand) => {
                    found.insert(*id, *stand);
                }
                None => findings.push(format!(
                    "session {id} may be {stands:?}, and is {}",
                    stored.map_or("nothing".to_owned(), |stored| outline(&stored)),
                )),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let in_flight = std::mem::take(&mut self.in_flight);
        for (id, stand) in &found {
            let theirs = |one: &InFlight| one.outcomes[0].iter().any(|(at, _)| at == id);
            if self.last(*id) != *stand && !in_flight.iter().any(theirs) {
                tally.touches_lost += u64::from(*stand != Stand::Nothing);
            }
        }
        for InFlight { op, outcomes } in in_flight {
            tally.in_flight += 1;
            let holds =
                |outcome: &Outcome| outcome.iter().all(|(id, may)| may.contains(&found[id]));
            match outcomes.iter().position(holds) {
                Some(0) => {}
                Some(1) => tally.in_flight_made += 1,
                Some(_) => tally.in_flight_halved += 1,
                None => findings.push(format!("half made: {op}; {outcomes:?}")),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        self.stands = found
            .into_iter()
            .filter(|(_, stand)| *stand != Stand::Nothing)
            .map(|(id, stand)| (id, vec![stand]))
            .collect();
        Ok(tally)
    }

    /// After a sweep that has come to its end.
    pub(crate) fn swept(&mut self) {
        let now = self.now;
        self.stands.retain(|_, stands| !stands[0].is_due(now));
    }

    /// Sessions to work on, where all is settled: records that no sweep takes.
    pub(crate) fn live(&self) -> Vec<Id> {
        let is_live =
            |stand: &Stand| matches!(stand, Stand::Record { .. }) && !stand.is_due(self.now);
        let live = self
            .stands
            .iter()
            .filter(|(_, stands)| stands.iter().all(is_live));
        live.map(|(id, _)| *id).collect()
    }

    /// What stands, once settled.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (Id, Stand)> {
        self.stands.iter().map(|(id, stands)| (*id, stands[0]))
    }
}

/// The record that a write on this revision leaves.
fn written(content: Content, revision: u64) -> Stand {
    Stand::Record {
        content,
        revision: revision + 1,
    }
}

fn outline(stored: &Stored) -> String {
    match stored {
        Stored::Record(record) => format!(
            "a record of revision {}, {} bytes, until {}",
            record.revision.as_u64(),
            record.data.as_bytes().len(),
            record.expires_at.as_millis()
        ),
        Stored::Rotated { to, until } => format!("a mark to {to:?} until {}", until.as_millis()),
        Stored::Ended(tombstone) => format!("a tombstone: {}", tombstone.because),
    }
}
