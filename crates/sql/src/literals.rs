//! Statements whose values are part of their text, for a pooler that lends connections by
//! the transaction.
//!
//! A prepared statement takes two steps there, and the second may come to another server
//! connection, which does not know it. So everything is one message, which PostgreSQL
//! carries out as one transaction: the settings that hold for it alone, and the statement.
//! A value is written as digits, or as bytes in hexadecimal, and as nothing else: no text
//! of anybody reaches the SQL.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::statement::Arg;

/// What stands before each statement.
pub(crate) struct Preface(String);

impl Preface {
    /// Sets the isolation and the time limit of this one transaction.
    pub(crate) fn new(limit: Duration) -> Self {
        Self(format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; ",
            limit_millis(limit)
        ))
    }

    /// The text of a statement whose placeholders are `$1` and so on, behind the preface
    /// and with its values.
    pub(crate) fn fill(&self, sql: &str, args: &[Arg<'_>]) -> SqlStr {
        let bytes = args.iter().map(|arg| match arg {
            Arg::Bytes(Some(bytes)) => bytes.len() * 2,
            _ => 0,
        });
        let length = self.0.len() + sql.len() + bytes.sum::<usize>() + args.len() * 32;
        let mut text = String::with_capacity(length);
        text.push_str(&self.0);
        let mut parts = sql.split('$');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = part[..digits].parse().expect("a $ begins a placeholder");
            write_value(&mut text, args[number - 1]);
            text.push_str(&part[digits..]);
        }
        AssertSqlSafe(text).into_sql_str()
    }
}

/// In the unit of `statement_timeout`, of which zero would be no limit.
pub(crate) fn limit_millis(limit: Duration) -> u128 {
    limit.as_millis().max(1)
}

fn write_value(text: &mut String, value: Arg<'_>) {
    let written = match value {
        Arg::Int(None) => write!(text, "NULL::int8"),
        Arg::Bytes(None) => write!(text, "NULL::bytea"),
        // Quoted, since the least one has no positive counterpart.
        Arg::Int(Some(number)) => write!(text, "'{number}'::int8"),
        // No backslash, whose meaning is a setting.
        Arg::Bytes(Some(bytes)) => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            text.push_str("decode('");
            for byte in bytes {
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 15)]));
            }
            write!(text, "', 'hex')")
        }
    };
    written.expect("a String takes what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_digits_or_hexadecimal_whatever_it_holds() {
        let preface = Preface::new(Duration::from_secs(4));
        let args = [
            Arg::Bytes(Some(b"'); DROP TABLE x; --\\\0\xff")),
            Arg::Int(Some(i64::MIN)),
            Arg::Bytes(None),
            Arg::Int(None),
        ];
        let sql = preface.fill("SELECT $4, $3, $1 WHERE a = $2 OR b = $1", &args);
        let bytes = "decode('27293b2044524f50205441424c4520783b202d2d5c00ff', 'hex')";
        assert_eq!(
            sql.as_str(),
            format!(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET LOCAL statement_timeout = 4000; SELECT NULL::int8, NULL::bytea, {bytes} \
                 WHERE a = '-9223372036854775808'::int8 OR b = {bytes}"
            )
        );
        let brief = Preface::new(Duration::ZERO).fill("SELECT 1", &[]);
        assert!(brief.as_str().contains("statement_timeout = 1;"));
    }
}
