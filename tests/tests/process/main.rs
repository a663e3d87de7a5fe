//! Stores on the disk of this machine whose process is killed, or watched while it
//! writes.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

#[cfg(unix)]
mod crash;
#[cfg(target_os = "linux")]
mod syscalls;
