//! Nothing is measured.

use cloakroom_core::store::EndReason;

use super::{Counted, Refused};

/// When something began that is not timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun;

impl Begun {
    pub(crate) fn now() -> Self {
        Self
    }
}

#[derive(Debug, Default)]
pub(crate) struct Measures;

impl Measures {
    pub(crate) fn of(_: &'static str) -> Self {
        Self
    }

    pub(crate) fn count(&self, _: Counted) {}

    pub(crate) fn ended(&self, _: EndReason, _: u64) {}

    pub(crate) fn refused(&self, _: Refused) {}

    pub(crate) fn device(&self, _: &'static str) {}

    pub(crate) fn loaded(&self, _: Begun, _: Option<usize>) {}

    pub(crate) fn saved(&self, _: Begun, _: Option<usize>) {}

    pub(crate) fn store_is_up(&self, _: bool) {}
}
