//! The `cloakroom` command.
//!
//! `cloakroom demo` runs a small web site on Cloakroom sessions; see
//! `cloakroom demo --help`.

mod audit;
mod demo;

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
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
    /// Hold a site's engine against what a security standard asks of sessions
    #[command(after_help = audit::EXAMPLE)]
    Audit(audit::Arguments),
    /// Run the demo site: log in, count, fill a cart, see what it costs
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let command = Command::try_parse().unwrap_or_else(|error| explain(error).exit());
    log_to_stderr();
    let result = match command.what {
        What::Audit(arguments) => audit::run(arguments),
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

/// clap quotes what it does not know. That may be a store's URL which its option was
/// forgotten before, password and all.
fn explain(error: clap::Error) -> clap::Error {
    let unknown = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let mut quoted = unknown.iter().filter_map(|kind| error.get(*kind));
    if !quoted.any(|quoted| quoted.to_string().contains(['@', ':'])) {
        return error;
    }
    Command::command().error(
        ErrorKind::UnknownArgument,
        "an argument is none of this command's; a store's URL is given as demo --store URL",
    )
}

/// Warnings, or what `RUST_LOG` asks for.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
