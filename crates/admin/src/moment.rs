//! Instants and counts as people read them.

use cloakroom::Timestamp;
use maud::{Markup, html};
use time::OffsetDateTime;

/// An instant in UTC, to the second.
pub(crate) fn instant(at: Timestamp) -> Markup {
    let secs = i64::try_from(at.as_millis() / 1_000).unwrap_or(i64::MAX);
    // The calendar ends after the year 9999; what is further away is never.
    let Ok(at) = OffsetDateTime::from_unix_timestamp(secs) else {
        return html! { "never" };
    };
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    html! { time datetime=(format!("{date}T{clock}Z")) { (date) " " (clock) " UTC" } }
}

/// "1 session", "12,345 sessions".
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    }

    #[test]
    fn counts_are_grouped_and_agree_with_their_noun() {
        assert_eq!(counted(0, "session"), "0 sessions");
        assert_eq!(counted(1, "session"), "1 session");
        assert_eq!(counted(999, "session"), "999 sessions");
        assert_eq!(counted(1_000, "session"), "1,000 sessions");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
