//! One statement, and the values that are bound to it.

use std::sync::Arc;

use cloakroom_core::Timestamp;
use cloakroom_core::store::{KeyDigest, Revision, SubjectDigest};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// A statement, built once.
pub(crate) struct Statement {
    pub(crate) sql: SqlStr,
    /// The argument of each placeholder, counted from 0.
    pub(crate) order: Vec<usize>,
}

impl Statement {
    /// From SQL whose placeholders are `$1` and so on. A database whose placeholders
    /// carry no numbers gets `?`, and its arguments in the order of the text.
    pub(crate) fn new(sql: &str, numbered_placeholders: bool) -> Self {
        let mut parts = sql.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        let mut order = Vec::new();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = part[..digits].parse().expect("a $ begins a placeholder");
            order.push(number - 1);
            match numbered_placeholders {
                true => text.extend(["$", part]),
                false => text.extend(["?", &part[digits..]]),
            }
        }
        if numbered_placeholders {
            let count = order.iter().max().map_or(0, |last| last + 1);
            order = (0..count).collect();
        }
        Self {
            sql: AssertSqlSafe(Arc::<str>::from(text)).into_sql_str(),
            order,
        }
    }
}

/// An argument: an integer or bytes, or NULL of either type.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    Int(Option<i64>),
    Bytes(Option<&'a [u8]>),
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<Timestamp>> for Arg<'_> {
    fn from(at: Option<Timestamp>) -> Self {
        let millis = |at: Timestamp| i64::try_from(at.as_millis());
        Self::Int(at.map(|at| millis(at).expect("a Timestamp ends at i64::MAX milliseconds")))
    }
}

impl From<Timestamp> for Arg<'_> {
    fn from(at: Timestamp) -> Self {
        Some(at).into()
    }
}

/// A revision is the 64 bits of a signed integer.
impl From<Revision> for Arg<'_> {
    fn from(revision: Revision) -> Self {
        revision.as_u64().cast_signed().into()
    }
}

impl<'a> From<&'a KeyDigest> for Arg<'a> {
    fn from(digest: &'a KeyDigest) -> Self {
        Self::bytes(Some(digest.as_bytes()))
    }
}

impl<'a> From<Option<&'a SubjectDigest>> for Arg<'a> {
    fn from(subject: Option<&'a SubjectDigest>) -> Self {
        Self::bytes(subject.map(SubjectDigest::as_bytes))
    }
}

impl<'a> Arg<'a> {
    pub(crate) fn bytes(bytes: Option<&'a (impl AsRef<[u8]> + ?Sized)>) -> Self {
        Self::Bytes(bytes.map(AsRef::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_placeholders_carry_no_numbers_the_values_stand_in_the_order_of_the_text() {
        let sql = "UPDATE t SET a = $3, b = f(b, $12) WHERE c = $1 OR d < $3";
        let statement = Statement::new(sql, true);
        assert_eq!(statement.sql.as_str(), sql);
        assert_eq!(statement.order, (0..12).collect::<Vec<_>>());
        let statement = Statement::new(sql, false);
        assert_eq!(
            statement.sql.as_str(),
            "UPDATE t SET a = ?, b = f(b, ?) WHERE c = ? OR d < ?"
        );
        assert_eq!(statement.order, [2, 11, 0, 2]);
    }
}
