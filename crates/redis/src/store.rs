//! The store: each operation as the servers call for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cloakroom_core::store::{
    BoxFuture, Capabilities, Ending, Import, KeyDigest, ListPage, Listed, Record, Revision, Revoke,
    RotationPath, ScanCursor, SessionStore, Stored, SubjectDigest, Subjects, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_util::future::join_all;

use crate::client::Client;
use crate::cluster::SESSIONS_AT_ONCE;
use crate::errors::{error, is_of_one_session};
use crate::{cluster, index, session, single_node};

/// A store in Redis or Valkey. Cheap to clone: clones share the connection.
#[derive(Clone)]
pub struct RedisStore {
    pub(crate) client: Arc<Client>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.client.origin.server)
            .field("prefix", &self.client.origin.prefix)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        session::load(&self.client, digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let stored = Stored::Record(record.at_revision(Revision::FIRST));
        match session::put(&self.client, digest, &stored).await? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        session::update(&self.client, digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        session::touch(&self.client, digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        match self.client.is_single() {
            true => single_node::rotate(&self.client, old, new, record, mark_until).await,
            false => cluster::rotate(&self.client, old, new, record, mark_until).await,
        }
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        match self.client.is_single() {
            true => single_node::end(&self.client, digest, ending).await,
            false => cluster::end(&self.client, digest, ending).await,
        }
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
            .named("redis")
            .with_subjects(self)
            .with_scan(self)
            .with_import(self)
            .with_invalidations(self)
    }
}

impl Import for RedisStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(session::put(&self.client, digest, stored))
    }
}

/// What an index entry leads to.
enum Resolved {
    Session(KeyDigest, Box<Record>),
    Nothing,
    /// A record that cannot be read, or that is listed by a later entry. The entry stays:
    /// a revocation ends a record that cannot be read on its word.
    Unlisted,
}

impl RedisStore {
    /// Follows rotation marks from an index entry to the session.
    async fn resolve(&self, entry: KeyDigest) -> Result<Resolved, Error> {
        let mut path = RotationPath::from(entry);
        loop {
            match self.load(path.at()).await {
                Ok(Some(Stored::Record(record))) => {
                    return Ok(Resolved::Session(*path.at(), Box::new(record)));
                }
                // A session too many marks away has an entry where it stands.
                Ok(Some(Stored::Rotated { to, .. })) => {
                    if path.follow(to).is_err() {
                        return Ok(Resolved::Unlisted);
                    }
                }
                Ok(Some(Stored::Ended(_)) | None) => return Ok(Resolved::Nothing),
                Err(error) if is_of_one_session(&error) => return Ok(Resolved::Unlisted),
                Err(error) => return Err(error),
            }
        }
    }
}

/// How the cursor of a list begins, before the server's own.
const LIST_CURSOR: &str = "redis list ";

impl Subjects for RedisStore {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            let cursor = from.map_or(Some(0), |from| {
                from.as_str().strip_prefix(LIST_CURSOR)?.parse().ok()
            });
            let cursor = cursor.ok_or_else(|| {
                let text = "the cursor is of another kind of store; begin the list again";
                error(ErrorKind::Mismatch, text)
            })?;
            let (entries, next) = index::page(&self.client, subject, cursor).await?;
            let (mut listed, mut seen) = (Vec::new(), BTreeSet::new());
            let mut orphans = Vec::new();
            for some in entries.chunks(SESSIONS_AT_ONCE) {
                let resolved = join_all(some.iter().map(|entry| self.resolve(*entry))).await;
                for (entry, resolved) in some.iter().zip(resolved) {
                    match resolved? {
                        Resolved::Session(digest, record)
                            if record.subject_digest() == Some(*subject) =>
                        {
                            if seen.insert(digest) {
                                listed.push(Listed::new(digest, *record));
                            }
                        }
                        Resolved::Session(..) | Resolved::Nothing => orphans.push((*entry, None)),
                        Resolved::Unlisted => {}
                    }
                }
            }
            index::remove_orphans(&self.client, subject, &orphans).await;
            let next = (next != 0).then(|| ScanCursor::new(format!("{LIST_CURSOR}{next}")));
            Ok(ListPage::new(listed, next))
        })
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            match self.client.is_single() {
                true => single_node::revoke(&self.client, subject, which, ending).await,
                false => cluster::revoke(&self.client, subject, which, ending).await,
            }
        })
    }
}
