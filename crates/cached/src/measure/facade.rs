//! Measures through the `metrics` facade. docs/events.md lists them.

use std::fmt;

use metrics::{Counter, Unit, counter, describe_counter};

pub(crate) struct Measure(Counter);

impl Measure {
    pub(crate) fn of(name: &'static str) -> Self {
        describe_counter!(name, Unit::Count, "Of the near caches of this process");
        Self(counter!(name))
    }

    pub(crate) fn count(&self) {
        self.0.increment(1);
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measure").finish_non_exhaustive()
    }
}
