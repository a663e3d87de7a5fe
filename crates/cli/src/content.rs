//! A session with what is in it: the kinds of its values, or the values where they were
//! asked for.

use std::collections::BTreeMap;
use std::fmt;

use cloakroom::session::Value;
use cloakroom::store::Record;
use serde::Serialize;

use crate::output::{bytes, plain};
use crate::session::SessionHeader;

/// A session's header, and what is under each name in its data.
#[derive(Serialize)]
pub(crate) struct Content {
    #[serde(flatten)]
    header: SessionHeader,
    data_bytes: u64,
    /// What each value is, where the values were not asked for. Both are missing where the
    /// data is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<BTreeMap<String, serde_json::Value>>,
}

/// The values of a record, by name; none where the data is sealed, or damaged.
pub(crate) fn values_of(record: &Record) -> Option<BTreeMap<String, serde_json::Value>> {
    let values = record.values().ok()?.into_iter();
    Some(values.map(|(name, value)| (name, json(&value))).collect())
}

/// A value as JSON; as text where JSON has no such thing, such as a map whose keys are lists.
fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_else(|_| value.display().to_string().into())
}

impl Content {
    pub(crate) fn new(header: SessionHeader, record: &Record, reveal: bool) -> Self {
        let kinds = || {
            let values = record.values().ok()?.into_iter();
            Some(values.map(|(name, value)| (name, kind(&value))).collect())
        };
        Self {
            header,
            data_bytes: record.data.as_bytes().len() as u64,
            kinds: if reveal { None } else { kinds() },
            values: if reveal { values_of(record) } else { None },
        }
    }
}

/// What a value is, and nothing of its content.
fn kind(value: &Value) -> String {
    let debug = format!("{value:?}");
    let kind = debug.strip_prefix("Value(").unwrap_or_default();
    kind.strip_suffix(')').unwrap_or_default().to_owned()
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.header)?;
        writeln!(f, "data       {}", bytes(self.data_bytes))?;
        match (&self.kinds, &self.values) {
            (Some(kinds), _) => {
                for (name, kind) in kinds {
                    writeln!(f, "  {}: {kind}", plain(name))?;
                }
                if !kinds.is_empty() {
                    writeln!(f, "--reveal prints the values.")?;
                }
                Ok(())
            }
            (None, Some(values)) => values.iter().try_for_each(|(name, value)| {
                writeln!(f, "  {}: {}", plain(name), plain(&value.to_string()))
            }),
            (None, None) => writeln!(
                f,
                "The data is sealed under its visitor's own key, or damaged: nobody else reads it."
            ),
        }
    }
}
