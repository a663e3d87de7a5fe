//! Every statement over the table, written once.

use cloakroom_core::Timestamp;
use cloakroom_core::store::{EndReason, FRAME_BYTES_CEILING, TOMBSTONE_AGE_MAX};

/// The version of a row that this build writes.
pub(crate) const FORMAT: i64 = 1;

/// The columns that are read of a row, before its data.
const HEADER: &str = "digest, format, moved_to, revision, created_at, last_seen_at, expires_at, \
                      absolute_deadline, expiry, site, subject, label, flushes, ended, login";

/// The columns that a write to a record replaces, in the order of their arguments.
const COLUMNS: &str = "revision, created_at, last_seen_at, expires_at, absolute_deadline, \
                       expiry, site, subject, subject_digest, label, flushes, login, data";

/// What neither a rotation mark nor a tombstone keeps of a record.
const BLANK: &str = "revision = 0, created_at = 0, absolute_deadline = NULL, expiry = NULL, \
                     site = NULL, subject = NULL, subject_digest = NULL, flushes = 0, \
                     login = NULL";

#[derive(Debug)]
pub(crate) struct Statements {
    /// The row at ?1.
    pub(crate) load: String,
    /// ?1 digest, ?2 to ?14 the columns. Writes nothing where anything stands there.
    pub(crate) create: String,
    /// ?1 digest, ?2 where the session has moved to, ?3 until when the mark stands. Writes
    /// nothing where anything stands there.
    pub(crate) create_mark: String,
    /// ?1 digest, ?2 revision, ?3 to ?15 the columns.
    pub(crate) update: String,
    /// ?1 digest, ?2 revision, ?3 last use, ?4 deadline. Writes nothing where neither
    /// instant would move.
    pub(crate) touch: String,
    /// ?1 old digest, ?2 revision, ?3 new digest, ?4 until when the mark stands. Writes
    /// nothing where anything stands at the new digest.
    pub(crate) mark: String,
    /// Format, rotation mark, revision and why it ended at ?1.
    pub(crate) revision: String,
    /// The statements that end sessions and leave nothing.
    pub(crate) remove: EndStatements,
    /// Those that leave tombstones. Behind their other arguments they take why, when, until
    /// when that is remembered, and the note.
    pub(crate) remember: EndStatements,
    /// ?1 digest, ?2 why, ?3 when, ?4 until when that is remembered, ?5 the note, ?6 the
    /// digest of the subject or no bytes. Writes nothing where anything stands there.
    pub(crate) create_tombstone: String,
    /// The rows of the subject ?1 behind ?2.
    pub(crate) sessions: String,
    /// All rows behind ?1.
    pub(crate) scan: String,
    /// Of the first ?2 rows whose deadline is at ?1 or before, turns the records and rotation
    /// marks into tombstones whose deadline is behind ?3.
    pub(crate) sweep_remember: String,
    /// Removes the first ?2 rows whose deadline is at ?1 or before.
    pub(crate) sweep_remove: String,
}

/// Statements that end sessions.
#[derive(Debug)]
pub(crate) struct EndStatements {
    /// Ends what stands at ?1 and is no rotation mark, if its subject is ?2 or ?2 is NULL.
    pub(crate) one: String,
    /// Ends ?3 records of the subject ?1, but not the one at ?2, and answers their digests.
    pub(crate) of_subject: String,
}

impl EndStatements {
    /// From how a statement begins that ends the rows at some digests, whose own arguments
    /// are the first two or three.
    fn new(t: &str, one: &str, of_subject: &str) -> Self {
        Self {
            one: format!(
                "{one} digest = ?1 AND moved_to IS NULL AND (?2 IS NULL OR subject_digest = ?2)"
            ),
            of_subject: format!(
                "{of_subject} digest IN (SELECT digest FROM {t} WHERE subject_digest = ?1 \
                 AND digest <> ?2 ORDER BY digest LIMIT ?3) RETURNING digest"
            ),
        }
    }

    fn removing(t: &str) -> Self {
        let delete = format!("DELETE FROM {t} WHERE");
        Self::new(t, &delete, &delete)
    }

    fn remembering(t: &str) -> Self {
        // A record that cannot be read is ended too, and its tombstone can be read.
        let end = |first: usize| {
            let [because, at, until, note] = [first, first + 1, first + 2, first + 3];
            format!(
                "UPDATE {t} SET format = {FORMAT}, ended = ?{because}, last_seen_at = ?{at}, \
                 expires_at = ?{until}, label = ?{note}, data = coalesce(subject_digest, x''), \
                 {BLANK} WHERE ended IS NULL AND"
            )
        };
        Self::new(t, &end(3), &end(4))
    }
}

/// Turns what is due into what [`Stored::swept`](cloakroom_core::store::Stored::swept) says.
fn sweep_remember(t: &str) -> String {
    let [rotated, absolute, idle] = [EndReason::Rotated, EndReason::Absolute, EndReason::Idle];
    let age = TOMBSTONE_AGE_MAX.as_millis();
    let last = u128::from(Timestamp::MAX.as_millis()) - age;
    // What a row of another format was, nobody knows. The plus keeps SQLite from looking for
    // all that are due by the index on the deadline.
    format!(
        "UPDATE {t} SET ended = CAST(CASE WHEN moved_to IS NOT NULL THEN '{rotated}' \
         WHEN absolute_deadline <= expires_at THEN '{absolute}' ELSE '{idle}' END AS BLOB), \
         moved_to = NULL, last_seen_at = expires_at, expires_at = min(expires_at, {last}) + {age}, \
         label = NULL, data = coalesce(subject_digest, x''), {BLANK} \
         WHERE digest IN (SELECT digest FROM {t} WHERE expires_at <= ?1 ORDER BY expires_at \
         LIMIT ?2) AND ended IS NULL AND format = {FORMAT} AND +expires_at > ?3 \
         AND (moved_to IS NULL OR +expires_at > 0)"
    )
}

impl Statements {
    /// Of a table whose name needs no more than its quotes.
    pub(crate) fn new(table: &str) -> Self {
        let t = format!("\"{table}\"");
        // A rotation mark, a tombstone, and a row of another format are no record to write to.
        let at_revision = format!(
            "digest = ?1 AND revision = ?2 AND moved_to IS NULL AND ended IS NULL \
             AND format = {FORMAT}"
        );
        let values = COLUMNS.split(", ").zip(2..);
        let values: Vec<_> = values.map(|(_, at)| format!("?{at}")).collect();
        let assignments = COLUMNS.split(", ").zip(3..);
        let assignments: Vec<_> = assignments
            .map(|(name, at)| format!("{name} = ?{at}"))
            .collect();
        // What a row holds is not bounded by the database. The length is read without the
        // bytes, so that one that is too long never comes into memory.
        let data = format!("CASE WHEN length(data) <= {FRAME_BYTES_CEILING} THEN data END AS data");
        Self {
            load: format!("SELECT {HEADER}, {data} FROM {t} WHERE digest = ?1"),
            create: format!(
                "INSERT INTO {t} (digest, format, {COLUMNS}) VALUES (?1, {FORMAT}, {}) \
                 ON CONFLICT (digest) DO NOTHING",
                values.join(", ")
            ),
            create_mark: format!(
                "INSERT INTO {t} (digest, format, moved_to, expires_at, revision, created_at, \
                 last_seen_at, data) VALUES (?1, {FORMAT}, ?2, ?3, 0, 0, 0, x'') \
                 ON CONFLICT (digest) DO NOTHING"
            ),
            update: format!(
                "UPDATE {t} SET {} WHERE {at_revision}",
                assignments.join(", ")
            ),
            touch: format!(
                "UPDATE {t} SET last_seen_at = max(last_seen_at, ?3), \
                 expires_at = max(expires_at, ?4) \
                 WHERE {at_revision} AND (last_seen_at < ?3 OR expires_at < ?4)"
            ),
            mark: format!(
                "UPDATE {t} SET moved_to = ?3, expires_at = ?4, last_seen_at = 0, label = NULL, \
                 data = x'', {BLANK} \
                 WHERE {at_revision} AND NOT EXISTS (SELECT 1 FROM {t} WHERE digest = ?3)"
            ),
            revision: format!(
                "SELECT format, moved_to, revision, ended FROM {t} WHERE digest = ?1"
            ),
            remove: EndStatements::removing(&t),
            remember: EndStatements::remembering(&t),
            create_tombstone: format!(
                "INSERT INTO {t} (digest, format, ended, last_seen_at, expires_at, label, data, \
                 revision, created_at) VALUES (?1, {FORMAT}, ?2, ?3, ?4, ?5, ?6, 0, 0) \
                 ON CONFLICT (digest) DO NOTHING"
            ),
            sessions: format!(
                "SELECT {HEADER} FROM {t} WHERE subject_digest = ?1 AND digest > ?2 \
                 ORDER BY digest"
            ),
            scan: format!("SELECT {HEADER}, {data} FROM {t} WHERE digest > ?1 ORDER BY digest"),
            sweep_remember: sweep_remember(&t),
            sweep_remove: format!(
                "DELETE FROM {t} WHERE digest IN (SELECT digest FROM {t} WHERE expires_at <= ?1 \
                 ORDER BY expires_at LIMIT ?2)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use rusqlite::Connection;
    use rusqlite::types::Null;

    use super::*;
    use crate::builder::TABLE_DEFAULT;

    /// What a row holds is not bounded by the database: a reader that asks for all of it
    /// takes it into memory before it can refuse it.
    #[test]
    fn no_more_of_a_row_is_read_than_a_record_may_have() {
        let statements = Statements::new(TABLE_DEFAULT);
        let bounded = format!("CASE WHEN length(data) <= {FRAME_BYTES_CEILING} THEN data END");
        for sql in [&statements.load, &statements.scan] {
            assert!(sql.contains(&bounded), "{sql}");
            let elsewhere = sql.replace(&format!("{bounded} AS data"), "");
            assert!(!elsewhere.contains("data"), "{sql}");
        }
    }

    #[test]
    fn no_statement_reads_the_whole_table() {
        let conn = Connection::open_in_memory().unwrap();
        let published = include_str!("../migrations/0001_sessions.sql");
        conn.execute_batch(published).unwrap();
        let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
                    WHERE n < 20000) INSERT INTO cloakroom_sessions SELECT randomblob(32), 1, \
                    NULL, NULL, 1, 0, 0, n * 1000, NULL, NULL, NULL, \
                    CAST('user ' || (n % 5000) AS BLOB), \
                    CAST(substr('user ' || (n % 5000) || hex(zeroblob(32)), 1, 32) AS BLOB), \
                    NULL, 0, NULL, x'00' FROM n; ANALYZE";
        conn.execute_batch(fill).unwrap();
        let statements = Statements::new(TABLE_DEFAULT);
        let (due, mine, key) = ("expires_at (", "subject (", "sqlite_autoindex");
        for (sql, index) in [
            (&statements.load, key),
            (&statements.create, ""),
            (&statements.create_mark, ""),
            (&statements.update, key),
            (&statements.touch, key),
            (&statements.mark, key),
            (&statements.revision, key),
            (&statements.remove.one, key),
            (&statements.remove.of_subject, mine),
            (&statements.remember.one, key),
            (&statements.remember.of_subject, mine),
            (&statements.create_tombstone, ""),
            (&statements.sessions, mine),
            (&statements.scan, key),
            (&statements.sweep_remember, due),
            (&statements.sweep_remove, due),
        ] {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = std::iter::repeat_n(Null, plan.parameter_count());
            let nulls = rusqlite::params_from_iter(nulls);
            let rows = plan.query_map(nulls, |row| row.get::<_, String>("detail"));
            let plan: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{sql}:\n{plan}");
            assert!(!plan.contains("SCAN cloakroom"), "{sql}:\n{plan}");
            // A sweep looks once for what is due.
            assert!(plan.matches(due).count() <= 1, "{sql}:\n{plan}");
            // A page is read as far as it goes, and no further.
            assert!(!plan.contains("TEMP B-TREE"), "{sql}:\n{plan}");
        }
    }
}
