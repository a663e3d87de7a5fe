//! Measuring the sweep through the `metrics` facade, where the feature `metrics` asks for it.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod nothing;

#[cfg(feature = "metrics")]
pub(super) use facade::Measures;
#[cfg(not(feature = "metrics"))]
pub(super) use nothing::Measures;
