//! How many cookies were opened under each key, from the metrics of the servers.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use crate::failure::Failure;

/// The counter of the cookie store; `docs/events.md` has it.
const COUNTER: &str = "cloakroom_cookies_opened_total";

/// Bytes of the longest input: the metrics of some hundred servers.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Cookies that were opened, by the id of the key, of all servers whose metrics stand on the
/// standard input, one after the other.
pub(crate) fn read() -> Result<BTreeMap<String, u64>, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|_| Failure::usage("what stands on the standard input is no text"))?;
    opened(&text).ok_or_else(|| {
        Failure::usage(format!(
            "there is no {COUNTER} in the metrics on the standard input: is the feature \
             `metrics` on, does the site keep its sessions in cookies, and has a cookie been \
             opened since it started?"
        ))
    })
}

/// Sums the counter by key; `None` where it is not there at all.
fn opened(text: &str) -> Option<BTreeMap<String, u64>> {
    let mut opened = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix(COUNTER) else {
            continue;
        };
        let Some((labels, values)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        else {
            continue;
        };
        let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
        let key = labels.find(|(name, _)| name.trim() == "key");
        // A timestamp may follow the value.
        let value = values.split_whitespace().next().map(str::parse::<f64>);
        if let (Some((_, key)), Some(Ok(value))) = (key, value) {
            let key = key.trim().trim_matches('"').to_owned();
            let sum: &mut u64 = opened.entry(key).or_default();
            *sum = sum.saturating_add(value as u64);
        }
    }
    (!opened.is_empty()).then_some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_several_servers_are_summed_by_key() {
        let text = "# HELP cloakroom_cookies_opened_total cookies\n\
                    # TYPE cloakroom_cookies_opened_total counter\n\
                    cloakroom_cookies_opened_total{key=\"0a1b2c3d\"} 3\n\
                    cloakroom_cookies_opened_total{node=\"b\", key=\"0a1b2c3d\"} 4 1790000000\n\
                    cloakroom_cookies_opened_total{key=\"ffffffff\"} 1e3\n\
                    cloakroom_cookies_opened_total{key=\"eeeeeeee\"} +Inf\n\
                    cloakroom_cookies_opened_total{key=\"eeeeeeee\"} +Inf\n\
                    cloakroom_cookies_opened_total{key=\"broken\"} x\n\
                    cloakroom_cookies_opened_total 9\n\
                    another{key=\"0a1b2c3d\"} 5\n";
        let opened = opened(text).unwrap();
        let expected = [("0a1b2c3d", 7), ("ffffffff", 1_000), ("eeeeeeee", u64::MAX)];
        let expected = expected.map(|(key, opened)| (key.to_owned(), opened));
        assert_eq!(opened, BTreeMap::from(expected));
        assert_eq!(super::opened("another{key=\"0a1b2c3d\"} 5"), None);
        assert_eq!(super::opened(""), None);
    }
}
