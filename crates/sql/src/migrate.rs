//! The table, made or upgraded.

use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _, SqlStr};

use crate::dialect::{Dialect, Text};
use crate::failure::unavailable;
use crate::store::Store;

/// How long it may take to make the tables, others who do it included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What keeps others away while the tables are made.
pub(crate) struct Lock {
    /// One row, whose first column is 1 where the table of versions is there.
    pub(crate) has_schema: String,
    /// Waits for the lock, in a transaction or over it. One row, whose first column is
    /// 1 where it was taken.
    pub(crate) take: Option<String>,
    pub(crate) give: Option<String>,
}

fn text(sql: &str) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

impl<DB: Dialect> Store<DB> {
    pub(crate) async fn migrate(&self) -> Result<(), Error> {
        let lock = DB::lock(&self.table);
        let quote = DB::WORDS.quote;
        let versions = self.table.with_suffix(quote, "_schema");
        let version = Text::new(&format!("SELECT max(version) FROM {versions}"), true);
        let has_schema = Text::new(&lock.has_schema, true);
        let present = async |conn: &mut DB::Connection| -> Result<i64, sqlx::Error> {
            let rows = DB::rows(conn, &has_schema, &[]).await?;
            let is_there = rows
                .first()
                .map(|row| DB::int(row, 0))
                .transpose()?
                .flatten();
            if is_there != Some(1) {
                return Ok(0);
            }
            let rows = DB::rows(conn, &version, &[]).await?;
            let version = rows.first().map(|row| DB::int(row, 0)).transpose()?;
            Ok(version.flatten().unwrap_or(0))
        };
        let known = DB::MIGRATIONS.len();
        // Without the lock first: nothing to do is what most calls find, and it asks
        // for no right to make tables.
        let found = self.link.once(async |conn| present(conn).await).await?;
        let found = usize::try_from(found).unwrap_or(0);
        if found > known {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the table is of schema {found}, this build knows up to {known}"),
            )
            .in_store(DB::STORE));
        }
        if found == known {
            return Ok(());
        }
        let make = async |conn: &mut DB::Connection| -> Result<bool, sqlx::Error> {
            let mut tx = conn.begin_with(SqlStr::from_static(DB::BEGIN)).await?;
            if let Some(bounds) = &self.link.bounds {
                DB::script(&mut tx, bounds.lift.clone()).await?;
            }
            if let Some(take) = &lock.take {
                let rows = DB::rows(&mut tx, &Text::new(take, true), &[]).await?;
                let taken = rows.first().map(|row| DB::int(row, 0)).transpose()?;
                if taken.flatten() != Some(1) {
                    return tx.rollback().await.map(|()| false);
                }
            }
            let found = usize::try_from(present(&mut tx).await?).unwrap_or(0);
            for published in DB::MIGRATIONS.iter().skip(found) {
                DB::script(&mut tx, text(&self.table.fill(published, quote))).await?;
            }
            tx.commit().await.map(|()| true)
        };
        let made = self.link.once_within(PATIENCE, async |conn| {
            let made = make(conn).await;
            if let Some(give) = &lock.give {
                DB::rows(conn, &Text::new(give, true), &[]).await?;
            }
            if let Some(bounds) = &self.link.bounds {
                DB::script(conn, bounds.set.clone()).await?;
            }
            made
        });
        if made.await? {
            return Ok(());
        }
        Err(unavailable::<DB>(
            "somebody else has been making the tables all the while",
        ))
    }
}
