//! Every statement of a store, built once.

use cloakroom_core::store::{FRAME_BYTES_CEILING, ROTATION_HOPS_MAX};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::dialect::{Dialect, Rotation};
use crate::endings::{EndStatements, Others};
use crate::statement::Statement;
use crate::table::{NAME_BYTES_MAX, TableName};

/// Sessions that a revocation ends in one statement.
pub(crate) const REVOKE_STEP_MAX: usize = 256;

/// The version of a row that this build writes.
pub(crate) const FORMAT: i64 = 1;

/// The columns that a write to a record replaces, in the order of their arguments.
pub(crate) const COLUMNS: &str = "revision, created_at, last_seen_at, expires_at, absolute_deadline, \
                       expiry, site, subject, subject_digest, label, flushes, login, data";

/// What neither a rotation mark nor a tombstone keeps of a record.
pub(crate) const BLANK: &str = "revision = 0, created_at = 0, absolute_deadline = NULL, \
                                expiry = NULL, site = NULL, subject = NULL, \
                                subject_digest = NULL, flushes = 0, \
                                login = NULL";

/// [`Revision::LAST`](cloakroom_core::store::Revision::LAST) as a signed integer.
pub(crate) const REVISION_LAST: i64 = -1;

// The names that a statement gives to its own parts. They are longer than a table's
// name may be, so that no table is called so.
const PATH: &str = "the_path_of_a_session_along_rotation_marks";
const MARKED: &str = "the_record_that_became_a_rotation_mark";
const CREATED: &str = "the_record_that_was_created_in_its_place";
pub(crate) const WRITTEN: &str = "the_rows_that_were_written_or_removed";
pub(crate) const DUE: &str = "the_rows_that_are_due_for_the_sweep";
pub(crate) const REMEMBERED: &str = "the_rows_that_have_become_tombstones";
const _: () = {
    let names = [PATH, MARKED, CREATED, WRITTEN, DUE, REMEMBERED];
    let mut at = 0;
    while at < names.len() {
        assert!(names[at].len() > NAME_BYTES_MAX);
        at += 1;
    }
};

/// The statements over one table.
pub(crate) struct Statements {
    /// The row at $1.
    pub(crate) load: Statement,
    /// $1 digest, $2 to $14 the columns.
    pub(crate) create: Statement,
    /// $1 digest, $2 where the session has moved to, $3 until when the mark stands.
    pub(crate) create_mark: Statement,
    /// $1 digest, $2 revision, $3 to $15 the columns.
    pub(crate) update: Statement,
    /// $1 digest, $2 revision, $3 last use, $4 deadline. Writes nothing where neither
    /// instant would move.
    pub(crate) touch: Statement,
    /// $1 old digest, $2 revision, $3 new digest, $4 until when the mark stands, $5 to
    /// $17 the columns.
    pub(crate) rotate: RotateStatements,
    /// $1 digest, $2 why, $3 when, $4 until when that is remembered, $5 the note, $6 the
    /// digest of the subject or no bytes.
    pub(crate) create_tombstone: Statement,
    /// Format, rotation mark, revision and why it ended at $1.
    pub(crate) revision: Statement,
    /// Those that end sessions and leave nothing.
    pub(crate) remove: EndStatements,
    /// Those that leave tombstones.
    pub(crate) remember: EndStatements,
    /// The rows from $1 on, along rotation marks: `moved_to`, `subject_digest` and `ended`.
    pub(crate) resolve: Statement,
    /// The $3 rows of the subject $1 behind $2.
    pub(crate) sessions: Statement,
    /// The first $4 digests of the subject $1 behind $3, without the session that $2
    /// leads to; beside each how many marks lead there. Where that is over
    /// ROTATION_HOPS_MAX, the session may be among the digests.
    pub(crate) others: Statement,
    /// Those of the digests $1 and so on, REVOKE_STEP_MAX of them, where a record or a
    /// rotation mark stands.
    pub(crate) standing: Statement,
    /// Sweeps rows; see [`Dialect::sweep`].
    pub(crate) sweep: Statement,
    /// See [`Dialect::sweep_rest`].
    pub(crate) sweep_rest: Option<SweepRest>,
    /// The milliseconds since the epoch by the clock of the server.
    pub(crate) own_time: Statement,
    /// Digest and bytes of data of the $2 rows behind $1.
    pub(crate) scan_sizes: Statement,
    /// The $3 rows behind $1, up to $2.
    pub(crate) scan: Statement,
}

/// What a sweep needs where one statement cannot do it.
pub(crate) struct SweepRest {
    /// The deadline of one of the rows whose deadline is at $1 or before: so many, $2, are
    /// before it.
    pub(crate) deadline: Statement,
    pub(crate) remove: Statement,
}

/// The statements of a rotation, which all take the same arguments.
pub(crate) enum RotateStatements {
    One(Statement),
    Script(Script),
}

/// A rotation as a script. It runs to its end although the client hangs up.
pub(crate) struct Script {
    /// Puts the arguments into variables of the connection.
    pub(crate) set_variables: Statement,
    /// Writes two rows, or none.
    pub(crate) transaction: SqlStr,
    /// To be sent where the transaction ended half way.
    pub(crate) rollback: SqlStr,
}

/// So many placeholders, the first of which is `$from`.
pub(crate) fn placeholders(from: usize, count: usize) -> String {
    let each: Vec<_> = (from..from + count).map(|at| format!("${at}")).collect();
    each.join(", ")
}

/// The placeholders of the columns, the first of which is `$from`.
fn column_placeholders(from: usize) -> String {
    placeholders(from, COLUMNS.split(", ").count())
}

impl Statements {
    /// The statements of a dialect, and the channel that ends and moves notify, and updates.
    pub(crate) fn new(
        dialect: &Dialect,
        table: &TableName,
        ends: Option<&str>,
        updates: Option<&str>,
    ) -> Self {
        let t = table.quoted(dialect.quote);
        let Dialect { bigint, .. } = dialect;
        let statement = |sql: &str| dialect.statement(sql);
        let notifying = |sql: &str| match updates {
            None => statement(sql),
            Some(_) => statement(&returning("", sql, updates, "' || revision || '")),
        };
        let header = format!(
            "digest, format{bigint}, moved_to, revision, created_at, last_seen_at, expires_at, \
             absolute_deadline, expiry, site, subject, label, flushes, ended, login"
        );
        // A rotation mark, a tombstone, and a row of another format are no record to write to.
        let at_revision = format!(
            "digest = $1 AND revision = $2 AND moved_to IS NULL AND ended IS NULL \
             AND format = {FORMAT}"
        );
        let columns = COLUMNS.split(", ").zip(3..);
        let assignments: Vec<_> = columns
            .map(|(name, at)| format!("{name} = ${at}"))
            .collect();
        let path_from = |start: &str| {
            format!(
                "WITH RECURSIVE {PATH} (digest, moved_to, subject_digest, ended, hop) AS (\
                 SELECT digest, moved_to, subject_digest, ended, 0 FROM {t} WHERE digest = {start} \
                 UNION ALL SELECT t.digest, t.moved_to, t.subject_digest, t.ended, hop + 1 \
                 FROM {PATH} p JOIN {t} t ON t.digest = p.moved_to WHERE hop < {ROTATION_HOPS_MAX})"
            )
        };
        let path_of_spared = path_from("$2");
        let first_others = format!(
            "subject_digest = $1 AND digest NOT IN (SELECT digest FROM {PATH}) \
             AND digest > $3 ORDER BY digest LIMIT $4"
        );
        let marks = format!("(SELECT count(moved_to) FROM {PATH})");
        let ended = Others {
            path: &path_of_spared,
            which: &first_others,
            is_sound: &format!("{marks} <= {ROTATION_HOPS_MAX}"),
        };
        // Whatever a row holds, no more comes here than shows that it is too long.
        let data = format!("substr(data, 1, {}) AS data", FRAME_BYTES_CEILING + 1);
        Self {
            load: statement(&format!(
                "SELECT {header}, {data} FROM {t} WHERE digest = $1"
            )),
            create: statement(&format!(
                "INSERT INTO {t} (digest, format, {COLUMNS}) VALUES ($1, {FORMAT}, {})",
                column_placeholders(2)
            )),
            create_mark: statement(&format!(
                "INSERT INTO {t} (digest, format, moved_to, expires_at, revision, created_at, \
                 last_seen_at, data) VALUES ($1, {FORMAT}, $2, $3, 0, 0, 0, '')"
            )),
            update: notifying(&format!(
                "UPDATE {t} SET {} WHERE {at_revision}",
                assignments.join(", ")
            )),
            touch: statement(&format!(
                "UPDATE {t} SET last_seen_at = greatest(last_seen_at, $3), \
                 expires_at = greatest(expires_at, $4) \
                 WHERE {at_revision} AND (last_seen_at < $3 OR expires_at < $4)"
            )),
            rotate: RotateStatements::new(dialect, &t, &at_revision, ends),
            create_tombstone: statement(&format!(
                "INSERT INTO {t} (digest, format, ended, last_seen_at, expires_at, label, data, \
                 revision, created_at) VALUES ($1, {FORMAT}, $2, $3, $4, $5, $6, 0, 0)"
            )),
            revision: statement(&format!(
                "SELECT format{bigint}, moved_to, revision, ended FROM {t} WHERE digest = $1"
            )),
            remove: EndStatements::removing(dialect, &t, &ended, ends),
            remember: EndStatements::remembering(dialect, &t, &ended, ends),
            resolve: statement(&format!(
                "{} SELECT moved_to, subject_digest, ended FROM {PATH} ORDER BY hop",
                path_from("$1")
            )),
            sessions: statement(&format!(
                "SELECT {header} FROM {t} WHERE subject_digest = $1 AND digest > $2 \
                 ORDER BY digest LIMIT $3"
            )),
            others: statement(&format!(
                "{path_of_spared} SELECT digest, {marks} FROM {t} WHERE {first_others}"
            )),
            standing: statement(&format!(
                "SELECT digest FROM {t} WHERE digest IN ({}) AND ended IS NULL",
                placeholders(1, REVOKE_STEP_MAX)
            )),
            sweep: statement(&(dialect.sweep)(&t)),
            sweep_rest: dialect.sweep_rest.map(|remove| SweepRest {
                deadline: statement(&format!(
                    "SELECT expires_at FROM {t} WHERE expires_at <= $1 ORDER BY expires_at \
                     LIMIT 1 OFFSET $2"
                )),
                remove: statement(&remove(&t)),
            }),
            own_time: statement(dialect.own_time),
            scan_sizes: statement(&format!(
                "SELECT digest, length(data){bigint} FROM {t} WHERE digest > $1 \
                 ORDER BY digest LIMIT $2"
            )),
            scan: statement(&format!(
                "SELECT {header}, {data} FROM {t} WHERE digest > $1 AND digest <= $2 \
                 ORDER BY digest LIMIT $3"
            )),
        }
    }
}

impl RotateStatements {
    fn new(dialect: &Dialect, t: &str, at_revision: &str, channel: Option<&str>) -> Self {
        let statement = |sql: &str| dialect.statement(sql);
        let mark = format!(
            "UPDATE {t} SET moved_to = $3, expires_at = $4, last_seen_at = 0, label = NULL, \
             data = '', {BLANK} WHERE {at_revision}"
        );
        let create = format!(
            "INSERT INTO {t} (digest, format, {COLUMNS}) SELECT $3, {FORMAT}, {}",
            column_placeholders(5)
        );
        match dialect.rotation {
            Rotation::Script => Self::Script(Script::new(
                &mark,
                &format!("{create} FROM {t} WHERE {at_revision} FOR UPDATE"),
                dialect,
            )),
            Rotation::Statement => {
                let marked = format!("WITH {MARKED} AS ({mark} RETURNING 1)");
                let create = format!("{create} FROM {MARKED}");
                Self::One(statement(&match channel {
                    None => format!("{marked} {create}"),
                    Some(channel) => format!(
                        "{marked}, {CREATED} AS ({create} RETURNING 1) SELECT \
                         pg_notify('{channel}', encode($1, 'hex') || ' {REVISION_LAST}') \
                         FROM {CREATED}"
                    ),
                }))
            }
        }
    }
}

impl Script {
    fn new(mark: &str, create: &str, dialect: &Dialect) -> Self {
        let each = |assign: &dyn Fn(usize) -> String| {
            let last = 4 + COLUMNS.split(", ").count();
            let each: Vec<_> = (1..=last).map(assign).collect();
            format!("SET {}", each.join(", "))
        };
        // A variable has the type of its last value: digests, texts, logins and data are bytes,
        // everything else is a number.
        let set = each(&|at| match at {
            1 | 3 | 10..=14 | 16 | 17 => format!("@cloakroom_{at} = CAST(${at} AS BINARY)"),
            _ => format!("@cloakroom_{at} = CAST(${at} AS SIGNED)"),
        });
        let forget = each(&|at| format!("@cloakroom_{at} = NULL"));
        // Both statements ask the same of the old row, which the first one locks. The
        // second must not ask what the first has done: ROW_COUNT() is that of the last
        // answer that could be sent, and a client that hangs up leaves the script running.
        let transaction = format!("START TRANSACTION; {create}; {mark}; COMMIT; {forget}");
        let sql = |sql: String| AssertSqlSafe(sql).into_sql_str();
        Self {
            set_variables: dialect.statement(&set),
            transaction: sql(transaction.replace('$', "@cloakroom_")),
            rollback: sql(format!("ROLLBACK; {forget}")),
        }
    }
}

/// An UPDATE or DELETE that answers the digest of each row. It notifies the channel, in
/// the same statement, of this revision, a part of an SQL text.
pub(crate) fn returning(with: &str, sql: &str, channel: Option<&str>, revision: &str) -> String {
    let Some(channel) = channel else {
        return format!("{with} {sql} RETURNING digest");
    };
    let with = match with {
        "" => "WITH".to_owned(),
        with => format!("{with},"),
    };
    format!(
        "{with} {WRITTEN} AS ({sql} RETURNING digest, revision) SELECT digest, \
         pg_notify('{channel}', encode(digest, 'hex') || ' {revision}') FROM {WRITTEN}"
    )
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use sqlx::Postgres;

    use super::*;
    use crate::driver::Driver as _;

    /// What a row holds is not bounded by the database: a reader that asks for all of it
    /// takes it into memory before it can refuse it.
    #[test]
    fn no_more_of_a_row_is_read_than_shows_that_it_is_too_long() {
        let statements = Statements::new(&Postgres::DIALECT, &TableName::default(), None, None);
        let bounded = format!("substr(data, 1, {})", FRAME_BYTES_CEILING + 1);
        for statement in [&statements.load, &statements.scan] {
            let sql = statement.sql.as_str();
            assert!(sql.contains(&bounded), "{sql}");
            let elsewhere = sql.replace(&format!("{bounded} AS data"), "");
            assert!(!elsewhere.contains("data"), "{sql}");
        }
    }
}
