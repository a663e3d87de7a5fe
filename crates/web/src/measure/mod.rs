//! Counting and timing what the engine does, where the feature `metrics` asks for it. Without
//! it, the same calls do nothing.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod nothing;

use cloakroom_core::store::EndReason;

#[cfg(feature = "metrics")]
pub(crate) use facade::{Begun, Measures};
#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::{Begun, Measures};

/// What is counted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Created,
    Rotated,
    Login,
    PrivilegeChanged,
    Conflict,
    LateWrite,
    SaveFailed,
    StoreDown,
}

/// What is counted of devices: what they did, and why a request has not proven its own.
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
const DEVICE_RESULTS: [&str; 12] = [
    "bound",
    "refreshed",
    "missing",
    "expired",
    "forged",
    "unreachable",
    "server_error",
    "quota_exceeded",
    "skipped",
    "cross_site",
    "wrong_key",
    "never_bound",
];

/// Why a token opened no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It could not be a token of this store.
    Malformed,
    /// It was sealed by no key of this server's, or changed since.
    Forged,
    /// Why the session ended that it opened; `Unknown` where nothing stands under it.
    Ended(EndReason),
}

impl Refused {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Ended(reason) => reason.as_str(),
        }
    }
}
