//! A recorder of the `metrics` facade that remembers what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A metric with its labels, such as `cloakroom_logins_total{store=map}`.
type Name = String;

/// What was recorded of one metric: a counter has one number, its sum.
type Values = Arc<Mutex<Vec<f64>>>;

/// Each kind, and each list of labels, that one name was asked for with.
type Asked = BTreeSet<(&'static str, Vec<String>)>;

#[derive(Default)]
pub(crate) struct Remembers {
    values: Mutex<BTreeMap<Name, Values>>,
    /// Kinds and labels of those that were asked for, and units of those described.
    pub(crate) asked: Mutex<BTreeMap<String, Asked>>,
    pub(crate) units: Mutex<BTreeMap<String, (&'static str, Option<Unit>)>>,
}

impl Remembers {
    fn recorded(&self, kind: &'static str, key: &Key) -> Arc<Recorded> {
        let labels = key.labels();
        let labels: Vec<_> = labels.map(|label| label.key().to_owned()).collect();
        let mut asked = self.asked.lock().unwrap();
        asked
            .entry(key.name().to_owned())
            .or_default()
            .insert((kind, labels));
        let labels = key.labels();
        let labels: Vec<_> = labels
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let name = match labels.is_empty() {
            true => key.name().to_owned(),
            false => format!("{}{{{}}}", key.name(), labels.join(",")),
        };
        let mut values = self.values.lock().unwrap();
        Arc::new(Recorded(values.entry(name).or_default().clone()))
    }

    fn describe(&self, kind: &'static str, name: KeyName, unit: Option<Unit>) {
        let mut units = self.units.lock().unwrap();
        units.insert(name.as_str().to_owned(), (kind, unit));
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        let values = self.values.lock().unwrap();
        let values = values
            .get(name)
            .unwrap_or_else(|| panic!("{name}, of {:?}", values.keys()));
        values.lock().unwrap().clone()
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.values(name).iter().sum()
    }
}

struct Recorded(Values);

impl CounterFn for Recorded {
    fn increment(&self, value: u64) {
        self.0.lock().unwrap().push(value as f64);
    }

    fn absolute(&self, value: u64) {
        *self.0.lock().unwrap() = vec![value as f64];
    }
}

impl GaugeFn for Recorded {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl HistogramFn for Recorded {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl Recorder for Remembers {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("counter", key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("gauge", key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("histogram", key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.recorded("counter", key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.recorded("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.recorded("histogram", key))
    }
}
