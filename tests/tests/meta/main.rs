//! The workspace itself: its sources, its dependencies, its book, and what must not compile.

mod arrows;
mod book;
mod events;
mod packages;
mod tidy;
