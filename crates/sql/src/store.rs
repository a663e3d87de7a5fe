//! The contract, statement by statement.

use cloakroom_core::store::{
    KeyDigest, ROTATION_HOPS_MAX, Record, Revision, RotationPath, Stored, SubjectDigest, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::dialect::{Arg, Dialect};
use crate::failure::{Cause, unavailable};
use crate::pool::Link;
use crate::row::{self, millis, number};
use crate::table::Table;
use crate::texts::{Rotation, Texts};

/// How often a compare-and-swap is made where it meets no row and a look then finds
/// the record as it was asked for. What is looked at may lag behind what is written
/// to, or a trigger or a policy may keep every write away: without a bound neither
/// would ever end. Who called waits, loads and tries again.
const SWAP_TRIES: u32 = 3;

/// A table in one database.
pub(crate) struct Store<DB: Dialect> {
    pub(crate) link: Link<DB>,
    pub(crate) texts: Texts,
    pub(crate) table: Table,
}

/// What stands where a write has met nothing to write to.
enum Found {
    Nothing,
    Mark,
    Record(Revision),
}

impl<DB: Dialect> Store<DB> {
    pub(crate) async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        let args = [Arg::Bytes(digest.as_bytes())];
        let rows = self.link.read(&self.texts.load, &args).await?;
        let stored = rows.first().map(|row| row::stored::<DB>(row, true));
        stored
            .transpose()
            .map_err(|error| error.in_store(DB::STORE))
    }

    pub(crate) async fn create(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Error> {
        row::check(record)?;
        let args = row::whole(digest, record, Revision::FIRST);
        self.link.write(&self.texts.create, &args).await?;
        Ok(Revision::FIRST)
    }

    pub(crate) async fn update(
        &self,
        digest: &KeyDigest,
        record: &Record,
    ) -> Result<Revision, Error> {
        row::check(record)?;
        let next = record.revision.next();
        let mut args = vec![
            Arg::Bytes(digest.as_bytes()),
            Arg::Int(number(record.revision)),
        ];
        args.extend(row::changing(record, next));
        for _ in 0..SWAP_TRIES {
            if self.link.write(&self.texts.update, &args).await? > 0 {
                return Ok(next);
            }
            self.refused(digest, record.revision).await?;
        }
        Err(conflict::<DB>())
    }

    pub(crate) async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let args = [
            Arg::Bytes(digest.as_bytes()),
            Arg::Int(number(revision)),
            Arg::Int(millis(touch.last_seen_at)),
            Arg::Int(millis(touch.expires_at)),
        ];
        // Where it still stands at this revision, it was touched further, or has
        // just come: the second time says.
        for _ in 0..2 {
            if self.link.write(&self.texts.touch, &args).await? > 0 {
                return Ok(());
            }
            match self.look(digest).await? {
                Found::Record(found) if found == revision => {}
                Found::Record(_) => return Ok(()),
                Found::Nothing | Found::Mark => return Err(gone::<DB>()),
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
        row::check(record)?;
        let next = record.revision.next();
        let mut mark = vec![
            Arg::Bytes(old.as_bytes()),
            Arg::Int(number(record.revision)),
            Arg::Bytes(new.as_bytes()),
            Arg::Int(millis(mark_until)),
        ];
        let whole = row::whole(new, record, next);
        if DB::WORDS.rotation != Rotation::Transaction {
            mark.extend(row::changing(record, next));
        }
        for _ in 0..SWAP_TRIES {
            let texts = &self.texts;
            let has_moved = match DB::WORDS.rotation {
                Rotation::Statement => self.link.write(&texts.rotate, &mark).await? > 0,
                Rotation::Script => self.link.scripted(&texts.script, &mark).await? > 0,
                Rotation::Transaction => {
                    let both = (&texts.mark, &mark[..]);
                    self.link.both(both, (&texts.create, &whole)).await?
                }
            };
            if has_moved {
                return Ok(next);
            }
            self.refused(old, record.revision).await?;
        }
        Err(conflict::<DB>())
    }

    pub(crate) async fn delete(&self, digest: &KeyDigest) -> Result<(), Error> {
        self.end(digest, None).await.map(|_| ())
    }

    /// Removes the record that a digest leads to, where it is this subject's or no
    /// matter whose; answers where it stood.
    pub(crate) async fn end(
        &self,
        digest: &KeyDigest,
        subject: Option<&SubjectDigest>,
    ) -> Result<Option<KeyDigest>, Error> {
        let mut path = RotationPath::from(*digest);
        // The first look is at the digest itself. Each further one is at a session that
        // has moved on since it was found.
        for _ in 0..=ROTATION_HOPS_MAX {
            let args = [
                Arg::Bytes(path.at().as_bytes()),
                Arg::MaybeBytes(subject.map(|subject| &subject.as_bytes()[..])),
            ];
            if self.link.write(&self.texts.end, &args).await? > 0 {
                return Ok(Some(*path.at()));
            }
            match self.resolve(&mut path).await? {
                Some(whose) if subject.is_none() || subject == whose.as_ref() => {}
                _ => return Ok(None),
            }
        }
        Err(unavailable::<DB>(
            "the session moved on each time that it was to be ended",
        ))
    }

    /// Follows rotation marks to the record, and answers its subject; `None` where
    /// there is no record at their end.
    async fn resolve(
        &self,
        path: &mut RotationPath,
    ) -> Result<Option<Option<SubjectDigest>>, Error> {
        let from = *path.at();
        let args = [Arg::Bytes(from.as_bytes())];
        let rows = self.link.read(&self.texts.resolve, &args).await?;
        let resolved = rows.iter().find_map(|row| {
            let mut next = || -> Result<Option<Option<SubjectDigest>>, Error> {
                match row::maybe_digest::<DB>(row, 0)? {
                    Some(to) => path.follow(to).map(|()| None),
                    None => row::subject_digest::<DB>(row, 1).map(Some),
                }
            };
            next().transpose()
        });
        resolved
            .transpose()
            .map_err(|error| error.in_store(DB::STORE))
    }

    /// Why a compare-and-swap has met no row, as an error. No error: a record
    /// stands there now at the revision that was asked for. It has come since, and
    /// nothing was written: to try again is to do it once.
    async fn refused(&self, digest: &KeyDigest, asked: Revision) -> Result<(), Error> {
        match self.look(digest).await? {
            Found::Nothing | Found::Mark => Err(gone::<DB>()),
            Found::Record(found) if found == asked => Ok(()),
            Found::Record(_) => Err(conflict::<DB>()),
        }
    }

    async fn look(&self, digest: &KeyDigest) -> Result<Found, Error> {
        let args = [Arg::Bytes(digest.as_bytes())];
        let rows = self.link.read(&self.texts.look, &args).await?;
        let Some(row) = rows.first() else {
            return Ok(Found::Nothing);
        };
        let found = row::int::<DB>(row, 0).and_then(row::known).and_then(|()| {
            match row::maybe_digest::<DB>(row, 1)? {
                Some(_) => Ok(Found::Mark),
                None => Ok(Found::Record(row::revision(row::int::<DB>(row, 2)?))),
            }
        });
        found.map_err(|error| error.in_store(DB::STORE))
    }

    pub(crate) async fn import(&self, digest: &KeyDigest, stored: &Stored) -> Result<bool, Error> {
        let args = match stored {
            Stored::Record(record) => {
                row::check(record)?;
                row::whole(digest, record, record.revision)
            }
            Stored::Rotated { to, until } => row::mark(digest, to, *until),
        };
        match self.link.write(&self.texts.create, &args).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.cause == Cause::Taken => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }
}

fn conflict<DB: Dialect>() -> Error {
    Error::from(ErrorKind::Conflict).in_store(DB::STORE)
}

fn gone<DB: Dialect>() -> Error {
    Error::from(ErrorKind::Gone).in_store(DB::STORE)
}
