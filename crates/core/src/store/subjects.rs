//! Listing the sessions of a subject in pages, and ending them in steps.

use std::collections::BTreeSet;
use std::future::Future;

use crate::Error;
use crate::store::{
    BoxFuture, Data, Ending, KeyDigest, LIST_PAGE_ITEMS_MAX, Record, ScanCursor, SubjectDigest,
};

/// Lists the sessions of a user, and ends them.
///
/// A record is listed under its subject, and under no other, by the time the write
/// that stored it is answered. Where a store keeps its index apart, an orphan (an entry
/// whose session is gone or changed owner) is harmless: lists skip it, and a sweep
/// removes it.
///
/// Nothing bounds the sessions of a subject: neither method may hold up others for longer
/// because a subject has many.
pub trait Subjects: Send + Sync {
    /// The next page of a subject's records, without their data, in no order: at most
    /// [`LIST_PAGE_ITEMS_MAX`](crate::store::LIST_PAGE_ITEMS_MAX), fewer or none where the
    /// store prefers that. The list is over where there is no next cursor. An expired
    /// record may be in it; one that cannot be read is not.
    ///
    /// What stands from the first page to the last is listed, and once where no session of
    /// the subject is written meanwhile. What moves from key to key while one page is read
    /// is listed too, in that page or a later one; what moves between two pages may be
    /// missed, as may what begins or ends.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) for a cursor of another kind of store,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the store does not answer; the same
    /// cursor may then be tried again.
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// The records of a subject, each once: `max` of them, whichever the store comes to
    /// first. It reads page after page, and no more than `max` fill, but those of orphans
    /// and of records that cannot be read.
    ///
    /// # Errors
    /// As [`list_sessions`](Self::list_sessions).
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let (mut sessions, mut seen) = (Vec::new(), BTreeSet::new());
            let mut from = None;
            loop {
                let page = self.list_sessions(subject, from.as_ref()).await?;
                let fresh = page.sessions.into_iter();
                sessions.extend(fresh.filter(|listed| seen.insert(listed.digest)));
                from = page.next;
                if from.is_none() || sessions.len() >= max {
                    sessions.truncate(max);
                    return Ok(sessions);
                }
            }
        })
    }

    /// Ends sessions of a subject, and no one else's, whatever digest it is told;
    /// answers the digests of those it ended, so that a cache in front drops them.
    ///
    /// Every session of the subject that stood when the call began and was meant
    /// is ended when it is answered, also one that a rotation moves meanwhile, and
    /// one that cannot be read. A session that begins meanwhile may survive.
    /// Rotation marks stay. Each ended session leaves a tombstone, as with
    /// [`SessionStore::end`](crate::store::SessionStore::end); one that cannot be read may
    /// leave none.
    ///
    /// Many sessions are ended in bounded steps, between which others get their turn.
    /// Where the call fails or is dropped between two of them, what was ended stays ended,
    /// and another call goes on from there.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where some of them may still stand.
    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>>;

    /// Ends sessions of a subject and leaves no trace: [`end_sessions`](Self::end_sessions)
    /// without an ending.
    ///
    /// # Errors
    /// As [`end_sessions`](Self::end_sessions).
    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        self.end_sessions(subject, which, None)
    }
}

/// One page of a subject's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The sessions.
    pub sessions: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

impl ListPage {
    /// A page, and where to go on.
    #[must_use]
    pub fn new(sessions: Vec<Listed>, next: Option<ScanCursor>) -> Self {
        Self { sessions, next }
    }

    /// The next page of a store that reads the entries of its index in the order of
    /// digests, from the entries past the cursor: the digest of each, and the session that
    /// it leads to, if any.
    ///
    /// # Errors
    /// The first that `found` gives.
    pub fn fill<E>(
        found: impl IntoIterator<Item = Result<(KeyDigest, Option<Listed>), E>>,
    ) -> Result<Self, E> {
        let mut page = Self::default();
        for (entry, item) in found.into_iter().take(LIST_PAGE_ITEMS_MAX).enumerate() {
            let (digest, listed) = item?;
            page.sessions.extend(listed);
            if entry + 1 == LIST_PAGE_ITEMS_MAX {
                page.next = Some(ScanCursor::after(&digest));
            }
        }
        Ok(page)
    }
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Where it stands. It opens nothing, and may be shown to its owner.
    pub digest: KeyDigest,
    /// Its header: beginning, last use, deadlines, label. The data is left out.
    pub record: Record,
}

impl Listed {
    /// The session at a digest; leaves its data out.
    #[must_use]
    pub fn new(digest: KeyDigest, record: Record) -> Self {
        let data = Data::empty();
        Self {
            digest,
            record: Record { data, ..record },
        }
    }
}

/// Which sessions of a subject to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All of them.
    All,
    /// All but the one at this digest: "log out everywhere else". Where that one
    /// has been rotated meanwhile, where it has moved is spared as well.
    AllBut(KeyDigest),
    /// The one at this digest.
    One(KeyDigest),
}

impl Revoke {
    /// Resolves the named digest to the session's current one, which `follow` answers.
    ///
    /// # Errors
    /// What `follow` fails with.
    pub fn resolved<E>(
        self,
        follow: impl FnOnce(&KeyDigest) -> Result<KeyDigest, E>,
    ) -> Result<Self, E> {
        Ok(match self {
            Self::All => Self::All,
            Self::AllBut(kept) => Self::AllBut(follow(&kept)?),
            Self::One(meant) => Self::One(follow(&meant)?),
        })
    }

    /// Whether the session at this digest is to be ended.
    #[must_use]
    pub fn means(&self, digest: &KeyDigest) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(kept) => kept != digest,
            Self::One(meant) => meant == digest,
        }
    }
}

/// What one step of a revocation has done.
#[derive(Clone, Debug)]
pub struct RevokeStep {
    /// The sessions that it has ended.
    pub ended: Vec<KeyDigest>,
    /// What the next step is told: the named session where it is now.
    pub which: Revoke,
    /// Whether it stopped at its limit. Otherwise nothing that is meant stands.
    pub more: bool,
}

impl Revoke {
    /// Revokes in bounded steps, each of which looks at a subject's sessions anew: a store
    /// that ends the first so many of them in one transaction needs no more than this. It
    /// comes to an end, since a step ends many times as many sessions as begin while it
    /// runs.
    ///
    /// # Errors
    /// The first that a step fails with, as [`cut_short`](Self::cut_short) says it.
    pub async fn in_steps<F>(
        mut self,
        mut step: impl FnMut(Self) -> F,
    ) -> Result<Vec<KeyDigest>, Error>
    where
        F: Future<Output = Result<RevokeStep, Error>>,
    {
        let mut ended = Vec::new();
        loop {
            let done = step(self).await;
            let done = done.map_err(|error| Self::cut_short(error, ended.len()))?;
            ended.extend(done.ended);
            self = done.which;
            if !done.more {
                return Ok(ended);
            }
        }
    }

    /// The error of a revocation that failed after so many sessions had been ended: it says
    /// so.
    #[must_use]
    pub fn cut_short(error: Error, ended: usize) -> Error {
        if ended == 0 {
            return error;
        }
        let message = format!(
            "{}; {ended} sessions of the subject were ended before that and stay ended: revoke \
             again to end the rest",
            error.message()
        );
        let told = Error::new(error.kind(), message);
        match error.store() {
            Some(store) => told.in_store(store),
            None => told,
        }
        .with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stored;
    use crate::{ErrorKind, Timestamp};

    #[test]
    fn a_page_of_a_list_ends_at_its_entries_whether_or_not_they_lead_to_sessions() {
        let page = |entries: usize| {
            let entry = |number: usize| {
                let digest = KeyDigest::from_bytes([u8::try_from(number).unwrap_or(255); 32]);
                let record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
                let listed = number
                    .is_multiple_of(2)
                    .then(|| Listed::new(digest, record));
                Ok::<_, Error>((digest, listed))
            };
            let page = ListPage::fill((0..entries).map(entry)).unwrap();
            (page.sessions.len(), page.next.is_some())
        };
        assert_eq!(page(0), (0, false));
        assert_eq!(page(3), (2, false));
        assert_eq!(page(LIST_PAGE_ITEMS_MAX - 1), (128, false));
        assert_eq!(page(LIST_PAGE_ITEMS_MAX + 9), (128, true));
    }

    #[test]
    fn a_revocation_that_fails_between_two_steps_says_how_far_it_came() {
        use crate::Error as E;
        let fails_at = |last: usize| {
            let mut steps = 0;
            let revoked = Revoke::All.in_steps(|which| {
                steps += 1;
                std::future::ready(match steps {
                    step if step == last => Err(E::new(crate::ErrorKind::Unavailable, "no answer")),
                    step => Ok(RevokeStep {
                        ended: vec![KeyDigest::from_bytes([7; 32]); 2],
                        which,
                        more: step < 3,
                    }),
                })
            });
            let mut revoked = std::pin::pin!(revoked);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match revoked.as_mut().poll(&mut context) {
                std::task::Poll::Ready(done) => done,
                std::task::Poll::Pending => panic!("each step is ready"),
            }
        };
        assert_eq!(fails_at(4).unwrap().len(), 6);
        let error = fails_at(1).unwrap_err();
        assert_eq!(error.message(), "no answer");
        let error = fails_at(3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.message().starts_with("no answer; 4 sessions"),
            "{error}"
        );
    }

    #[test]
    fn what_is_revoked_is_judged_where_it_has_moved() {
        let [old, new, other] = [1, 2, 3].map(|byte| KeyDigest::from_bytes([byte; 32]));
        let follow = |digest: &KeyDigest| {
            let mark = |at: &KeyDigest| Ok::<_, Error>((*at == old).then_some(new));
            Stored::resolve_rotations(digest, mark)
        };
        let means = |which: Revoke| {
            let which = which.resolved(follow).unwrap();
            [old, new, other].map(|digest| which.means(&digest))
        };
        assert_eq!(means(Revoke::All), [true, true, true]);
        assert_eq!(means(Revoke::AllBut(old)), [true, false, true]);
        assert_eq!(means(Revoke::AllBut(other)), [true, true, false]);
        assert_eq!(means(Revoke::One(old)), [false, true, false]);
    }
}
