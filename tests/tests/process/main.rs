//! What needs a process of its own: stores whose process is killed, or watched while it
//! writes, the programs of the README
//! and the book, and the book's reader in Python.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod migration;
mod python_reader;
mod readme;
#[cfg(target_os = "linux")]
mod syscalls;
