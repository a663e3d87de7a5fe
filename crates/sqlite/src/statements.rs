//! Every statement over the table, written once.

use cloakroom_core::store::FRAME_BYTES_CEILING;

/// The version of a row that this build writes.
pub(crate) const FORMAT: i64 = 1;

/// The columns that are read of a row, before its data.
const HEADER: &str = "digest, format, moved_to, revision, created_at, last_seen_at, expires_at, \
                      absolute_deadline, expiry, site, subject, label, flushes";

/// The columns that a write to a record replaces, in the order of their arguments.
const COLUMNS: &str = "revision, created_at, last_seen_at, expires_at, absolute_deadline, \
                       expiry, site, subject, subject_digest, label, flushes, data";

#[derive(Debug)]
pub(crate) struct Statements {
    /// The row at ?1.
    pub(crate) load: String,
    /// ?1 digest, ?2 to ?13 the columns. Writes nothing where anything stands there.
    pub(crate) create: String,
    /// ?1 digest, ?2 where the session has moved to, ?3 until when the mark stands. Writes
    /// nothing where anything stands there.
    pub(crate) create_mark: String,
    /// ?1 digest, ?2 revision, ?3 to ?14 the columns.
    pub(crate) update: String,
    /// ?1 digest, ?2 revision, ?3 last use, ?4 deadline. Writes nothing where neither
    /// instant would move.
    pub(crate) touch: String,
    /// ?1 old digest, ?2 revision, ?3 new digest, ?4 until when the mark stands. Writes
    /// nothing where anything stands at the new digest.
    pub(crate) mark: String,
    /// Format, rotation mark and revision at ?1.
    pub(crate) revision: String,
    /// Removes the record at ?1, if its subject is ?2 or ?2 is NULL.
    pub(crate) end: String,
    /// Removes ?3 records of the subject ?1, but not the one at ?2, and answers their
    /// digests.
    pub(crate) revoke: String,
    /// The rows of the subject ?1 behind ?2.
    pub(crate) sessions: String,
    /// All rows behind ?1.
    pub(crate) scan: String,
    /// Removes ?2 rows, at most, whose deadline is at ?1 or before.
    pub(crate) sweep: String,
}

impl Statements {
    /// Of a table whose name needs no more than its quotes.
    pub(crate) fn new(table: &str) -> Self {
        let t = format!("\"{table}\"");
        // A rotation mark, and a row of another format, is no record to write to.
        let at_revision =
            format!("digest = ?1 AND revision = ?2 AND moved_to IS NULL AND format = {FORMAT}");
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
                "UPDATE {t} SET moved_to = ?3, expires_at = ?4, revision = 0, created_at = 0, \
                 last_seen_at = 0, absolute_deadline = NULL, expiry = NULL, site = NULL, \
                 subject = NULL, subject_digest = NULL, label = NULL, flushes = 0, data = x'' \
                 WHERE {at_revision} AND NOT EXISTS (SELECT 1 FROM {t} WHERE digest = ?3)"
            ),
            revision: format!("SELECT format, moved_to, revision FROM {t} WHERE digest = ?1"),
            end: format!(
                "DELETE FROM {t} WHERE digest = ?1 AND moved_to IS NULL \
                 AND (?2 IS NULL OR subject_digest = ?2)"
            ),
            revoke: format!(
                "DELETE FROM {t} WHERE digest IN (SELECT digest FROM {t} WHERE \
                 subject_digest = ?1 AND digest <> ?2 ORDER BY digest LIMIT ?3) \
                 RETURNING digest"
            ),
            sessions: format!(
                "SELECT {HEADER} FROM {t} WHERE subject_digest = ?1 AND digest > ?2 \
                 ORDER BY digest"
            ),
            scan: format!("SELECT {HEADER}, {data} FROM {t} WHERE digest > ?1 ORDER BY digest"),
            sweep: format!(
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
                    NULL, 1, 0, 0, n * 1000, NULL, NULL, NULL, \
                    CAST('user ' || (n % 5000) AS BLOB), \
                    CAST(substr('user ' || (n % 5000) || hex(zeroblob(32)), 1, 32) AS BLOB), \
                    NULL, 0, x'00' FROM n; ANALYZE";
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
            (&statements.end, key),
            (&statements.revoke, mine),
            (&statements.sessions, mine),
            (&statements.scan, key),
            (&statements.sweep, due),
        ] {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = std::iter::repeat_n(Null, plan.parameter_count());
            let nulls = rusqlite::params_from_iter(nulls);
            let rows = plan.query_map(nulls, |row| row.get::<_, String>("detail"));
            let plan: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{sql}:\n{plan}");
            assert!(!plan.contains("SCAN cloakroom"), "{sql}:\n{plan}");
            // A page is read as far as it goes, and no further.
            assert!(!plan.contains("TEMP B-TREE"), "{sql}:\n{plan}");
        }
    }
}
