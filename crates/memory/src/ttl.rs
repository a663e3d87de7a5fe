//! How long moka keeps what is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::Clock;
use cloakroom_core::store::{KeyDigest, Stored};
use moka::Expiry;

/// moka cannot count centuries, and no session lives that long.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// moka drops what is stored once its deadline has passed by this clock. This only frees
/// memory: the engine judges expiry.
pub(crate) struct TimeToLive(pub(crate) Arc<dyn Clock>);

impl TimeToLive {
    fn ttl(&self, stored: &Stored) -> Option<Duration> {
        let left = stored.expires_at().saturating_since(self.0.now());
        Some(left.min(TTL_MAX))
    }
}

impl Expiry<KeyDigest, Arc<Stored>> for TimeToLive {
    fn expire_after_create(
        &self,
        _: &KeyDigest,
        stored: &Arc<Stored>,
        _: Instant,
    ) -> Option<Duration> {
        self.ttl(stored)
    }

    fn expire_after_update(
        &self,
        _: &KeyDigest,
        stored: &Arc<Stored>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.ttl(stored)
    }
}
