//! The sessions of a subject: listed and ended.

use cloakroom_core::Error;
use cloakroom_core::store::{
    BoxFuture, KeyDigest, Listed, ROTATION_HOPS_MAX, Revoke, Stored, SubjectDigest, Subjects,
};

use crate::driver::Driver;
use crate::statement::Arg;
use crate::store::TableStore;

/// How often a revocation looks for sessions that it has missed.
const REVOKE_PASSES: usize = 16;

impl<DB: Driver> Subjects for TableStore<DB> {
    fn sessions_of<'a>(
        &'a self,
        subject: &'a SubjectDigest,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let args = [Some(subject).into()];
            let rows = self.pool.read(&self.statements.sessions, &args).await?;
            let mut listed = Vec::new();
            for row in &rows {
                let digest = row.digest(0)?;
                if let Ok(Stored::Record(record)) = row.stored_in_list(false)? {
                    listed.push(Listed::new(digest, record));
                }
            }
            Ok(listed)
        })
    }

    fn revoke<'a>(
        &'a self,
        subject: &'a SubjectDigest,
        which: Revoke,
    ) -> BoxFuture<'a, Result<Vec<KeyDigest>, Error>> {
        Box::pin(async move {
            match which {
                Revoke::All => self.end_all_but(subject, None).await,
                Revoke::AllBut(spared) => self.end_all_but(subject, Some(&spared)).await,
                Revoke::One(digest) => {
                    let ended = self.end(&digest, Some(subject)).await?;
                    Ok(ended.into_iter().collect())
                }
            }
        })
    }
}

impl<DB: Driver> TableStore<DB> {
    async fn end_all_but(
        &self,
        subject: &SubjectDigest,
        spared: Option<&KeyDigest>,
    ) -> Result<Vec<KeyDigest>, Error> {
        let args = [
            Some(subject).into(),
            Arg::bytes(spared.map(KeyDigest::as_bytes)),
        ];
        let mut ended = Vec::new();
        if DB::DIALECT.delete_returning {
            let revoke = &self.statements.revoke;
            for row in self.pool.write_returning(revoke, &args).await? {
                ended.push(row.digest(0)?);
            }
        }
        // A statement that waits for a rotation sees neither of its rows, so a read that
        // finds no session is the end. The spared session is resolved by that same read,
        // and cannot move away in between.
        for _ in 0..REVOKE_PASSES {
            let others = self.pool.read(&self.statements.others, &args).await?;
            let Some(first) = others.first() else {
                return Ok(ended);
            };
            let marks = usize::try_from(first.int(1)?).unwrap_or(usize::MAX);
            if marks > ROTATION_HOPS_MAX {
                return Err(self.pool.target.unavailable(format!(
                    "the session to be spared has moved more than ROTATION_HOPS_MAX = \
                     {ROTATION_HOPS_MAX} times while its rotation marks stand; try again when \
                     they have expired"
                )));
            }
            for row in &others {
                ended.extend(self.end(&row.digest(0)?, Some(subject)).await?);
            }
        }
        Err(self.pool.target.unavailable(
            "sessions of the subject began or moved each time that they were to be ended, and \
             some may still be open; try again",
        ))
    }
}
