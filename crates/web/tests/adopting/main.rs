//! Sessions of another library are adopted: nobody is logged out, and nobody comes back.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod orders;
mod outcomes;
mod world;
