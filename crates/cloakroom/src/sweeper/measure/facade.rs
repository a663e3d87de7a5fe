//! Measures through the `metrics` facade. docs/events.md lists them.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

/// What one sweeper measures.
pub(in crate::sweeper) struct Measures {
    removed: Counter,
    failed: Counter,
    took: Histogram,
    lag: Gauge,
}

impl Measures {
    pub(in crate::sweeper) fn of(store: &'static str) -> Self {
        describe_counter!(
            "cloakroom_sweep_removed_total",
            Unit::Count,
            "Expired records, rotation marks and tombstones that were swept"
        );
        describe_counter!(
            "cloakroom_sweeps_failed_total",
            Unit::Count,
            "Passes of the sweep that ended in an error"
        );
        describe_histogram!(
            "cloakroom_sweep_seconds",
            Unit::Seconds,
            "How long a whole pass of the sweep took"
        );
        describe_gauge!(
            "cloakroom_sweep_lag_seconds",
            Unit::Seconds,
            "How long something that was due may have waited for the last pass"
        );
        Self {
            removed: counter!("cloakroom_sweep_removed_total", "store" => store),
            failed: counter!("cloakroom_sweeps_failed_total", "store" => store),
            took: histogram!("cloakroom_sweep_seconds", "store" => store),
            lag: gauge!("cloakroom_sweep_lag_seconds", "store" => store),
        }
    }

    pub(in crate::sweeper) fn removed(&self, records: u64) {
        self.removed.increment(records);
    }

    pub(in crate::sweeper) fn swept(&self, took: Duration, lag: Duration) {
        self.took.record(took);
        self.lag.set(lag);
    }

    pub(in crate::sweeper) fn failed(&self) {
        self.failed.increment(1);
    }
}
