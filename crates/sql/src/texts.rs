//! Every statement, built once for a store.
//!
//! They are written with numbered placeholders, which MySQL has not; there the
//! numbers become the order in which values are bound.

use cloakroom_core::store::ROTATION_HOPS_MAX;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::dialect::Text;
use crate::row::FORMAT;
use crate::table::{NAME_BYTES_MAX, Table};

/// What the databases write differently.
pub(crate) struct Words {
    pub(crate) quote: char,
    /// The later of two instants.
    pub(crate) later: &'static str,
    /// No bytes.
    pub(crate) empty: &'static str,
    /// What makes a small integer a large one, to be read.
    pub(crate) widened: &'static str,
    /// Whether placeholders carry numbers.
    pub(crate) numbered: bool,
    pub(crate) rotation: Rotation,
    /// Whether a DELETE can answer what it has removed.
    pub(crate) returns: bool,
    /// Whether there are schemas, and channels to notify.
    pub(crate) has_schemas: bool,
    /// Whether what stands in a column is of its type, in every row.
    pub(crate) typed: bool,
    /// Whether only one may write at a time.
    pub(crate) one_writer: bool,
    /// Whether a connection is of use after a statement was dropped half way. In
    /// MySQL sqlx takes what is left of the answer for that to the next statement.
    pub(crate) drains: bool,
    /// The sweep of a table.
    pub(crate) sweep: fn(&str) -> String,
}

/// How a mark and a record are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// By one statement.
    Statement,
    /// By a script that is one transaction, and takes the values from variables of the
    /// connection.
    Script,
    /// By one statement after the other, in a transaction.
    Transaction,
}

/// The statements that one table is used with.
pub(crate) struct Texts {
    pub(crate) load: Text,
    /// $1 to $14 are the columns.
    pub(crate) create: Text,
    /// $1 digest, $2 revision, $3 to $13 the columns from the revision on.
    pub(crate) update: Text,
    /// $1 digest, $2 revision, $3 last use, $4 deadline. Where that moves nothing,
    /// nothing is written.
    pub(crate) touch: Text,
    /// What stands at $1, as far as a write that met nothing has to know.
    pub(crate) look: Text,
    /// $1 digest, $2 revision, $3 to where, $4 until when.
    pub(crate) mark: Text,
    /// `mark` and `create` in one: $5 to $15 are the columns from the revision on.
    pub(crate) rotate: Text,
    pub(crate) script: Script,
    /// Removes the record at $1, where its subject is $2 or that is NULL.
    pub(crate) end: Text,
    /// The rows from $1 on, along rotation marks: `moved_to` and `subject_digest`.
    pub(crate) resolve: Text,
    pub(crate) sessions: Text,
    /// The digests of the subject $1, without the session that $2 leads to; beside each
    /// how many marks lead there. Where that is over ROTATION_HOPS_MAX, the session may
    /// be among the digests.
    pub(crate) others: Text,
    /// Removes those, and answers their digests; none where the marks are too many.
    pub(crate) revoke: Text,
    pub(crate) sweep: Text,
    /// Digest and bytes of data of what stands behind $1, $2 rows of it.
    pub(crate) ahead: Text,
    /// What stands behind $1 and up to $2, $3 rows of it.
    pub(crate) scan: Text,
}

/// From the revision on, as `update` takes them.
const CHANGING: [&str; 11] = [
    "revision",
    "created_at",
    "last_seen_at",
    "expires_at",
    "absolute_deadline",
    "expiry",
    "site",
    "subject",
    "subject_digest",
    "label",
    "data",
];

/// A rotation for [`Rotation::Script`].
pub(crate) struct Script {
    /// Hands the values over, numbered as in [`Texts::rotate`].
    pub(crate) values: Text,
    /// Writes two rows, or none.
    pub(crate) transaction: SqlStr,
    /// Where that ended half way.
    pub(crate) rollback: SqlStr,
}

// What a statement calls its own parts. No table can be called so: the names are longer
// than one may be.
const HOPS: &str = "the_hops_of_a_session_from_mark_to_mark";
const MARKED: &str = "the_record_that_became_a_rotation_mark";
const MADE: &str = "the_record_that_was_made_in_its_place";
const WRITTEN: &str = "the_rows_that_were_written_or_removed";
const _: () = {
    let all = [HOPS, MARKED, MADE, WRITTEN];
    let mut at = 0;
    while at < all.len() {
        assert!(all[at].len() > NAME_BYTES_MAX);
        at += 1;
    }
};

impl Texts {
    /// The statements of a dialect; where there is a channel, what writes tells it.
    pub(crate) fn new(words: &Words, table: &Table, channel: Option<&str>) -> Self {
        let t = table.quoted(words.quote);
        let Words {
            later,
            empty,
            widened,
            ..
        } = words;
        let text = |sql: &str| Text::new(sql, words.numbered);
        let write = |sql: &str| match channel {
            None => text(sql),
            Some(_) => text(&told("", sql, channel)),
        };
        let all = CHANGING.join(", ");
        let header = format!(
            "digest, format{widened}, moved_to, revision, created_at, last_seen_at, expires_at, \
             absolute_deadline, expiry, site, subject, label"
        );
        // A mark, and what is of another format, is nothing to write to.
        let based =
            format!("digest = $1 AND revision = $2 AND moved_to IS NULL AND format = {FORMAT}");
        let sets = CHANGING.iter().zip(3..);
        let sets: Vec<_> = sets
            .map(|(column, at)| format!("{column} = ${at}"))
            .collect();
        let values = |from: usize, to: usize| {
            let values: Vec<_> = (from..=to).map(|at| format!("${at}")).collect();
            values.join(", ")
        };
        let mark = format!(
            "UPDATE {t} SET moved_to = $3, expires_at = $4, revision = 0, created_at = 0, \
             last_seen_at = 0, absolute_deadline = NULL, expiry = NULL, site = NULL, \
             subject = NULL, subject_digest = NULL, label = NULL, data = {empty} WHERE {based}"
        );
        let made = format!(
            "INSERT INTO {t} (digest, format, moved_to, {all}) SELECT $3, {FORMAT}, NULL::bytea, \
             {} FROM {MARKED}",
            values(5, 15)
        );
        let hops = |from: &str| {
            format!(
                "WITH RECURSIVE {HOPS} (digest, moved_to, subject_digest, hop) AS (\
                 SELECT digest, moved_to, subject_digest, 0 FROM {t} WHERE digest = {from} UNION ALL \
                 SELECT t.digest, t.moved_to, t.subject_digest, hop + 1 FROM {HOPS} h \
                 JOIN {t} t ON t.digest = h.moved_to WHERE hop < {ROTATION_HOPS_MAX})"
            )
        };
        let others = format!("subject_digest = $1 AND digest NOT IN (SELECT digest FROM {HOPS})");
        let marks = format!("(SELECT count(moved_to) FROM {HOPS})");
        let spared = hops("$2");
        let ended = "moved_to IS NULL AND ($2 IS NULL OR subject_digest = $2)";
        Self {
            load: text(&format!("SELECT {header}, data FROM {t} WHERE digest = $1")),
            create: text(&format!(
                "INSERT INTO {t} (digest, format, moved_to, {all}) VALUES ({})",
                values(1, 14)
            )),
            update: write(&format!("UPDATE {t} SET {} WHERE {based}", sets.join(", "))),
            touch: text(&format!(
                "UPDATE {t} SET last_seen_at = {later}(last_seen_at, $3), \
                 expires_at = {later}(expires_at, $4) \
                 WHERE {based} AND (last_seen_at < $3 OR expires_at < $4)"
            )),
            look: text(&format!(
                "SELECT format{widened}, moved_to, revision FROM {t} WHERE digest = $1"
            )),
            rotate: text(&match channel {
                None => format!("WITH {MARKED} AS ({mark} RETURNING 1) {made}"),
                Some(channel) => format!(
                    "WITH {MARKED} AS ({mark} RETURNING 1), {MADE} AS ({made} RETURNING 1) \
                     SELECT pg_notify('{channel}', encode($1, 'hex') || ' {ENDED}') FROM {MADE}"
                ),
            }),
            script: Script::new(&t, &based, &mark, words.numbered),
            mark: text(&mark),
            end: write(&format!("DELETE FROM {t} WHERE digest = $1 AND {ended}")),
            resolve: text(&format!(
                "{} SELECT moved_to, subject_digest FROM {HOPS} ORDER BY hop",
                hops("$1")
            )),
            sessions: text(&format!(
                "SELECT {header} FROM {t} WHERE subject_digest = $1"
            )),
            others: text(&format!(
                "{spared} SELECT digest, {marks} FROM {t} WHERE {others}"
            )),
            revoke: text(&told(
                &spared,
                &format!("DELETE FROM {t} WHERE {others} AND {marks} <= {ROTATION_HOPS_MAX}"),
                channel,
            )),
            sweep: text(&(words.sweep)(&t)),
            ahead: text(&format!(
                "SELECT digest, length(data){widened} FROM {t} WHERE digest > $1 \
                 ORDER BY digest LIMIT $2"
            )),
            scan: text(&format!(
                "SELECT {header}, data FROM {t} WHERE digest > $1 AND digest <= $2 \
                 ORDER BY digest LIMIT $3"
            )),
        }
    }
}

impl Script {
    fn new(t: &str, based: &str, mark: &str, numbered: bool) -> Self {
        const VALUES: std::ops::RangeInclusive<usize> = 1..=15;
        // Digests, texts and data; all else is a number.
        const BYTES: [usize; 8] = [1, 3, 10, 11, 12, 13, 14, 15];
        let each = |value: &dyn Fn(usize) -> String| {
            let each: Vec<_> = VALUES.map(value).collect();
            each.join(", ")
        };
        let all = CHANGING.join(", ");
        let made: Vec<_> = (5..=15).map(|at| format!("${at}")).collect();
        let made = made.join(", ");
        let forget = format!("SET {}", each(&|at| format!("@cloakroom_{at} = NULL")));
        // Each asks the same of the old row, which the first one locks. The second must
        // not ask what the first has done: ROW_COUNT() is that of the last answer that
        // could be sent, and a client that hangs up leaves the script running.
        let transaction = format!(
            "START TRANSACTION; INSERT INTO {t} (digest, format, moved_to, {all}) \
             SELECT $3, {FORMAT}, NULL, {made} FROM {t} WHERE {based} FOR UPDATE; {mark}; \
             COMMIT; {forget}"
        );
        let sql = |sql: String| AssertSqlSafe(sql).into_sql_str();
        // A variable has the type of what it was last set to.
        let typed = |at| match BYTES.contains(&at) {
            true => format!("@cloakroom_{at} = CAST(${at} AS BINARY)"),
            false => format!("@cloakroom_{at} = CAST(${at} AS SIGNED)"),
        };
        let values = format!("SET {}", each(&typed));
        Self {
            values: Text::new(&values, numbered),
            transaction: sql(transaction.replace('$', "@cloakroom_")),
            rollback: sql(format!("ROLLBACK; {forget}")),
        }
    }
}

/// [`Revision::LAST`](cloakroom_core::store::Revision::LAST), as the column holds it.
const ENDED: i64 = -1;

/// An UPDATE or DELETE that answers the digest of each row, and tells the channel,
/// in the same statement, the revision that it was given, or that it is no more.
fn told(with: &str, sql: &str, channel: Option<&str>) -> String {
    let Some(channel) = channel else {
        return format!("{with} {sql} RETURNING digest");
    };
    let with = match with {
        "" => "WITH".to_owned(),
        with => format!("{with},"),
    };
    let revision = match sql.starts_with("DELETE") {
        true => ENDED.to_string(),
        false => "' || revision || '".to_owned(),
    };
    format!(
        "{with} {WRITTEN} AS ({sql} RETURNING digest, revision) SELECT digest, \
         pg_notify('{channel}', encode(digest, 'hex') || ' {revision}') FROM {WRITTEN}"
    )
}

impl Text {
    /// A statement whose placeholders are `$1` and so on.
    pub(crate) fn new(sql: &str, numbered: bool) -> Self {
        let mut parts = sql.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        let mut order = Vec::new();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = part[..digits].parse().expect("a $ begins a placeholder");
            order.push(number - 1);
            match numbered {
                true => text.extend(["$", part]),
                false => text.extend(["?", &part[digits..]]),
            }
        }
        if numbered {
            let count = order.iter().max().map_or(0, |last| last + 1);
            order = (0..count).collect();
        }
        Self {
            sql: AssertSqlSafe(std::sync::Arc::<str>::from(text)).into_sql_str(),
            order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_placeholders_carry_no_numbers_the_values_stand_in_the_order_of_the_text() {
        let sql = "UPDATE t SET a = $3, b = f(b, $12) WHERE c = $1 OR d < $3";
        let text = Text::new(sql, true);
        assert_eq!(text.sql.as_str(), sql);
        assert_eq!(text.order, (0..12).collect::<Vec<_>>());
        let text = Text::new(sql, false);
        assert_eq!(
            text.sql.as_str(),
            "UPDATE t SET a = ?, b = f(b, ?) WHERE c = ? OR d < ?"
        );
        assert_eq!(text.order, [2, 11, 0, 2]);
    }
}
