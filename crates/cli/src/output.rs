//! What the command prints: a report as text for people, or as JSON for scripts.

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use clap::Args;
use cloakroom::Timestamp;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::{Code, Failure};

/// How a report is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print one JSON document in place of text
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Prints a report. Whoever has closed the pipe does not want to know the rest.
    pub(crate) fn show<R: Serialize + Display>(&self, report: &R) -> Result<(), Failure> {
        let mut text = match self.json {
            true => serde_json::to_string_pretty(report).map_err(|error| {
                Failure::new(Code::Failed, format!("cannot write this as JSON: {error}"))
            })?,
            false => report.to_string(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// An instant: RFC 3339 in UTC, to the second, and nothing in JSON where it never comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utc(pub(crate) Timestamp);

impl Utc {
    fn text(self) -> Option<String> {
        if self.0 == Timestamp::MAX {
            return None;
        }
        let secs = SystemTime::from(self.0)
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_secs();
        let at = OffsetDateTime::from_unix_timestamp(i64::try_from(secs).ok()?).ok()?;
        at.format(&Rfc3339).ok()
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(to)
    }
}

impl Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_deref().unwrap_or("never"))
    }
}

/// A text that came from a client or an application, without what a terminal would obey
/// or hide.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => plain.push(character),
            _ => plain.extend(character.escape_debug()),
        }
    }
    plain
}

/// A span in its largest unit, such as "3 d" or "12 s".
pub(crate) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} d", count(secs / 86_400)),
    }
}

/// Bytes in their largest unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 session", "2 sessions".
pub(crate) fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", count(number)),
    }
}

/// Columns of text under their names.
pub(crate) fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    names: [&str; N],
    rows: &[[String; N]],
) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([names[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(f, "{}", line.trim_end())
    };
    line(names)?;
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_printed_as_what_it_is() {
        assert_eq!(plain("Ada's \"é\" 日本"), "Ada's \"é\" 日本");
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(plain("\u{202e}txt"), "\\u{202e}txt");
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(bytes(64), "64 B");
        assert_eq!(bytes(64 << 10), "64 KiB");
        assert_eq!(bytes(1_536), "1.5 KiB");
        let spans = [5, 90, 7_300, 200_000].map(|secs| span(Duration::from_secs(secs)));
        assert_eq!(spans, ["5 s", "1 min", "2 h", "2 d"]);
        assert_eq!(Utc(Timestamp::MAX).to_string(), "never");
        let at = Utc(Timestamp::from_millis(1_700_000_000_999));
        assert_eq!(at.to_string(), "2023-11-14T22:13:20Z");
    }
}
