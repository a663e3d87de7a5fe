//! The workspace itself: its sources, its dependencies, and what must not compile.

mod arrows;
mod events;
mod packages;
mod tidy;
