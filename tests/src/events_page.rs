//! The tables of docs/events.md, read as a test compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A row of a table of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// In lower case.
    pub level: String,
    /// The fields that it always has.
    pub fields: BTreeSet<String>,
    /// The fields in parentheses.
    pub optional: BTreeSet<String>,
}

/// A row of the table of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// `count`, `seconds` or `bytes`.
    pub unit: String,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
}

/// The page as it stands in this workspace.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    fs::read_to_string(path).expect("docs/events.md")
}

/// The events of a page by their name.
///
/// # Panics
/// Where a row is malformed, or a name has two.
#[must_use]
pub fn events(page: &str) -> BTreeMap<String, EventRow> {
    let mut events = BTreeMap::new();
    for cells in rows(page, 4) {
        let (fields, optional) = cells[2].split_once('(').unwrap_or((cells[2], ""));
        let row = EventRow {
            level: cells[1].to_owned(),
            fields: names(fields),
            optional: names(optional),
        };
        let [name] = &Vec::from_iter(names(cells[0]))[..] else {
            panic!("a row names one event: {cells:?}");
        };
        let twice = events.insert(name.clone(), row);
        assert!(twice.is_none(), "{name} stands there twice");
    }
    events
}

/// The metrics of a page by their name.
///
/// # Panics
/// Where a row is malformed, or a name has two.
#[must_use]
pub fn metrics(page: &str) -> BTreeMap<String, MetricRow> {
    let mut metrics = BTreeMap::new();
    for cells in rows(page, 5) {
        let row = MetricRow {
            kind: cells[1].to_owned(),
            unit: cells[2].to_owned(),
            labels: names(cells[3]),
        };
        let [name] = &Vec::from_iter(names(cells[0]))[..] else {
            panic!("a row names one metric: {cells:?}");
        };
        let twice = metrics.insert(name.clone(), row);
        assert!(twice.is_none(), "{name} stands there twice");
    }
    metrics
}

/// The rows of tables with so many columns that begin with a name.
fn rows(page: &str, columns: usize) -> impl Iterator<Item = Vec<&str>> {
    page.lines().filter_map(move |line| {
        let row = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (cells.len() == columns && cells[0].starts_with('`')).then_some(cells)
    })
}

/// What is written as code.
fn names(text: &str) -> BTreeSet<String> {
    let names = text.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}
