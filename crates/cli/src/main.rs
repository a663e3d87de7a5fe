//! The `cloakroom` command.
//!
//! `cloakroom demo` runs a small web site on Cloakroom sessions; see
//! `cloakroom demo --help`.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Sessions for Rust web services.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the demo site: log in, count, fill a cart, see what it costs
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let command = Command::parse();
    log_to_stderr();
    let result = match command.what {
        What::Demo(arguments) => demo::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloakroom: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Warnings, or what `RUST_LOG` asks for.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
