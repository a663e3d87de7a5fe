//! The sessions of a subject: listed and ended.

use std::collections::BTreeSet;

use cloakroom_core::Error;
use cloakroom_core::store::{
    BoxFuture, Ending, KeyDigest, LIST_PAGE_ITEMS_MAX, ListPage, Listed, ROTATION_HOPS_MAX, Revoke,
    ScanCursor, Stored, SubjectDigest, Subjects,
};

use crate::driver::Driver;
use crate::error::{Cause, StatementError};
use crate::row::Row;
use crate::scan::count_arg;
use crate::statement::Arg;
use crate::statements::REVOKE_STEP_MAX;
use crate::store::TableStore;

/// How often a revocation looks for sessions that it has missed.
const REVOKE_PASSES: usize = 16;

/// How often the sessions that are left are read, where that takes too long.
const OTHERS_TRIES: u32 = 8;

impl<DB: Driver> Subjects for TableStore<DB> {
    fn list_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        from: Option<&'a ScanCursor>,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            let from = from.map(ScanCursor::digest).transpose()?;
            let limit = count_arg(LIST_PAGE_ITEMS_MAX);
            let args = [Some(subject).into(), behind(from.as_ref()), limit];
            let rows = self.pool.read(&self.statements.sessions, &args).await?;
            ListPage::fill(rows.iter().map(|row| {
                let digest = row.digest(0)?;
                let listed = match row.stored_in_list(false)? {
                    Ok(Stored::Record(record)) => Some(Listed::new(digest, record)),
                    _ => None,
                };
                Ok((digest, listed))
            }))
        })
    }

    fn end_sessions<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
        ending: Option<&'a Ending>,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            let mut ended = Vec::new();
            let done = match which {
                Revoke::All => self.end_all_but(subject, None, ending, &mut ended).await,
                Revoke::AllBut(spared) => {
                    let spared = Some(&spared);
                    self.end_all_but(subject, spared, ending, &mut ended).await
                }
                Revoke::One(digest) => {
                    let one = self.end(&digest, Some(subject), ending).await;
                    one.map(|one| ended.extend(one))
                }
            };
            match done {
                Ok(()) => Ok(ended),
                Err(error) => Err(Revoke::cut_short(error, ended.len())),
            }
        })
    }
}

/// The bound behind a digest; no bytes are before every digest.
fn behind(digest: Option<&KeyDigest>) -> Arg<'_> {
    digest.map_or(Arg::Bytes(Some(&[])), Arg::from)
}

impl<DB: Driver> TableStore<DB> {
    async fn end_all_but(
        &self,
        subject: &SubjectDigest,
        spared: Option<&KeyDigest>,
        ending: Option<&Ending>,
        ended: &mut Vec<KeyDigest>,
    ) -> Result<(), Error> {
        let [subject_arg, spared, limit] = [
            Some(subject).into(),
            Arg::bytes(spared.map(KeyDigest::as_bytes)),
            count_arg(REVOKE_STEP_MAX),
        ];
        for _ in 0..REVOKE_PASSES {
            if DB::DIALECT.delete_returning {
                let mut after = None;
                loop {
                    let (statements, left) = self.ending(ending);
                    let own = [subject_arg, spared, behind(after.as_ref()), limit];
                    let args = [&own, &left[..]].concat();
                    let rows = self.pool.write_returning(&statements.others, &args).await?;
                    let step = digests(&rows)?;
                    ended.extend(&step);
                    after = step.iter().max().copied();
                    if step.len() < REVOKE_STEP_MAX {
                        break;
                    }
                }
            }
            // What is left has moved meanwhile, or this database cannot say what a DELETE
            // removes.
            let mut after = None;
            loop {
                let args = [subject_arg, spared, behind(after.as_ref()), limit];
                let others = self.others(&args).await?;
                let Some(first) = others.first() else { break };
                let marks = usize::try_from(first.int(1)?).unwrap_or(usize::MAX);
                if marks > ROTATION_HOPS_MAX {
                    return Err(self.pool.target.unavailable(format!(
                        "the session to be spared has moved more than ROTATION_HOPS_MAX = \
                         {ROTATION_HOPS_MAX} times while its rotation marks stand; try again \
                         when they have expired"
                    )));
                }
                let step = digests(&others)?;
                if DB::DIALECT.delete_returning {
                    for digest in &step {
                        ended.extend(self.end(digest, Some(subject), ending).await?);
                    }
                } else {
                    ended.extend(self.end_each(subject, &step, ending).await?);
                }
                after = step.last().copied();
                if step.len() < REVOKE_STEP_MAX {
                    break;
                }
            }
            // A statement that waits for a rotation sees neither of its rows, so a read
            // from the beginning that finds no session is the end. The spared session is
            // resolved by that same read, and cannot move away in between.
            if after.is_none() {
                return Ok(());
            }
        }
        Err(self.pool.target.unavailable(
            "sessions of the subject began or moved each time that they were to be ended, and \
             some may still be open; try again",
        ))
    }

    /// Sessions that are left to end. The read steps over what was ended just now, which may
    /// take longer than a statement has; but the database remembers what it has found to be
    /// gone, so another try comes further.
    async fn others(&self, args: &[Arg<'_>]) -> Result<Vec<Row<DB>>, StatementError> {
        let mut tries = 1;
        loop {
            match self.pool.read(&self.statements.others, args).await {
                Err(failed) if failed.cause == Cause::TimeLimit && tries < OTHERS_TRIES => {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Ends the subject's sessions at these digests, in one statement, and answers where
    /// none stands any more. One that has moved stands where it is now.
    async fn end_each(
        &self,
        subject: &SubjectDigest,
        digests: &[KeyDigest],
        ending: Option<&Ending>,
    ) -> Result<Vec<KeyDigest>, Error> {
        let (statements, left) = self.ending(ending);
        // The statement has as many placeholders as a step has digests at most.
        let each = digests.iter().chain(digests.last().into_iter().cycle());
        let each = each.take(REVOKE_STEP_MAX).map(Arg::from);
        let args: Vec<_> = each.collect();
        let own = [&[Some(subject).into()], &args[..], &left[..]].concat();
        let ended = self.pool.write(&statements.each, &own).await?;
        if usize::try_from(ended).is_ok_and(|ended| ended == digests.len()) {
            return Ok(digests.to_vec());
        }
        let standing = self.pool.read(&self.statements.standing, &args).await?;
        let standing = BTreeSet::from_iter(self::digests(&standing)?);
        let gone = digests.iter().filter(|digest| !standing.contains(*digest));
        Ok(gone.copied().collect())
    }
}

fn digests<DB: Driver>(rows: &[Row<DB>]) -> Result<Vec<KeyDigest>, Error> {
    rows.iter().map(|row| row.digest(0)).collect()
}
