//! The figures, a JSON line each.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

/// One figure, as it is printed and kept.
pub fn line(contender: &str, work: &str, variant: &str, value: f64, unit: &str) -> String {
    json!({ "contender": contender, "work": work, "variant": variant, "value": value, "unit": unit })
        .to_string()
}

/// Who measures the machine itself.
pub const MACHINE: &str = "the machine";

/// All repetitions of one figure.
#[derive(Default)]
struct Repetitions {
    values: Vec<f64>,
    unit: String,
}

/// A figure, and how far its repetitions lie apart.
#[derive(Clone)]
pub struct Figure {
    pub median: f64,
    pub unit: String,
    /// Whether the middle half of the repetitions spreads over more than 15 %.
    pub is_coarse: bool,
}

/// Work, contender and variant of each figure, in the order of their first appearance.
#[derive(Default)]
pub struct Results {
    order: Vec<(String, String, String)>,
    all: HashMap<(String, String, String), Repetitions>,
}

impl Results {
    pub fn read(files: &[&Path]) -> Self {
        let mut results = Results::default();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().for_each(|line| results.add(line));
        }
        results
    }

    fn add(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).expect("a line of results");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let key = (text("work"), text("contender"), text("variant"));
        let repetitions = self.all.entry(key.clone()).or_insert_with(|| {
            self.order.push(key);
            Repetitions::default()
        });
        repetitions
            .values
            .push(line["value"].as_f64().expect("a number"));
        repetitions.values.sort_by(f64::total_cmp);
        repetitions.unit = text("unit");
    }

    pub fn figure(&self, work: &str, contender: &str, variant: &str) -> Option<Figure> {
        let key = (work.to_owned(), contender.to_owned(), variant.to_owned());
        let Repetitions { values, unit } = self.all.get(&key)?;
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        let spread = values[values.len() * 3 / 4] - values[values.len() / 4];
        Some(Figure {
            median,
            unit: unit.clone(),
            is_coarse: spread > 0.15 * median,
        })
    }

    /// The least and the greatest repetition.
    pub fn range(&self, work: &str, contender: &str, variant: &str) -> Option<(f64, f64)> {
        let key = (work.to_owned(), contender.to_owned(), variant.to_owned());
        let values = &self.all.get(&key)?.values;
        Some((*values.first()?, *values.last()?))
    }

    pub fn contenders(&self, work: &str) -> Vec<&str> {
        distinct(self.of(work).map(|(_, contender, _)| contender))
    }

    pub fn variants(&self, work: &str) -> Vec<&str> {
        distinct(self.of(work).map(|(_, _, variant)| variant))
    }

    fn of(&self, work: &str) -> impl Iterator<Item = &(String, String, String)> {
        self.order.iter().filter(move |key| key.0 == work)
    }
}

fn distinct<'r>(names: impl Iterator<Item = &'r String>) -> Vec<&'r str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name.as_str()) {
            found.push(name.as_str());
        }
    }
    found
}
