//! The contract of a store over one table, statement by statement.

use cloakroom_core::store::{
    BoxFuture, Close, Ending, Import, Invalidations, KeyDigest, ROTATION_HOPS_MAX, Record,
    Revision, RotationPath, Stored, SubjectDigest, Sweep, Swept, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::driver::Driver;
use crate::endings::{EndStatements, ending_args, sweep_args};
use crate::error::Cause;
use crate::pool::ConnectionPool;
use crate::row::{self, RecordColumns};
use crate::statement::Arg;
use crate::statements::Statements;
use crate::table::TableName;

/// How often a compare-and-swap is tried that writes no row although the record is then
/// found at its revision. A replica that lags behind may answer so, or a trigger or
/// policy that keeps every write away; without a bound that would never end. A record that
/// is ended and imported again in between each time may answer so too, but not that often.
const SWAP_TRIES: u32 = 10;

/// A store over one table of one database.
pub(crate) struct TableStore<DB: Driver> {
    pub(crate) pool: ConnectionPool<DB>,
    pub(crate) statements: Statements,
    pub(crate) table: TableName,
    /// Where writes notify.
    pub(crate) invalidations: Option<Box<dyn Invalidations>>,
}

impl<DB: Driver> TableStore<DB> {
    pub(crate) async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let args = [digest.into()];
        let rows = self.pool.read(&self.statements.load, &args).await?;
        rows.first().map(|row| row.stored(true)).transpose()
    }

    pub(crate) async fn create(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Error> {
        let columns = RecordColumns::new(record, Revision::FIRST)?;
        let args = columns.args(&[digest.into()]);
        self.pool.write(&self.statements.create, &args).await?;
        Ok(Revision::FIRST)
    }

    pub(crate) async fn update(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Error> {
        let next = record.revision.next();
        let columns = RecordColumns::new(record, next)?;
        let args = columns.args(&[digest.into(), record.revision.into()]);
        for _ in 0..SWAP_TRIES {
            if self.pool.write(&self.statements.update, &args).await? > 0 {
                return Ok(next);
            }
            self.check_revision(digest, record.revision).await?;
        }
        Err(error::<DB>(ErrorKind::Conflict))
    }

    pub(crate) async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let (last_seen_at, expires_at) = (touch.last_seen_at.into(), touch.expires_at.into());
        let args = [digest.into(), revision.into(), last_seen_at, expires_at];
        // No row at this revision: it was touched further already, or it has just come,
        // and then the second statement writes it.
        for _ in 0..2 {
            if self.pool.write(&self.statements.touch, &args).await? > 0
                || self.revision(digest).await? != revision
            {
                break;
            }
        }
        Ok(())
    }

    pub(crate) async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let next = record.revision.next();
        let columns = RecordColumns::new(record, next)?;
        let (revision, until) = (record.revision.into(), mark_until.into());
        let args = columns.args(&[old.into(), revision, new.into(), until]);
        for _ in 0..SWAP_TRIES {
            if self.pool.rotate(&self.statements.rotate, &args).await? {
                return Ok(next);
            }
            self.check_revision(old, record.revision).await?;
        }
        Err(error::<DB>(ErrorKind::Conflict))
    }

    /// The statements of an end, and their arguments behind the others.
    pub(crate) fn ending<'a>(&self, ending: Option<&'a Ending>) -> (&EndStatements, Vec<Arg<'a>>) {
        match ending {
            Some(ending) => (&self.statements.remember, ending_args(ending).to_vec()),
            None => (&self.statements.remove, Vec::new()),
        }
    }

    /// Ends the session that a digest leads to, if it is this subject's, or anybody's where
    /// none is named. Answers where it stood.
    pub(crate) async fn end(
        &self,
        digest: &KeyDigest,
        subject: Option<&SubjectDigest>,
        ending: Option<&Ending>,
    ) -> Result<Option<KeyDigest>, Error> {
        let (statements, left) = self.ending(ending);
        let mut path = RotationPath::from(*digest);
        // The first try is at the digest itself. Each further one is at a session that
        // may have moved on since it was found.
        for _ in 0..=ROTATION_HOPS_MAX {
            let at = *path.at();
            let args = [&[(&at).into(), subject.into()], &left[..]].concat();
            if self.pool.write(&statements.one, &args).await? > 0 {
                return Ok(Some(at));
            }
            match self.resolve(&mut path, ending.is_none()).await? {
                Some(owner) if subject.is_none() || subject == owner.as_ref() => {}
                _ => return Ok(None),
            }
        }
        Err(self.pool.target.unavailable(
            "the session moved on each time that it was to be ended, and may still be open; \
             try again",
        ))
    }

    /// Follows rotation marks to the record, or to a tombstone where that is meant too, and
    /// answers its subject; `None` where the path ends without either.
    async fn resolve(
        &self,
        path: &mut RotationPath,
        or_tombstone: bool,
    ) -> Result<Option<Option<SubjectDigest>>, Error> {
        let from = *path.at();
        let args = [Arg::from(&from)];
        for row in self.pool.read(&self.statements.resolve, &args).await? {
            match row.maybe_digest(0)? {
                Some(to) => path
                    .follow(to)
                    .map_err(|error| error.in_store(DB::DIALECT.store))?,
                None if row.is_set(2)? && !or_tombstone => return Ok(None),
                None => return row.subject_digest(1).map(Some),
            }
        }
        Ok(None)
    }

    /// Why a compare-and-swap has written no row. It is no error where a record stands
    /// at the revision that was asked for: it has come since, and the write may be
    /// tried again.
    async fn check_revision(&self, digest: &KeyDigest, asked: Revision) -> Result<(), Error> {
        match self.revision(digest).await? == asked {
            true => Ok(()),
            false => Err(error::<DB>(ErrorKind::Conflict)),
        }
    }

    /// The revision of the record at a digest.
    ///
    /// # Errors
    /// `Gone` where there is no record.
    async fn revision(&self, digest: &KeyDigest) -> Result<Revision, Error> {
        let args = [digest.into()];
        let rows = self.pool.read(&self.statements.revision, &args).await?;
        let row = rows.first().ok_or_else(|| error::<DB>(ErrorKind::Gone))?;
        row.check_format(0)?;
        match row.is_set(1)? || row.is_set(3)? {
            true => Err(error::<DB>(ErrorKind::Gone)),
            false => row.int(2).map(row::revision),
        }
    }
}

fn error<DB: Driver>(kind: ErrorKind) -> Error {
    Error::from(kind).in_store(DB::DIALECT.store)
}

impl<DB: Driver> Close for TableStore<DB> {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.pool.close())
    }
}

impl<DB: Driver> Sweep for TableStore<DB> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let Some(before_last) = max.checked_sub(1) else {
                return Ok(Swept::default());
            };
            let sweep = async |statement, due, max| {
                let args = sweep_args(now, due, max);
                let swept = self.pool.write(statement, &args).await?;
                Ok::<_, Error>(usize::try_from(swept).unwrap_or(usize::MAX))
            };
            let removed = match &self.statements.sweep_rest {
                None => sweep(&self.statements.sweep, now, max).await?,
                Some(rest) => {
                    let before_last = i64::try_from(before_last).unwrap_or(i64::MAX);
                    let args = [now.into(), before_last.into()];
                    let last = self.pool.read(&rest.deadline, &args).await?;
                    let last = last.first().map(|row| row.instant(0)).transpose()?;
                    let due = last.unwrap_or(now);
                    let left = sweep(&self.statements.sweep, due, max).await?;
                    match left < max {
                        true => left + sweep(&rest.remove, due, max - left).await?,
                        false => left,
                    }
                }
            };
            Ok(Swept::new(removed, removed >= max))
        })
    }

    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(async move {
            let rows = self.pool.read(&self.statements.own_time, &[]).await?;
            rows.first().map(|row| row.instant(0)).transpose()
        })
    }
}

impl<DB: Driver> Import for TableStore<DB> {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let statements = &self.statements;
            let written = match stored {
                Stored::Record(record) => {
                    let columns = RecordColumns::new(record, record.revision)?;
                    let args = columns.args(&[digest.into()]);
                    self.pool.write(&statements.create, &args).await
                }
                Stored::Rotated { to, until } => {
                    let args = [digest.into(), to.into(), (*until).into()];
                    self.pool.write(&statements.create_mark, &args).await
                }
                Stored::Ended(left) => {
                    let ending = Ending::new(left.because, left.at).with_note(left.note.clone());
                    let subject = left.subject.as_ref().map_or(&[][..], |of| of.as_bytes());
                    let [because, at, _, note] = ending_args(&ending);
                    let subject = Arg::Bytes(Some(subject));
                    let args = [digest.into(), because, at, left.until.into(), note, subject];
                    self.pool.write(&statements.create_tombstone, &args).await
                }
            };
            match written {
                Ok(_) => Ok(true),
                Err(failed) if failed.cause == Cause::Exists => Ok(false),
                Err(failed) => Err(failed.into()),
            }
        })
    }
}
