//! Counts by size, drawn as bars.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::output::count;

/// Characters of the longest bar.
const BAR_CHARS: u64 = 40;

/// How many values were at most so large, bound by bound; the last count is of all above.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    counts: Vec<u64>,
}

impl Histogram {
    /// Of no value yet. The bounds ascend.
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
        }
    }

    pub(crate) fn add(&mut self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
    }

    /// Draws a line for each bound between the first and the last that has a value.
    pub(crate) fn draw(
        &self,
        f: &mut fmt::Formatter<'_>,
        shown: impl Fn(u64) -> String,
    ) -> fmt::Result {
        let most = self.counts.iter().copied().max().unwrap_or(0).max(1);
        let has_some = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (
            self.counts.iter().position(has_some),
            self.counts.iter().rposition(has_some),
        ) else {
            return writeln!(f, "  none");
        };
        for at in first..=last {
            let bound = match (self.bounds.get(at), self.bounds.last()) {
                (Some(bound), _) => format!("up to {}", shown(*bound)),
                (None, last) => format!("over {}", shown(last.copied().unwrap_or(0))),
            };
            let here = self.counts[at];
            // One is seen beside a million.
            let bar = "█".repeat((here * BAR_CHARS).div_ceil(most) as usize);
            let line = format!("  {bound:<14} {:>29}  {bar}", count(here));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A list of `{"up_to": BOUND, "count": NUMBER}`; `null` for what is above all bounds.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row {
            up_to: Option<u64>,
            count: u64,
        }
        to.collect_seq(self.counts.iter().enumerate().map(|(at, count)| Row {
            up_to: self.bounds.get(at).copied(),
            count: *count,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Drawn(Histogram);

    impl fmt::Display for Drawn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.draw(f, |bound| bound.to_string())
        }
    }

    #[test]
    fn a_value_counts_at_the_first_bound_that_holds_it() {
        let mut histogram = Histogram::new(&[1, 10, 100]);
        assert_eq!(Drawn(histogram.clone()).to_string(), "  none\n");
        for value in [2, 10, 11, 101] {
            histogram.add(value);
        }
        assert_eq!(
            serde_json::to_string(&histogram).unwrap(),
            r#"[{"up_to":1,"count":0},{"up_to":10,"count":2},{"up_to":100,"count":1},{"up_to":null,"count":1}]"#
        );
        let drawn = Drawn(histogram).to_string();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].starts_with("  up to 10 "), "{drawn}");
        assert!(lines[2].starts_with("  over 100 "), "{drawn}");
        let bars: Vec<usize> = lines.iter().map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [40, 20, 20]);
    }
}
