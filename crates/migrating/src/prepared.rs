//! What a prepared node does in the former store, where nothing is to move yet.

use cloakroom_core::store::{
    KeyDigest, ListPage, Record, Revision, RotationPath, ScanCursor, SessionStore, Stored,
    SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind};

use crate::Migrating;
use crate::capabilities::{FORMER, NEW, of_either};
use crate::moving::{as_known_in_list, inverted};

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// What a prepared node finds in the former store and leaves there.
    pub(crate) async fn load_where_it_is(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Stored>, Error> {
        if !self.is_prepared {
            return Ok(None);
        }
        let stored = self.from.load(digest).await?;
        Ok(stored.filter(
            |stored| !matches!(stored, Stored::Rotated { to, .. } if *to == inverted(digest)),
        ))
    }

    /// A write of a prepared node to the former store; `None` where no record stands there.
    pub(crate) async fn write_where_it_is<T>(
        &self,
        write: impl Future<Output = Result<T, Error>> + Send,
    ) -> Option<Result<T, Error>> {
        if !self.is_prepared {
            return None;
        }
        match write.await {
            Err(error) if error.kind() == ErrorKind::Gone => None,
            written => Some(written),
        }
    }

    /// Nobody chooses the digest of a session that has been, so nothing moves between
    /// these looks.
    pub(crate) async fn create_in_former(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Error> {
        let is_free = self.from.load(&inverted(digest)).await?.is_none()
            && self.to.load(digest).await?.is_none();
        match is_free {
            true => self.from.create(digest, record).await,
            false => {
                self.settle_before_new(digest).await?;
                self.to.create(digest, record).await
            }
        }
    }

    /// A page of a subject's list: first of the former store, then of the new one.
    pub(crate) async fn list_both(
        &self,
        subject: &SubjectDigest,
        from: Option<&ScanCursor>,
    ) -> Result<ListPage, Error> {
        let (name, inner) = of_either(from)?;
        let capabilities = match name {
            FORMER => self.from.capabilities(),
            _ => self.to.capabilities(),
        };
        let subjects = capabilities.required_subjects()?;
        let page = subjects.list_sessions(subject, inner.as_ref()).await?;
        let sessions = page.sessions.into_iter().map(as_known_in_list);
        let next = match page.next {
            Some(next) => Some(format!("{name}{}", next.as_str())),
            None => (name == FORMER).then(|| NEW.to_owned()),
        };
        Ok(ListPage::new(sessions.collect(), next.map(ScanCursor::new)))
    }

    /// Where rotation marks of the former store lead from a digest.
    pub(crate) async fn former_place_of(&self, digest: &KeyDigest) -> Result<KeyDigest, Error> {
        let mut path = RotationPath::from(*digest);
        while let Some(Stored::Rotated { to, .. }) = self.from.load(path.at()).await?
            && to != inverted(path.at())
        {
            path.follow(to)?;
        }
        Ok(*path.at())
    }
}
