//! Measures through the `metrics` facade. docs/events.md lists them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use cloakroom_core::store::EndReason;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::{Counted, DEVICE_RESULTS, Refused};

/// When something began that is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun(Instant);

impl Begun {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

/// What one engine measures. It asks the recorder for each measure once, when the engine is
/// built, so that a request allocates nothing for it.
pub(crate) struct Measures {
    created: Counter,
    rotated: Counter,
    logins: Counter,
    privileges: Counter,
    conflicts: Counter,
    late_writes: Counter,
    saves_failed: Counter,
    outages: Counter,
    ended: BTreeMap<&'static str, Counter>,
    refused: BTreeMap<&'static str, Counter>,
    devices: BTreeMap<&'static str, Counter>,
    load_seconds: Histogram,
    save_seconds: Histogram,
    load_bytes: Histogram,
    save_bytes: Histogram,
    up: Gauge,
}

impl Measures {
    pub(crate) fn of(store: &'static str) -> Self {
        describe();
        let reasons = || EndReason::ALL.iter().copied();
        let refusals = reasons().map(Refused::Ended);
        let refusals = refusals.chain([Refused::Malformed, Refused::Forged]);
        let up = gauge!("cloakroom_store_up", "store" => store);
        up.set(1.0);
        Self {
            created: counter!("cloakroom_sessions_created_total", "store" => store),
            rotated: counter!("cloakroom_sessions_rotated_total", "store" => store),
            logins: counter!("cloakroom_logins_total", "store" => store),
            privileges: counter!("cloakroom_privilege_changes_total", "store" => store),
            conflicts: counter!("cloakroom_conflicts_total", "store" => store),
            late_writes: counter!("cloakroom_late_writes_total", "store" => store),
            saves_failed: counter!("cloakroom_saves_failed_total", "store" => store),
            outages: counter!("cloakroom_store_outages_total", "store" => store),
            ended: reasons()
                .map(|reason| {
                    let name = "cloakroom_sessions_ended_total";
                    let reason = reason.as_str();
                    (reason, counter!(name, "store" => store, "reason" => reason))
                })
                .collect(),
            refused: refusals
                .map(|refused| {
                    let name = "cloakroom_tokens_refused_total";
                    let reason = refused.as_str();
                    (reason, counter!(name, "store" => store, "reason" => reason))
                })
                .collect(),
            devices: DEVICE_RESULTS
                .iter()
                .map(|result| {
                    let name = "cloakroom_devices_total";
                    (
                        *result,
                        counter!(name, "store" => store, "result" => *result),
                    )
                })
                .collect(),
            load_seconds: histogram!("cloakroom_load_seconds", "store" => store),
            save_seconds: histogram!("cloakroom_save_seconds", "store" => store),
            load_bytes: histogram!("cloakroom_load_bytes", "store" => store),
            save_bytes: histogram!("cloakroom_save_bytes", "store" => store),
            up,
        }
    }

    pub(crate) fn count(&self, what: Counted) {
        let counter = match what {
            Counted::Created => &self.created,
            Counted::Rotated => &self.rotated,
            Counted::Login => &self.logins,
            Counted::PrivilegeChanged => &self.privileges,
            Counted::Conflict => &self.conflicts,
            Counted::LateWrite => &self.late_writes,
            Counted::SaveFailed => &self.saves_failed,
            Counted::StoreDown => &self.outages,
        };
        counter.increment(1);
    }

    pub(crate) fn ended(&self, reason: EndReason, sessions: u64) {
        if let Some(counter) = self.ended.get(reason.as_str()) {
            counter.increment(sessions);
        }
    }

    pub(crate) fn refused(&self, refused: Refused) {
        if let Some(counter) = self.refused.get(refused.as_str()) {
            counter.increment(1);
        }
    }

    pub(crate) fn device(&self, result: &'static str) {
        if let Some(counter) = self.devices.get(result) {
            counter.increment(1);
        }
    }

    /// A load, and how many bytes of session data it brought, if it found a record.
    pub(crate) fn loaded(&self, begun: Begun, bytes: Option<usize>) {
        self.load_seconds.record(begun.0.elapsed());
        if let Some(bytes) = bytes {
            self.load_bytes.record(bytes as f64);
        }
    }

    /// A write, and how many bytes of session data it took along, if any.
    pub(crate) fn saved(&self, begun: Begun, bytes: Option<usize>) {
        self.save_seconds.record(begun.0.elapsed());
        if let Some(bytes) = bytes {
            self.save_bytes.record(bytes as f64);
        }
    }

    pub(crate) fn store_is_up(&self, is_up: bool) {
        self.up.set(f64::from(u8::from(is_up)));
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

fn describe() {
    let counters = [
        (
            "cloakroom_sessions_created_total",
            "Sessions stored for the first time",
        ),
        (
            "cloakroom_sessions_rotated_total",
            "Sessions moved to a new key",
        ),
        (
            "cloakroom_sessions_ended_total",
            "Sessions ended, by reason",
        ),
        ("cloakroom_logins_total", "Logins"),
        (
            "cloakroom_privilege_changes_total",
            "Logins over another subject",
        ),
        (
            "cloakroom_tokens_refused_total",
            "Tokens that opened no session, by reason",
        ),
        (
            "cloakroom_devices_total",
            "What became of the devices that sessions are bound to, by result",
        ),
        (
            "cloakroom_conflicts_total",
            "Saves tried again because another request was first",
        ),
        (
            "cloakroom_late_writes_total",
            "Changes to a session that had ended or moved",
        ),
        (
            "cloakroom_saves_failed_total",
            "Requests whose changes were not saved",
        ),
        (
            "cloakroom_store_outages_total",
            "How often the store began not to answer",
        ),
    ];
    for (name, text) in counters {
        describe_counter!(name, Unit::Count, text);
    }
    let seconds = [
        ("cloakroom_load_seconds", "How long a load took"),
        ("cloakroom_save_seconds", "How long a write took"),
    ];
    for (name, text) in seconds {
        describe_histogram!(name, Unit::Seconds, text);
    }
    let bytes = [
        ("cloakroom_load_bytes", "Session data that a load brought"),
        (
            "cloakroom_save_bytes",
            "Session data that a write took along",
        ),
    ];
    for (name, text) in bytes {
        describe_histogram!(name, Unit::Bytes, text);
    }
    describe_gauge!(
        "cloakroom_store_up",
        Unit::Count,
        "1 while the store answers, 0 while it does not"
    );
}
