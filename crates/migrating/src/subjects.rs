//! The sessions of a subject, over both stores.

use cloakroom_core::store::{
    BoxFuture, KeyDigest, ListPage, Revoke, ScanCursor, SessionStore, SubjectDigest, Subjects,
};
use cloakroom_core::{Error, ErrorKind};

use crate::Migrating;
use crate::moving::{inverted, is_flagged};

/// How often the list of a subject in the former store is read from its beginning, before
/// the answer is `Unavailable`. Each time but the last finds a session, which moves.
const PASSES_MAX: usize = 32;

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// Moves the sessions of a subject to the new store.
    async fn settle_subject(&self, subject: &SubjectDigest) -> Result<(), Error> {
        let former = self.from.capabilities().required_subjects()?;
        for _ in 0..PASSES_MAX {
            let mut found = false;
            let mut next: Option<ScanCursor> = None;
            loop {
                let page = former.list_sessions(subject, next.as_ref()).await?;
                for listed in page.sessions {
                    found = true;
                    let digest = match is_flagged(&listed.record) {
                        true => inverted(&listed.digest),
                        false => listed.digest,
                    };
                    self.settle(&digest).await?;
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            // A session that another node freezes between two pages is in neither, so a
            // pass that finds nothing has to come last.
            if !found {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "sessions of the subject go on beginning in the former store: is a node still \
             running without the new one?",
        ))
    }
}

impl<A: SessionStore, B: SessionStore> Subjects for Migrating<A, B> {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            if from.is_none() {
                self.settle_subject(subject).await?;
            }
            let new = self.to.capabilities().required_subjects()?;
            new.list_sessions(subject, from).await
        })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            if let Revoke::One(digest) | Revoke::AllBut(digest) = which {
                self.settle_along(&digest).await?;
            }
            if !matches!(which, Revoke::One(_)) {
                self.settle_subject(subject).await?;
            }
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            let mut ended = new.required_subjects()?.revoke(subject, which).await?;
            // What cannot be read could not be moved.
            let left = former.required_subjects()?.revoke(subject, which).await;
            ended.extend(left.map_err(|error| Revoke::cut_short(error, ended.len()))?);
            Ok(ended)
        })
    }
}
