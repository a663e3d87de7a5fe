//! Instants and spans of time as people read them.

use std::time::Duration;

use cloakroom::Timestamp;
use maud::{Markup, html};
use time::OffsetDateTime;

/// An instant in UTC, to the second.
pub(crate) fn instant(at: Timestamp) -> Markup {
    let secs = i64::try_from(at.as_millis() / 1_000).unwrap_or(i64::MAX);
    // Past the year 9999 the calendar ends; so far away is never.
    let Ok(at) = OffsetDateTime::from_unix_timestamp(secs) else {
        return html! { "never" };
    };
    let (date, clock) = (at.date(), at.time());
    let clock = format!(
        "{:02}:{:02}:{:02}",
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    html! { time datetime=(format!("{date}T{clock}Z")) { (date) " " (clock) " UTC" } }
}

/// The time of day of an instant, in UTC, to the minute.
pub(crate) fn time_of_day(at: Timestamp) -> Markup {
    let minutes = at.as_millis() / 60_000 % (24 * 60);
    html! { (format!("{:02}:{:02} UTC", minutes / 60, minutes % 60)) }
}

/// A span in its largest whole unit.
pub(crate) fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let secs = span.as_secs();
    let (count, unit) = UNITS
        .iter()
        .find(|(unit_secs, _)| secs >= *unit_secs && secs.is_multiple_of(*unit_secs))
        .map_or((secs, "second"), |(unit_secs, unit)| {
            (secs / unit_secs, *unit)
        });
    counted(count, unit)
}

/// "1 load", "2 loads".
pub(crate) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_and_the_far_future_is_never() {
        assert_eq!(
            instant(Timestamp::from_millis(1_700_000_000_999)).into_string(),
            r#"<time datetime="2023-11-14T22:13:20Z">2023-11-14 22:13:20 UTC</time>"#
        );
        assert_eq!(instant(Timestamp::MAX).into_string(), "never");
        let evening = Timestamp::from_millis(1_700_000_000_999);
        assert_eq!(time_of_day(evening).into_string(), "22:13 UTC");
    }

    #[test]
    fn spans_are_in_their_largest_whole_unit() {
        assert_eq!(span(Duration::from_secs(14 * 86_400)), "14 days");
        assert_eq!(span(Duration::from_secs(3_600)), "1 hour");
        assert_eq!(span(Duration::from_secs(90)), "90 seconds");
    }
}
