//! The `tracing` events of a test.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// `tracing` decides once for a whole process who may hear of an event, so that two tests that
/// collect at once could miss some.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Collects the `tracing` events of this thread, of every level, until it is dropped. Another
/// test of the same process that collects too waits until then.
///
/// It misses an event that another thread, which collects none, is the first to tell. So the
/// other tests of its binary collect too, or tell none.
///
/// ```
/// use cloakroom_testkit::CollectedEvents;
///
/// let events = CollectedEvents::begin();
/// tracing::info!(event = "session_ended", reason = "idle", "a session has ended");
/// let event = events.take().remove(0);
/// assert_eq!(event.name(), "session_ended");
/// assert_eq!(event.fields["reason"], "idle");
/// assert_eq!(event.message(), "a session has ended");
/// assert!(events.take().is_empty());
/// ```
#[derive(Debug)]
pub struct CollectedEvents {
    events: Arc<Mutex<Vec<CollectedEvent>>>,
    _subscribed: DefaultGuard,
    _alone: MutexGuard<'static, ()>,
}

/// An event, as a subscriber is told of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CollectedEvent {
    /// How important it is.
    pub level: Level,
    /// The module that it comes from.
    pub target: String,
    /// What it says, `message` and `event` included.
    pub fields: BTreeMap<String, String>,
}

impl CollectedEvent {
    /// Its field `event`; empty where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field("event")
    }

    /// Its text; empty where it has none.
    #[must_use]
    pub fn message(&self) -> &str {
        self.field("message")
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl fmt::Display for CollectedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message())?;
        let fields = self.fields.iter().filter(|(name, _)| *name != "message");
        for (name, value) in fields {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl CollectedEvents {
    /// Collects from now on.
    #[must_use]
    pub fn begin() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let events = Arc::default();
        let collector = Collector {
            events: Arc::clone(&events),
        };
        Self {
            events,
            _subscribed: tracing::subscriber::set_default(collector),
            _alone: alone,
        }
    }

    /// Takes those since it was last called, in their order.
    #[must_use]
    pub fn take(&self) -> Vec<CollectedEvent> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes those since it was last called; of those of this level, and of the more severe,
    /// answers a line each, with its level, target, text and fields.
    #[must_use]
    pub fn take_text(&self, least: Level) -> String {
        let mut events = self.take();
        events.retain(|event| event.level <= least);
        events.iter().map(|event| format!("{event}\n")).collect()
    }
}

struct Collector {
    events: Arc<Mutex<Vec<CollectedEvent>>>,
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        let event = CollectedEvent {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            fields: fields.0,
        };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
