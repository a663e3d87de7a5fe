//! "Did you mean": which name somebody may have had in mind.

/// Characters of the longest word that is looked at.
const WORD_CHARS_MAX: usize = 32;

/// The one of these names that differs least from what was written, where at most a third
/// of its letters do. It is a name of ours: nothing of what was written is told again.
pub(crate) fn nearest<'n>(
    written: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let written: Vec<char> = written.chars().take(WORD_CHARS_MAX + 1).collect();
    if written.len() > WORD_CHARS_MAX {
        return None;
    }
    names
        .into_iter()
        .map(|name| (distance(&written, name), name))
        .filter(|(distance, name)| distance * 3 <= name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out or replaced (Levenshtein).
fn distance(written: &[char], name: &str) -> usize {
    // The distances of the name's letters so far to each beginning of what was written.
    let mut row: Vec<usize> = (0..=written.len()).collect();
    for (count, letter) in name.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = count + 1;
        for at in 0..written.len() {
            let replaced = diagonal + usize::from(written[at] != letter);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[written.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["memory", "redis", "rediss", "sqlite", "postgres"];
        for (written, expected) in [
            ("memori", Some("memory")),
            ("memroy", Some("memory")),
            ("reddis", Some("redis")),
            ("redis", Some("redis")),
            ("sqlite3", Some("sqlite")),
            ("postgre", Some("postgres")),
            ("", None),
            ("r", None),
            ("user", None),
            ("memoires", None),
            (&"memory".repeat(1_000), None),
        ] {
            assert_eq!(nearest(written, names), expected, "{written}");
        }
    }
}
