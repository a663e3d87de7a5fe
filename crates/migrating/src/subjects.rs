//! The sessions of a subject, over both stores.

use cloakroom_core::store::{
    BoxFuture, Ending, KeyDigest, ListPage, Revoke, ScanCursor, SessionStore, Stored,
    SubjectDigest, Subjects,
};
use cloakroom_core::{Error, ErrorKind};

use crate::Migrating;
use crate::moving::as_known_in_list;

/// How often the list of a subject in the former store is read from its beginning, before
/// the answer is `Unavailable`. Each time but the last finds a session, which moves.
const PASSES_MAX: usize = 32;

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// Moves the sessions of a subject to the new store, but for one that may stay.
    async fn settle_subject(
        &self,
        subject: &SubjectDigest,
        spared: Option<KeyDigest>,
    ) -> Result<(), Error> {
        let former = self.from.capabilities().required_subjects()?;
        let mut was_quiet = false;
        for _ in 0..PASSES_MAX {
            let (mut found, mut pages) = (false, 0);
            let mut next: Option<ScanCursor> = None;
            loop {
                let page = former.list_sessions(subject, next.as_ref()).await?;
                for listed in page.sessions {
                    let digest = as_known_in_list(listed).digest;
                    if Some(digest) != spared {
                        found = true;
                        self.settle(&digest).await?;
                    }
                }
                pages += 1;
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            // A session that another node freezes between two pages may be in neither. It is
            // frozen once, so the next pass finds it, or the new store has it.
            if !found && (was_quiet || pages == 1) {
                return Ok(());
            }
            was_quiet = !found;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "sessions of the subject go on beginning in the former store: is a node still \
             running without the new one?",
        ))
    }

    /// Moves what a prepared node is to end, and leaves what it spares. Where that has moved
    /// on meanwhile, the new store is told where to, and spares it. Answers where the former
    /// store has, or had, what is spared.
    async fn settle_all_but(
        &self,
        subject: &SubjectDigest,
        kept: &KeyDigest,
    ) -> Result<KeyDigest, Error> {
        let spared = self.former_place_of(kept).await?;
        self.settle_subject(subject, Some(spared)).await?;
        let stays = matches!(self.from.load(&spared).await?, Some(Stored::Record(_)));
        if !stays {
            self.settle_along(kept).await?;
        }
        Ok(spared)
    }
}

impl<A: SessionStore, B: SessionStore> Subjects for Migrating<A, B> {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            if self.is_prepared {
                return self.list_both(subject, from).await;
            }
            if from.is_none() {
                self.settle_subject(subject, None).await?;
            }
            let new = self.to.capabilities().required_subjects()?;
            let page = new.list_sessions(subject, from).await?;
            let sessions = page.sessions.into_iter().map(as_known_in_list);
            Ok(ListPage::new(sessions.collect(), page.next))
        })
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            // What cannot be read could not be moved. The former store is told of the named
            // session where it is now: that it has moved to the new one is a hop more there.
            let unreadable = match which {
                Revoke::All => {
                    self.settle_subject(subject, None).await?;
                    which
                }
                Revoke::One(digest) => Revoke::One(self.settle_along(&digest).await?.0),
                Revoke::AllBut(kept) if self.is_prepared => {
                    Revoke::AllBut(self.settle_all_but(subject, &kept).await?)
                }
                Revoke::AllBut(kept) => {
                    let (kept, _) = self.settle_along(&kept).await?;
                    self.settle_subject(subject, None).await?;
                    Revoke::AllBut(kept)
                }
            };
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            let ended = new.required_subjects()?;
            let mut ended = ended.end_sessions(subject, which, ending).await?;
            let left = former
                .required_subjects()?
                .end_sessions(subject, unreadable, ending)
                .await;
            ended.extend(left.map_err(|error| Revoke::cut_short(error, ended.len()))?);
            Ok(ended)
        })
    }
}
