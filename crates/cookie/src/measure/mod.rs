//! Counting through the `metrics` facade, where the feature `metrics` asks for it.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod nothing;

#[cfg(feature = "metrics")]
pub(crate) use facade::OpenedUnder;
#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::OpenedUnder;
