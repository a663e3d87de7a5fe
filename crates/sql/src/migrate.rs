//! The tables, made or upgraded.

use std::time::Duration;

use cloakroom_core::{Error, ErrorKind};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _, SqlStr};

use crate::driver::Driver;
use crate::error::{Cause, Target};
use crate::pool::{ConnectionPool, ROLLED_BACK_TRIES};
use crate::statements::COLUMNS;
use crate::table::TableName;

/// How long a migration may take, including the wait for other processes that migrate.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The first number that a statement without arguments answers.
async fn number<DB: Driver>(
    conn: &mut DB::Connection,
    statement: &SqlStr,
) -> Result<Option<i64>, sqlx::Error> {
    let rows = DB::script_rows(conn, statement.clone()).await?;
    let number = rows.first().map(|row| DB::int(row, 0)).transpose()?;
    Ok(number.flatten())
}

pub(crate) async fn migrate<DB: Driver>(
    pool: &ConnectionPool<DB>,
    table: &TableName,
) -> Result<(), Error> {
    make(pool, table).await?;
    // The table may be older than the first release, or somebody's own.
    let columns = AssertSqlSafe(format!(
        "SELECT digest, format, moved_to, ended, {COLUMNS} FROM {} LIMIT 0",
        table.quoted(DB::DIALECT.quote)
    ))
    .into_sql_str();
    // A script, since whoever is behind a pooler is not to prepare a statement here.
    let read = async |conn: &mut DB::Connection| DB::script_rows(conn, columns.clone()).await;
    match pool
        .once(pool.timeouts.statement, async |conn| read(conn).await)
        .await
    {
        Err(failed) if failed.cause == Cause::NoTable => {
            let said = std::error::Error::source(&failed.error).map(ToString::to_string);
            let Target { table, address, .. } = &pool.target;
            Err(pool.target.error(
                ErrorKind::Misconfigured,
                format!(
                    "the table {table} of {address} is not as this build makes it: {}; a build \
                     before the first release has made it: drop it and the table of that name \
                     and _schema, which ends all sessions, and call migrate() again",
                    said.unwrap_or_default()
                ),
            ))
        }
        read => Ok(read.map(drop)?),
    }
}

async fn make<DB: Driver>(pool: &ConnectionPool<DB>, table: &TableName) -> Result<(), Error> {
    let statement = |sql: &str| AssertSqlSafe(sql.to_owned()).into_sql_str();
    let quote = DB::DIALECT.quote;
    let versions = table.with_suffix(quote, "_schema");
    let lock = DB::migration_lock(table);
    let has_versions = statement(&lock.has_versions);
    let newest = statement(&format!("SELECT max(version) FROM {versions}"));
    let take = statement(&lock.take);
    let release = lock.release.as_deref().map(statement);
    let version = async |conn: &mut DB::Connection| -> Result<usize, sqlx::Error> {
        if number::<DB>(conn, &has_versions).await? != Some(1) {
            return Ok(0);
        }
        let newest = number::<DB>(conn, &newest).await?.unwrap_or(0);
        Ok(usize::try_from(newest).unwrap_or(0))
    };
    let known = DB::MIGRATIONS.len();
    // Without the lock first. Most calls find nothing to do, and reading the version
    // needs no right to make tables.
    let found = pool.once(pool.timeouts.statement, async |conn| version(conn).await);
    let found = found.await?;
    if found > known {
        return Err(pool.target.error(
            ErrorKind::Unsupported,
            format!(
                "the table {} of {} is of schema {found}, and this build knows schemas up to \
                 {known}: run a newer build",
                pool.target.table, pool.target.address
            ),
        ));
    }
    if found == known {
        return Ok(());
    }
    let make_tables = async |conn: &mut DB::Connection| -> Result<bool, sqlx::Error> {
        let mut tx = conn
            .begin_with(SqlStr::from_static(DB::DIALECT.begin))
            .await?;
        if let Some(limit) = &pool.time_limit {
            DB::execute_script(&mut tx, limit.lift.clone()).await?;
        }
        if number::<DB>(&mut tx, &take).await? != Some(1) {
            return tx.rollback().await.map(|()| false);
        }
        let found = version(&mut tx).await?;
        for published in DB::MIGRATIONS.iter().skip(found) {
            let sql = AssertSqlSafe(table.fill(published, quote)).into_sql_str();
            DB::execute_script(&mut tx, sql).await?;
        }
        tx.commit().await.map(|()| true)
    };
    let made_once = async |conn: &mut DB::Connection| {
        let made = make_tables(conn).await;
        if let Some(release) = &release {
            DB::script_rows(conn, release.clone()).await?;
        }
        if let Some(set) = pool.time_limit.as_ref().and_then(|limit| limit.set.clone()) {
            DB::execute_script(conn, set).await?;
        }
        made
    };
    let mut tries = 1;
    let made = loop {
        match pool.once(TIMEOUT, async |conn| made_once(conn).await).await {
            Err(failed) if failed.cause == Cause::RolledBack && tries < ROLLED_BACK_TRIES => {
                tries += 1;
            }
            made => break made?,
        }
    };
    match made {
        true => Ok(()),
        false => Err(pool.target.unavailable(format!(
            "another process keeps the lock for making the table {} of {}; try again when it \
             has ended",
            pool.target.table, pool.target.address
        ))),
    }
}
