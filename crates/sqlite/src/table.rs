//! The contract of a store over one table: what writes, within a transaction that keeps
//! all other writers away, and what reads, each statement on a snapshot of its own.

use cloakroom_core::store::{
    Ending, KeyDigest, ListPage, Listed, Record, Revision, Revoke, RevokeStep, ScanCursor,
    ScanPage, Scanned, Stored, SubjectDigest, TOMBSTONE_AGE_MAX, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use rusqlite::{Connection, params_from_iter};

use crate::row::{
    Arg, RecordColumns, Row, behind, bytes, digest, ending_args, instant, int, revision,
};
use crate::statements::{EndStatements, Statements};

/// Sessions that a revocation ends in one transaction: other writes wait for some
/// milliseconds.
const REVOKE_STEP_MAX: usize = 128;

/// [`TOMBSTONE_AGE_MAX`] in milliseconds.
const DAY_MILLIS: i64 = TOMBSTONE_AGE_MAX.as_secs().cast_signed() * 1_000;

/// Why an operation on the table failed.
#[derive(Debug)]
pub(crate) enum TableError {
    /// The store refuses it. Nothing has been changed, and the other writes of the
    /// transaction are not concerned.
    Refused(Error),
    /// SQLite failed, and with it the whole transaction.
    Database(rusqlite::Error),
}

impl From<Error> for TableError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ErrorKind> for TableError {
    fn from(kind: ErrorKind) -> Self {
        Self::Refused(kind.into())
    }
}

impl From<rusqlite::Error> for TableError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database(source)
    }
}

/// The table, on a connection.
///
/// Every write that is [refused](TableError::Refused) has changed nothing.
pub(crate) struct Table<'c> {
    conn: &'c Connection,
    statements: &'c Statements,
    /// How many rows were changed: with none, there is nothing to commit.
    pub(crate) changed: usize,
}

impl<'c> Table<'c> {
    pub(crate) fn on(conn: &'c Connection, statements: &'c Statements) -> Self {
        Self {
            conn,
            statements,
            changed: 0,
        }
    }

    /// How many rows a statement writes.
    fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<usize, rusqlite::Error> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let written = statement.execute(params_from_iter(args))?;
        self.changed += written;
        Ok(written)
    }

    /// What is made of the first row that a statement answers.
    fn first<T>(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, TableError> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(args))?;
        let row = rows.next()?;
        Ok(row.map(|row| read(&Row(row))).transpose()?)
    }

    pub(crate) fn load(&self, at: &KeyDigest) -> Result<Option<Stored>, TableError> {
        let sql = &self.statements.load;
        self.first(sql, &[digest(at)], |row| row.stored(true))
    }

    pub(crate) fn create(
        &mut self,
        at: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, TableError> {
        match self.insert(at, &record.at_revision(Revision::FIRST))? {
            true => Ok(Revision::FIRST),
            false => Err(ErrorKind::Exists.into()),
        }
    }

    fn insert(&mut self, at: &KeyDigest, record: &Record) -> Result<bool, TableError> {
        let columns = RecordColumns::new(record, record.revision)?;
        let args = columns.args(&[digest(at)]);
        Ok(self.execute(&self.statements.create, &args)? > 0)
    }

    pub(crate) fn import(&mut self, at: &KeyDigest, stored: &Stored) -> Result<bool, TableError> {
        match stored {
            Stored::Record(record) => self.insert(at, record),
            Stored::Rotated { to, until } => {
                let args = [digest(at), digest(to), instant(*until)];
                Ok(self.execute(&self.statements.create_mark, &args)? > 0)
            }
            Stored::Ended(left) => {
                let mut ending = Ending::new(left.because, left.at).with_note(left.note.clone());
                ending.until = left.until;
                let subject = left.subject.as_ref();
                let subject = subject.map_or(&[][..], |subject| subject.as_bytes());
                let args = [&[digest(at)], &ending_args(&ending)[..]].concat();
                let args = [&args[..], &[bytes(Some(subject))]].concat();
                Ok(self.execute(&self.statements.create_tombstone, &args)? > 0)
            }
        }
    }

    pub(crate) fn update(
        &mut self,
        at: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, TableError> {
        let next = record.revision.next();
        let columns = RecordColumns::new(record, next)?;
        let args = columns.args(&[digest(at), revision(record.revision)]);
        if self.execute(&self.statements.update, &args)? == 0 {
            self.revision(at)?;
            return Err(ErrorKind::Conflict.into());
        }
        Ok(next)
    }

    pub(crate) fn touch(
        &mut self,
        at: &KeyDigest,
        asked: Revision,
        touch: Touch,
    ) -> Result<(), TableError> {
        let (last_seen_at, expires_at) = (instant(touch.last_seen_at), instant(touch.expires_at));
        let args = [digest(at), revision(asked), last_seen_at, expires_at];
        if self.execute(&self.statements.touch, &args)? == 0 {
            // It was written or touched further meanwhile, or it is gone.
            self.revision(at)?;
        }
        Ok(())
    }

    pub(crate) fn rotate(
        &mut self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, TableError> {
        let next = record.revision.next();
        let columns = RecordColumns::new(record, next)?;
        let mark = [
            digest(old),
            revision(record.revision),
            digest(new),
            instant(mark_until),
        ];
        if self.execute(&self.statements.mark, &mark)? == 0 {
            return Err(match self.revision(old)? == record.revision {
                true => ErrorKind::Exists.into(),
                false => ErrorKind::Conflict.into(),
            });
        }
        let args = columns.args(&[digest(new)]);
        self.execute(&self.statements.create, &args)?;
        Ok(next)
    }

    /// The revision of the record at a digest.
    ///
    /// # Errors
    /// `Gone` where there is no record.
    fn revision(&self, at: &KeyDigest) -> Result<Revision, TableError> {
        let sql = &self.statements.revision;
        let found = self.first(sql, &[digest(at)], |row| {
            row.check_format(0)?;
            match row.is_set(1) || row.is_set(3) {
                true => Ok(None),
                false => row.revision(2).map(Some),
            }
        });
        Ok(found?.flatten().ok_or(ErrorKind::Gone)?)
    }

    /// Follows rotation marks to where the session is now.
    fn resolve(&self, from: &KeyDigest) -> Result<KeyDigest, TableError> {
        Stored::resolve_rotations(from, |at| {
            let sql = &self.statements.revision;
            let mark = self.first(sql, &[digest(at)], |row| row.maybe_digest(1));
            Ok(mark?.flatten())
        })
    }

    /// Ends the session that a digest leads to.
    pub(crate) fn end(
        &mut self,
        at: &KeyDigest,
        ending: Option<&Ending>,
    ) -> Result<(), TableError> {
        let current = self.resolve(at)?;
        self.end_at(&current, None, ending).map(drop)
    }

    /// Ends what stands at a digest, if it is this subject's, or anybody's where none is
    /// named.
    fn end_at(
        &mut self,
        at: &KeyDigest,
        of: Option<&SubjectDigest>,
        ending: Option<&Ending>,
    ) -> Result<bool, TableError> {
        let (statements, left) = self.ending(ending);
        let own = [digest(at), bytes(of.map(SubjectDigest::as_bytes))];
        Ok(self.execute(&statements.one, &[&own, &left[..]].concat())? > 0)
    }

    /// The statements of an end, and their arguments behind the others.
    fn ending<'a>(&self, ending: Option<&'a Ending>) -> (&'c EndStatements, Vec<Arg<'a>>) {
        match ending {
            Some(ending) => (&self.statements.remember, ending_args(ending).to_vec()),
            None => (&self.statements.remove, Vec::new()),
        }
    }

    /// One step of a revocation. No session that is meant is listed after it, so that the
    /// next step begins behind it.
    pub(crate) fn end_sessions(
        &mut self,
        subject: &SubjectDigest,
        which: Revoke,
        ending: Option<&Ending>,
    ) -> Result<RevokeStep, TableError> {
        let which = which.resolved(|digest| self.resolve(digest))?;
        let mut ended = Vec::new();
        let spared = match &which {
            Revoke::One(meant) => {
                let is_ended = self.end_at(meant, Some(subject), ending)?;
                ended.extend(is_ended.then_some(*meant));
                let more = false;
                return Ok(RevokeStep { ended, which, more });
            }
            Revoke::AllBut(spared) => Some(spared),
            Revoke::All => None,
        };
        let limit = i64::try_from(REVOKE_STEP_MAX).expect("a step, which is short");
        let (statements, left) = self.ending(ending);
        let own = [bytes(Some(subject.as_bytes())), behind(spared), int(limit)];
        let mut statement = self.conn.prepare_cached(&statements.of_subject)?;
        let mut rows = statement.query(params_from_iter([&own, &left[..]].concat()))?;
        while let Some(row) = rows.next()? {
            self.changed += 1;
            ended.push(Row(row).digest(0)?);
        }
        let more = ended.len() == REVOKE_STEP_MAX;
        Ok(RevokeStep { ended, which, more })
    }

    /// Sweeps the first `max` rows whose deadline is at or before `now`.
    pub(crate) fn sweep(&mut self, now: Timestamp, max: usize) -> Result<usize, TableError> {
        let limit = |rows: usize| int(i64::try_from(rows).unwrap_or(i64::MAX));
        // No tombstone's deadline is behind the last instant.
        let forgotten = match now {
            Timestamp::MAX => i64::MAX,
            now => now.as_millis().cast_signed() - DAY_MILLIS,
        };
        let args = [instant(now), limit(max), int(forgotten)];
        let left = self.execute(&self.statements.sweep_remember, &args)?;
        if left >= max {
            return Ok(left);
        }
        // Those of the first rows that have not become tombstones are the first now.
        let args = [instant(now), limit(max - left)];
        Ok(left + self.execute(&self.statements.sweep_remove, &args)?)
    }

    pub(crate) fn list(
        &self,
        subject: &SubjectDigest,
        from: Option<&ScanCursor>,
    ) -> Result<ListPage, TableError> {
        let from = from.map(ScanCursor::digest).transpose()?;
        let args = [bytes(Some(subject.as_bytes())), behind(from.as_ref())];
        let mut statement = self.conn.prepare_cached(&self.statements.sessions)?;
        let rows = statement.query_map(params_from_iter(args), |row| {
            let row = Row(row);
            Ok(row.digest(0).map(|digest| (digest, row.stored(false))))
        })?;
        ListPage::fill(rows.map(|row| {
            let (digest, stored) = row??;
            // A record that cannot be read is left out.
            let listed = match stored {
                Ok(Stored::Record(record)) => Some(Listed::new(digest, record)),
                _ => None,
            };
            Ok((digest, listed))
        }))
    }

    pub(crate) fn scan(
        &self,
        from: Option<&ScanCursor>,
        max: usize,
    ) -> Result<ScanPage, TableError> {
        let from = from.map(ScanCursor::digest).transpose()?;
        let mut statement = self.conn.prepare_cached(&self.statements.scan)?;
        let rows = statement.query_map([behind(from.as_ref())], |row| {
            let row = Row(row);
            Ok(row.digest(0).map(|digest| (digest, row.stored(true))))
        })?;
        let rows = rows.map(|row| {
            let (digest, stored) = row??;
            Ok(Scanned::new(
                digest,
                stored.map_err(|error| error.in_store(crate::NAME)),
            ))
        });
        ScanPage::fill(rows, max)
    }
}
