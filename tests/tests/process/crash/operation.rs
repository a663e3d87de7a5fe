//! What a child does, as a line of text, and what each line makes of a session.

use std::fmt;
use std::ops::Range;

use cloakroom::engine::SessionKey;
use cloakroom::engine::{Token, TokenStore as _};
use cloakroom::store::{Data, EndReason, Ending, Record, Revision, Stored, Tombstone};
use cloakroom::{AnyStore, Error, Subject, Timestamp};
use cloakroom_tests::embedded::Chance;

/// A session is a number to the test, and its key is made of it.
pub(crate) type Id = u64;

pub(crate) fn key(id: Id) -> SessionKey {
    let bytes = Chance::new(id).bytes(32);
    SessionKey::from_bytes(bytes.try_into().unwrap())
}

fn token(id: Id) -> Token {
    key(id).to_token()
}

/// Deadlines lie this far around the present of a round, in milliseconds: some
/// are past when they are written, and the sweep may take those at any moment.
pub(crate) const PAST_MILLIS: u64 = 500;
const AHEAD_MILLIS: u64 = 20_000;

/// What a record says, made of a number, so that two processes agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) seed: u64,
    pub(crate) expires_at: u64,
}

impl Content {
    pub(crate) fn any(chance: &mut Chance, now: u64) -> Self {
        let span = PAST_MILLIS + AHEAD_MILLIS;
        Self {
            seed: chance.any(),
            expires_at: (now + chance.below(span)).saturating_sub(PAST_MILLIS),
        }
    }

    pub(crate) fn record(self, revision: u64) -> Record {
        let mut chance = Chance::new(self.seed);
        let at = Timestamp::from_millis;
        let mut record = Record::new(at(1), at(self.expires_at));
        record.revision = Revision::from_u64(revision);
        record.absolute_deadline = chance.percent(50).then_some(Timestamp::MAX);
        if chance.percent(60) {
            let subject = format!("user-{}", chance.below(5));
            record.subject = Some(Subject::new(subject).unwrap());
        }
        let length = length(&mut chance);
        record.data = Data::from_bytes(chance.bytes(length));
        record
    }
}

/// Mostly what sessions are; now and then what needs pages of its own in redb
/// and a blob in sled (over 128 KiB).
fn length(chance: &mut Chance) -> usize {
    let lengths: Range<u64> = match chance.below(100) {
        0..70 => 0..2_000,
        70..90 => 2_000..40_000,
        90..97 => 40_000..120_000,
        _ => 132_000..400_000,
    };
    usize::try_from(lengths.start + chance.below(lengths.end - lengths.start)).unwrap()
}

/// What stands under a session's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Nothing,
    Record {
        content: Content,
        revision: u64,
    },
    Mark {
        to: Id,
        until: u64,
    },
    /// A record of this content was ended then.
    Ended {
        content: Content,
        at: u64,
    },
}

fn ending(at: u64) -> Ending {
    Ending::new(EndReason::LoggedOut, Timestamp::from_millis(at))
}

impl Stand {
    pub(crate) fn stored(self) -> Option<Stored> {
        match self {
            Self::Nothing => None,
            Self::Record { content, revision } => Some(Stored::Record(content.record(revision))),
            Self::Mark { to, until } => Some(Stored::Rotated {
                to: key(to).digest(),
                until: Timestamp::from_millis(until),
            }),
            Self::Ended { content, at } => {
                let whose = content.record(0).subject_digest();
                Some(Stored::Ended(Tombstone::new(&ending(at), whose)))
            }
        }
    }

    pub(crate) fn is_due(self, now: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Record { content, .. } => content.expires_at <= now,
            Self::Mark { until, .. } => until <= now,
            Self::Ended { at, .. } => ending(at).until.as_millis() <= now,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create {
        id: Id,
        content: Content,
    },
    Update {
        id: Id,
        revision: u64,
        content: Content,
    },
    Touch {
        id: Id,
        revision: u64,
        expires_at: u64,
    },
    Rotate {
        old: Id,
        new: Id,
        revision: u64,
        content: Content,
        until: u64,
    },
    End {
        id: Id,
        at: u64,
    },
    Delete {
        id: Id,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Create { id, content: c } => write!(f, "create {id} {} {}", c.seed, c.expires_at),
            Self::Update {
                id,
                revision,
                content: c,
            } => write!(f, "update {id} {revision} {} {}", c.seed, c.expires_at),
            Self::Touch {
                id,
                revision,
                expires_at,
            } => write!(f, "touch {id} {revision} {expires_at}"),
            Self::Rotate {
                old,
                new,
                revision,
                content: c,
                until,
            } => write!(
                f,
                "rotate {old} {new} {revision} {} {} {until}",
                c.seed, c.expires_at
            ),
            Self::End { id, at } => write!(f, "end {id} {at}"),
            Self::Delete { id } => write!(f, "delete {id}"),
        }
    }
}

impl Op {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let verb = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let content = |seed, expires_at| Content { seed, expires_at };
        match (verb, &numbers[..]) {
            ("create", &[id, seed, expires_at]) => Self::Create {
                id,
                content: content(seed, expires_at),
            },
            ("update", &[id, revision, seed, expires_at]) => Self::Update {
                id,
                revision,
                content: content(seed, expires_at),
            },
            ("touch", &[id, revision, expires_at]) => Self::Touch {
                id,
                revision,
                expires_at,
            },
            ("rotate", &[old, new, revision, seed, expires_at, until]) => Self::Rotate {
                old,
                new,
                revision,
                content: content(seed, expires_at),
                until,
            },
            ("end", &[id, at]) => Self::End { id, at },
            ("delete", &[id]) => Self::Delete { id },
            _ => panic!("no operation: {text}"),
        }
    }

    /// The session that stands after it.
    pub(crate) fn leaves_alive(self) -> Option<Id> {
        match self {
            Self::Create { id, .. } | Self::Update { id, .. } | Self::Touch { id, .. } => Some(id),
            Self::Rotate { new, .. } => Some(new),
            Self::End { .. } | Self::Delete { .. } => None,
        }
    }

    pub(crate) async fn run(self, store: &AnyStore) -> Result<(), Error> {
        match self {
            Self::Create { id, content } => {
                store.create_token(&key(id), &content.record(0)).await?;
            }
            Self::Update {
                id,
                revision,
                content,
            } => {
                let record = content.record(revision);
                store.update_token(&token(id), &record).await?;
            }
            Self::Touch {
                id,
                revision,
                expires_at,
            } => {
                let at = Timestamp::from_millis;
                let record = Record::new(at(1), at(expires_at));
                let record = record.at_revision(Revision::from_u64(revision));
                store.touch_token(&token(id), &record).await?;
            }
            Self::Rotate {
                old,
                new,
                revision,
                content,
                until,
            } => {
                let record = content.record(revision);
                let until = Timestamp::from_millis(until);
                let (old, new) = (token(old), key(new));
                store.rotate_token(&old, &new, &record, until).await?;
            }
            Self::End { id, at } => store.end_token(&token(id), Some(&ending(at))).await?,
            Self::Delete { id } => store.delete_token(&token(id)).await?,
        }
        Ok(())
    }
}

/// What stands under a session's key in a store, but for what a sweep has left.
pub(crate) async fn load(store: &AnyStore, id: Id) -> Option<Stored> {
    let loaded = store.load_token(&token(id)).await;
    loaded
        .unwrap_or_else(|error| panic!("session {id} does not load: {error:?}"))
        .map(|loaded| loaded.stored)
        .filter(|stored| !is_left_by_a_sweep(stored))
}

/// Whether it is a tombstone that no operation here has put there.
pub(crate) fn is_left_by_a_sweep(stored: &Stored) -> bool {
    matches!(stored, Stored::Ended(tombstone) if tombstone.because != EndReason::LoggedOut)
}
