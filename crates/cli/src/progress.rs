//! What a terminal shows while a long piece of work goes on.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A line on the standard error that counts. Where that is no terminal, nothing is drawn. One
/// of them is drawn at a time: two would write over each other.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts up to a number that nobody knows.
    pub(crate) fn counting(what: &'static str) -> Self {
        Self::draw(
            ProgressBar::new_spinner(),
            "{spinner} {human_pos} {msg} ({rate})",
            what,
        )
    }

    /// Counts up to a number that may still change.
    pub(crate) fn up_to(total: u64, what: &'static str) -> Self {
        Self::draw(
            ProgressBar::new(total),
            "{bar:40} {human_pos} of {human_len} {msg} ({rate}, {eta} left)",
            what,
        )
    }

    fn draw(bar: ProgressBar, template: &str, what: &'static str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// So many are done.
    pub(crate) fn set(&self, done: u64) {
        if self.0.length().is_some_and(|length| length < done) {
            self.0.set_length(done);
        }
        self.0.set_position(done);
    }

    /// One more is done.
    pub(crate) fn add(&self, more: u64) {
        self.0.inc(more);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn rate(state: &ProgressState, to: &mut dyn Write) {
    // A line on a terminal that cannot be written is no loss.
    let _ = write!(to, "{:.0} a second", state.per_sec());
}
