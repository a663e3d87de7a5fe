//! PCI DSS 4.0.1: the one requirement that is about sessions.

use std::time::Duration;

use super::Requirement;

const IDLE_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) fn requirements() -> Vec<Requirement> {
    vec![Requirement::must(
        "8.2.8",
        "A session that was not used for more than 15 minutes asks for a login.",
        |facts| facts.idle_within(IDLE_MAX, ".expiry(Expiry::new(fifteen_minutes, absolute)?)"),
    )]
}
