//! The store of any database, behind one type.

use cloakroom_core::store::{
    BoxFuture, Import, KeyDigest, Listed, Record, Revision, Revoke, Scan, ScanCursor, ScanPage,
    Stored, SubjectDigest, Subjects, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, Timestamp};

use crate::dialect::Dialect;
use crate::store::Store;

/// What [`SqlStore`](crate::SqlStore) asks of a [`Store`].
pub(crate) trait Backend: Sweep + Subjects + Scan + Import {
    fn name(&self) -> &'static str;
    fn table(&self) -> &str;
    fn migrate(&self) -> BoxFuture<'_, Result<(), Error>>;
    fn load<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<Option<Stored>, Error>>;
    fn create<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>>;
    fn update<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>>;
    fn touch<'a>(
        &'a self,
        digest: &'a KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> BoxFuture<'a, Result<(), Error>>;
    fn rotate<'a>(
        &'a self,
        old: &'a KeyDigest,
        new: &'a KeyDigest,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Revision, Error>>;
    fn delete<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<(), Error>>;
}

impl<DB: Dialect> Backend for Store<DB> {
    fn name(&self) -> &'static str {
        DB::STORE
    }

    fn table(&self) -> &str {
        &self.table.name
    }

    fn migrate(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.migrate())
    }

    fn load<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        Box::pin(self.load(digest))
    }

    fn create<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(self.create(digest, record))
    }

    fn update<'a>(
        &'a self,
        digest: &'a KeyDigest,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(self.update(digest, record))
    }

    fn touch<'a>(
        &'a self,
        digest: &'a KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.touch(digest, revision, touch))
    }

    fn rotate<'a>(
        &'a self,
        old: &'a KeyDigest,
        new: &'a KeyDigest,
        record: &'a Record,
        mark_until: Timestamp,
    ) -> BoxFuture<'a, Result<Revision, Error>> {
        Box::pin(self.rotate(old, new, record, mark_until))
    }

    fn delete<'a>(&'a self, digest: &'a KeyDigest) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.delete(digest))
    }
}

impl<DB: Dialect> Sweep for Store<DB> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(self.sweep(now, max))
    }
}

impl<DB: Dialect> Subjects for Store<DB> {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(self.sessions_of(subject))
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(self.revoke(subject, which))
    }
}

impl<DB: Dialect> Scan for Store<DB> {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(self.scan(from, max))
    }
}

impl<DB: Dialect> Import for Store<DB> {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.import(digest, stored))
    }
}
