//! How one session moves. The first page of the crate says why each step is safe.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cloakroom_core::store::{
    KeyDigest, Listed, Record, Revision, RotationPath, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::{Migrating, importing, is_unreadable};

/// How often a session is looked at that others write to in the former store, before the
/// answer is `Unavailable`. Each look finds that another write has come between.
const LOOKS_MAX: usize = 32;

/// The flags of a frozen session and of a claim, and the turn of a frozen one, in the count
/// of flushes: no session is flushed sixteen million times.
const FROZEN: u32 = 1 << 31;
const CLAIM: u32 = 1 << 30;
const TURN_SHIFT: u32 = 24;

/// How often a session may move into the same store while it lives, from there and back.
const TURNS_MAX: u8 = 1 << (30 - TURN_SHIFT);

/// Parts the places of spent claims, and of sessions that have moved on, from all others.
const SPENT: u8 = 0x80;

/// How much longer than a claim the note stands that its session has moved on: the session
/// would be lost if the claim were seen without it.
const NOTE_LONGER: Duration = Duration::from_secs(24 * 60 * 60);

/// Marks that one step of a sweep removes.
const SWEEP_STEP: usize = 1_000;

/// A digest of no key that anybody knows. It leads both ways.
fn shifted(digest: &KeyDigest, by: u8) -> KeyDigest {
    KeyDigest::from_bytes(digest.as_bytes().map(|byte| byte ^ by))
}

/// Where a session is frozen in the former store.
pub(crate) fn inverted(digest: &KeyDigest) -> KeyDigest {
    shifted(digest, 0xff)
}

/// Where a session is claimed in the new store.
fn claim_place(digest: &KeyDigest, turn: u8) -> KeyDigest {
    shifted(digest, 1 + turn)
}

/// Where a claim goes of which no use can be made.
fn spent_place(digest: &KeyDigest) -> KeyDigest {
    shifted(digest, SPENT)
}

/// Where a store notes that a session has moved on which this claim has brought.
fn release_place(digest: &KeyDigest, turn: u8) -> KeyDigest {
    shifted(digest, SPENT + 1 + turn)
}

/// Whether a claim stood at `place`, and has led to `to`: to its session, or to where it is
/// spent.
fn is_from_claim(place: &KeyDigest, to: &KeyDigest) -> bool {
    let by = place.as_bytes()[0] ^ to.as_bytes()[0];
    (1..=TURNS_MAX).contains(&(by & !SPENT)) && shifted(place, by) == *to
}

fn is_frozen(record: &Record) -> bool {
    record.flushes & FROZEN != 0
}

fn turn_of(frozen: &Record) -> u8 {
    let [turns, ..] = (frozen.flushes & !(FROZEN | CLAIM)).to_be_bytes();
    turns
}

/// Whether this is what a move leaves in the store that it leads to: a claim, the rotation
/// mark that takes its place, or the note that its session has moved on.
pub(crate) fn is_trace(digest: &KeyDigest, stored: &Stored) -> bool {
    match stored {
        Stored::Record(record) => record.flushes & CLAIM != 0,
        Stored::Rotated { to, .. } => is_from_claim(digest, to),
        Stored::Ended(_) => false,
    }
}

fn previous(revision: Revision) -> Revision {
    Revision::from_u64(revision.as_u64().wrapping_sub(1))
}

/// The session of a frozen record, at the revision that it had: the rotation to where it
/// is frozen has counted as a write.
pub(crate) fn thawed(frozen: &Record) -> Record {
    let mut record = frozen.at_revision(previous(frozen.revision));
    record.flushes &= (1 << TURN_SHIFT) - 1;
    record
}

/// What stands in a store, as its owner knows it: where, and what. `None` for what moves
/// have left there.
pub(crate) fn as_known(digest: KeyDigest, stored: Stored) -> Option<(KeyDigest, Stored)> {
    match stored {
        stored if is_trace(&digest, &stored) => None,
        Stored::Record(record) if is_frozen(&record) => {
            Some((inverted(&digest), Stored::Record(thawed(&record))))
        }
        Stored::Rotated { to, .. } if to == inverted(&digest) => None,
        stored => Some((digest, stored)),
    }
}

/// A session in the list of a store, as its owner knows it.
pub(crate) fn as_known_in_list(listed: Listed) -> Listed {
    match is_frozen(&listed.record) {
        true => Listed::new(inverted(&listed.digest), thawed(&listed.record)),
        false => listed,
    }
}

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// Removes what freezing has left in the new store, where it was the former one before:
    /// rotation marks that stand where sessions are to come back. They were due at once, and
    /// no session is as old.
    pub(crate) async fn sweep_once(&self) -> Result<(), Error> {
        if self.is_swept.load(Ordering::Relaxed) {
            return Ok(());
        }
        sweep_freezes(&self.to).await?;
        self.is_swept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Moves the session at a digest to the new store, if it is in the former one, or a
    /// rotation mark. Afterwards the former store has no session there.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` where the former store has something there that cannot
    /// be read; `Unavailable` where either store is.
    pub(crate) async fn settle(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.sweep_once().await?;
        let frozen_at = inverted(digest);
        for _ in 0..LOOKS_MAX {
            match self.from.load(digest).await? {
                Some(Stored::Record(record)) => {
                    let turn = self.free_turn(digest).await?;
                    match self.freeze(digest, &record, turn).await {
                        Ok(()) => {
                            self.take_over(digest, &record, turn).await?;
                            return self.from.delete(&frozen_at).await;
                        }
                        // Another write has come between.
                        Err(error)
                            if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Conflict) =>
                        {
                            continue;
                        }
                        Err(error) if error.kind() == ErrorKind::Exists => {}
                        Err(error) => return Err(error),
                    }
                    match self.from.load(&frozen_at).await? {
                        Some(Stored::Record(half)) if is_frozen(&half) => {
                            let turn = turn_of(&half);
                            let note_at = release_place(digest, turn);
                            if self.to.load(&note_at).await?.is_some() {
                                // It moved in that turn, and has come back since.
                                self.from.delete(&frozen_at).await?;
                                continue;
                            }
                            // Half a rotation, which a crash has left: the record counts,
                            // and both of its places are cleared.
                            self.take_over(digest, &record, turn).await?;
                            self.from.delete(digest).await?;
                            return self.from.delete(&frozen_at).await;
                        }
                        // The session was frozen here before, and then did not move.
                        Some(Stored::Rotated { .. }) => sweep_freezes(&self.from).await?,
                        // A leftover of that which was ended with all of its subject's.
                        Some(Stored::Ended(_)) => self.from.delete(&frozen_at).await?,
                        Some(Stored::Record(_)) | None => {}
                    }
                    continue;
                }
                Some(Stored::Rotated { to, .. }) if to == frozen_at => {}
                Some(stored) if is_trace(digest, &stored) => return Ok(()),
                Some(stays) => {
                    importing(&self.to)?.import(digest, &stays).await?;
                    return match stays {
                        Stored::Ended(_) => self.from.delete(digest).await,
                        _ => Ok(()),
                    };
                }
                None => {}
            }
            // The order of these two looks counts: a session that is frozen meanwhile is
            // seen by the second.
            return match self.from.load(&frozen_at).await? {
                Some(Stored::Record(frozen)) if is_frozen(&frozen) => {
                    let turn = turn_of(&frozen);
                    self.take_over(digest, &thawed(&frozen), turn).await?;
                    self.from.delete(&frozen_at).await
                }
                _ => self.thaw(digest).await,
            };
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the session is written to in the former store each time that it is to be moved to \
             the new one; try again",
        ))
    }

    /// The turn in which a session moves to the new store: the first after which it has not
    /// moved on from there. Where that one has brought it already, it does not move again.
    async fn free_turn(&self, digest: &KeyDigest) -> Result<u8, Error> {
        for turn in 0..TURNS_MAX {
            if self.to.load(&release_place(digest, turn)).await?.is_none() {
                return Ok(turn);
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the session has moved to the new store and back too often: give the new store an \
             empty table, file or prefix",
        ))
    }

    /// Notes in the former store that a session moves on which an earlier move has brought
    /// there, before it does: should it come back there, it is not taken for a copy of
    /// before.
    async fn release(&self, digest: &KeyDigest, record: &Record) -> Result<(), Error> {
        for turn in 0..TURNS_MAX {
            let note_at = release_place(digest, turn);
            let Some(claim) = self.from.load(&claim_place(digest, turn)).await? else {
                match self.from.load(&note_at).await? {
                    Some(_) => continue,
                    None => return Ok(()),
                }
            };
            let stands = claim.expires_at().max(record.expires_at);
            let mut note = Record::new(record.created_at, stands.saturating_add(NOTE_LONGER));
            note.flushes = CLAIM;
            let note = Stored::Record(note);
            importing(&self.from)?.import(&note_at, &note).await?;
        }
        Ok(())
    }

    /// Takes the session from all who write to it in the former store. The rotation mark
    /// is due at once, since nobody needs it.
    async fn freeze(&self, digest: &KeyDigest, record: &Record, turn: u8) -> Result<(), Error> {
        let mut frozen = record.clone();
        frozen.flushes |= FROZEN | u32::from(turn) << TURN_SHIFT;
        let frozen_at = inverted(digest);
        let rotated = self
            .from
            .rotate(digest, &frozen_at, &frozen, Timestamp::EPOCH);
        rotated.await.map(|_| ())
    }

    /// A session that was frozen in the new store, since it was to move the other way, and
    /// has not moved, goes on where it was.
    async fn thaw(&self, digest: &KeyDigest) -> Result<(), Error> {
        let frozen_at = inverted(digest);
        let frozen = match self.to.load(&frozen_at).await? {
            Some(Stored::Record(frozen)) if is_frozen(&frozen) => frozen,
            _ => return Ok(()),
        };
        let claim_at = claim_place(digest, turn_of(&frozen));
        if let Some(Stored::Rotated { .. }) = self.from.load(&claim_at).await? {
            // It has moved: what has become of it since counts.
            return self.to.delete(&frozen_at).await;
        }
        let record = thawed(&frozen).at_revision(frozen.revision);
        let rotated = self
            .to
            .rotate(&frozen_at, digest, &record, Timestamp::EPOCH);
        match rotated.await {
            // Another node was faster.
            Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Exists) => Ok(()),
            rotated => rotated.map(|_| ()),
        }
    }

    /// Puts a session into the new store, unless that has happened before.
    async fn take_over(&self, digest: &KeyDigest, record: &Record, turn: u8) -> Result<(), Error> {
        self.release(digest, record).await?;
        let claim_at = claim_place(digest, turn);
        let mut claim = Record::new(record.created_at, record.expires_at);
        claim.revision = previous(record.revision);
        claim.flushes = CLAIM;
        let stored = Stored::Record(claim.clone());
        importing(&self.to)?.import(&claim_at, &stored).await?;
        let committed = async |based_on: Revision| {
            let record = record.at_revision(based_on);
            let until = record.expires_at;
            self.to.rotate(&claim_at, digest, &record, until).await
        };
        let mut done = committed(claim.revision).await;
        if kind_of(&done) == Some(ErrorKind::Conflict)
            && let Some(Stored::Record(other)) = self.to.load(&claim_at).await?
        {
            // The claim of who has read an older state, where half a rotation was left and
            // written to.
            claim.revision = other.revision;
            done = committed(claim.revision).await;
        }
        match done {
            Ok(_) => self.verify(digest, record).await,
            // It has moved before.
            Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
            Err(error) if error.kind() == ErrorKind::Exists => {
                match self.to.load(digest).await {
                    // That of the session that was frozen just now.
                    Ok(Some(Stored::Rotated { to, .. })) if to == inverted(digest) => {
                        Err(same_store())
                    }
                    _ => self.spend_claim(digest, &claim_at, &claim).await,
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The new store has a session there that did not move from the former one, and it
    /// counts. A rotation mark takes the place of the claim all the same, so that nobody
    /// moves the former one when this has ended.
    async fn spend_claim(
        &self,
        digest: &KeyDigest,
        claim_at: &KeyDigest,
        claim: &Record,
    ) -> Result<(), Error> {
        let spent_at = spent_place(digest);
        let until = claim.expires_at;
        let spent = self.to.rotate(claim_at, &spent_at, claim, until).await;
        self.to.delete(&spent_at).await?;
        match spent {
            Err(error) if error.kind() != ErrorKind::Gone => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the new store for what was just written to it. Whoever has moved on from there
    /// has read it.
    async fn verify(&self, digest: &KeyDigest, record: &Record) -> Result<(), Error> {
        let Some(Stored::Record(mut found)) = self.to.load(digest).await? else {
            return Ok(());
        };
        let uses = Touch::from(record);
        let is_later = Touch::from(&found).later(uses) == Touch::from(&found);
        found.last_seen_at = record.last_seen_at;
        found.expires_at = record.expires_at;
        if found.revision == record.revision && !(is_later && found == *record) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the new store does not answer what was written to it for the session {}; \
                     the former store keeps it",
                    digest.short()
                ),
            ));
        }
        Ok(())
    }

    /// Follows rotation marks from a digest, and settles each; answers where they lead,
    /// and whether the former store has something there that cannot be read.
    pub(crate) async fn settle_along(
        &self,
        digest: &KeyDigest,
    ) -> Result<(KeyDigest, bool), Error> {
        let mut path = RotationPath::from(*digest);
        loop {
            let is_unreadable_here = match self.settle(path.at()).await {
                Err(error) if is_unreadable(&error) => true,
                settled => {
                    settled?;
                    false
                }
            };
            match self.to.load(path.at()).await {
                Ok(Some(Stored::Rotated { to, .. })) => path.follow(to)?,
                Err(error) if !is_unreadable(&error) => return Err(error),
                _ => return Ok((*path.at(), is_unreadable_here)),
            }
        }
    }
}

/// Removes rotation marks that were due at once.
pub(crate) async fn sweep_freezes<S: SessionStore>(store: &S) -> Result<(), Error> {
    if let Some(sweep) = store.capabilities().sweep {
        while sweep.sweep(Timestamp::EPOCH, SWEEP_STEP).await?.more {}
    }
    Ok(())
}

fn same_store() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the store to move sessions from and the one to move them to are the same: give the new \
         one a table, a file or a prefix of its own",
    )
}

fn kind_of<T>(result: &Result<T, Error>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}
