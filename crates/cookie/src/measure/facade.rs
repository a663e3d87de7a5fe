//! Measures through the `metrics` facade. docs/events.md lists them.

use cloakroom_keyring::KeyId;
use metrics::{Counter, Unit, counter, describe_counter};

/// The sessions of one key.
pub(crate) struct OpenedUnder(Counter);

impl OpenedUnder {
    pub(crate) fn key(id: KeyId) -> Self {
        let name = "cloakroom_cookies_opened_total";
        describe_counter!(
            name,
            Unit::Count,
            "Cookies that were opened, by the key under which their sessions began"
        );
        let [a, b, c, d] = id;
        let key = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
        Self(counter!(name, "key" => key))
    }

    pub(crate) fn count(&self) {
        self.0.increment(1);
    }
}
