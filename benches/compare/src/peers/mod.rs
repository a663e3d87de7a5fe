//! The rivals, by their public API.

pub mod async_session;
pub mod axum_session;
pub mod jars;
pub mod tower_sessions;
