//! What needs a process of its own: stores whose process is killed, or watched while it
//! writes, and the program of the README.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod migration;
mod readme;
#[cfg(target_os = "linux")]
mod syscalls;
