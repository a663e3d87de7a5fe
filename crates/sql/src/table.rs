//! The name of a table: the one setting that is written into SQL.

use std::borrow::Cow;

use cloakroom_core::{Error, ErrorKind};

/// Bytes of the longest name of a table or a schema. Both together, and the name of an
/// index, fit into the 63 bytes of a name in PostgreSQL.
pub const NAME_BYTES_MAX: usize = 31;

/// The table's name by default.
pub const TABLE_DEFAULT: &str = "cloakroom_sessions";

#[derive(Clone, Debug)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl Default for TableName {
    fn default() -> Self {
        Self {
            schema: None,
            name: TABLE_DEFAULT.to_owned(),
        }
    }
}

impl TableName {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check("table", &self.name)?;
        self.schema
            .as_deref()
            .map_or(Ok(()), |name| check("schema", name))
    }

    /// Quoted, for SQL.
    pub(crate) fn quoted(&self, quote: char) -> String {
        self.with_suffix(quote, "")
    }

    /// Quoted for SQL, with a suffix to the name of the table.
    pub(crate) fn with_suffix(&self, quote: char, suffix: &str) -> String {
        let name = &self.name;
        match &self.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{quote}{name}{suffix}{quote}"),
            None => format!("{quote}{name}{suffix}{quote}"),
        }
    }

    /// The name, behind its schema where one is set.
    pub(crate) fn path(&self) -> Cow<'_, str> {
        match &self.schema {
            Some(schema) => Cow::Owned(format!("{schema}.{}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// A published migration with the names of this table and its indexes.
    pub(crate) fn fill(&self, published: &str, quote: char) -> String {
        let index = format!("INDEX {quote}{TABLE_DEFAULT}_");
        let index_if = format!("INDEX IF NOT EXISTS {quote}{TABLE_DEFAULT}_");
        // An index is named without a schema, and is in that of its table.
        published
            .replace(&index, &format!("INDEX {quote}{}_", self.name))
            .replace(
                &index_if,
                &format!("INDEX IF NOT EXISTS {quote}{}_", self.name),
            )
            .replace(
                &format!("{quote}{TABLE_DEFAULT}_schema{quote}"),
                &self.with_suffix(quote, "_schema"),
            )
            .replace(
                &format!("{quote}{TABLE_DEFAULT}{quote}"),
                &self.quoted(quote),
            )
    }
}

fn check(what: &str, name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let is_good = bytes
        .next()
        .is_some_and(|first| first == b'_' || first.is_ascii_lowercase())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && name.len() <= NAME_BYTES_MAX;
    if is_good {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!(
            "the name of a {what} is made of a-z, 0-9 and _, does not begin with a digit and has \
             at most {NAME_BYTES_MAX} bytes"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: Option<&str>, name: &str) -> TableName {
        TableName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_name_that_could_be_anything_but_a_name_is_refused() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for name in ["s", "_", "order", "a1_b", &longest] {
            assert!(table(Some(name), name).check().is_ok(), "{name}");
        }
        let longer = "x".repeat(NAME_BYTES_MAX + 1);
        for name in [
            "", "1a", "A", "a b", "a\"", "a`", "a'", "a;--", "a.b", "é", "a\0", "a-b", &longer,
        ] {
            for table in [table(None, name), table(Some(name), "fine")] {
                let error = table.check().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name:?}");
            }
        }
    }

    #[test]
    fn a_migration_is_the_published_text_with_other_names() {
        let published = include_str!("../migrations/postgres/0001_sessions.sql");
        assert_eq!(TableName::default().fill(published, '"'), published);
        let filled = table(Some("app"), "order").fill(published, '"');
        assert!(!filled.contains(TABLE_DEFAULT), "{filled}");
        for part in [
            "CREATE TABLE IF NOT EXISTS \"app\".\"order\" (",
            "CREATE INDEX IF NOT EXISTS \"order_expires_at\"\n    ON \"app\".\"order\" (",
            "INSERT INTO \"app\".\"order_schema\" (version)",
        ] {
            assert!(filled.contains(part), "{part}: {filled}");
        }
        let published = include_str!("../migrations/mysql/0001_sessions.sql");
        let filled = table(None, "order").fill(published, '`');
        assert!(!filled.contains(TABLE_DEFAULT), "{filled}");
    }
}
