//! What is timed, W1 to W8, as the tables call them.

mod cookie;
pub mod durable;
mod growth;
pub mod request;
mod store;
