//! The `cloakroom` command: for those who run a site on Cloakroom sessions.
//!
//! `cloakroom --help` says what there is; each subcommand is a file here.

mod audit;
mod bench;
#[cfg(test)]
mod book;
mod check;
mod completions;
mod confirm;
mod content;
mod cookie_input;
mod demo;
mod ended;
mod erase;
mod export;
mod failure;
mod histogram;
mod keys;
mod keys_opened;
mod list;
mod migrate;
mod open_cookie;
mod output;
mod progress;
mod revoke;
mod scan;
mod scratch;
mod session;
mod show;
mod stats;
mod store;
mod store_url;
mod sweep;
mod why;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::failure::{EXIT_CODES, Failure};
use self::store_url::StoreUrl;

/// How long work on other threads may take once the subcommand is done.
const THREADS_STOP_MAX: Duration = Duration::from_secs(2);

/// Looks into a store of Cloakroom sessions, cleans it, ends sessions, changes keys.
#[derive(Debug, Parser)]
#[command(
    name = "cloakroom",
    version,
    arg_required_else_help = true,
    after_help = format!(
        "{}\n\n{EXIT_CODES}\n\n`cloakroom SUBCOMMAND --help` has an example of each.",
        store::NAMING
    )
)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hold a site's engine against what a security standard asks of sessions
    #[command(after_help = audit::EXAMPLE)]
    Audit(audit::Arguments),
    /// Remove expired sessions, once or in a rhythm
    #[command(after_help = help(sweep::EXAMPLE))]
    Sweep(sweep::Arguments),
    /// Count the sessions of a store, by bytes, age and subject
    #[command(after_help = help(stats::EXAMPLE))]
    Stats(stats::Arguments),
    /// List sessions, all or a user's
    #[command(after_help = help(list::EXAMPLE))]
    List(list::Arguments),
    /// Show one session: its header, and its values where asked for
    #[command(after_help = help(show::EXAMPLE))]
    Show(show::Arguments),
    /// Say what became of a session: whether it opens, where it moved, why it ended
    #[command(after_help = help_with_input(why::EXAMPLE))]
    Why(why::Arguments),
    /// End a session, a user's, or everybody's
    #[command(after_help = help(revoke::EXAMPLE))]
    Revoke(revoke::Arguments),
    /// Print all that is stored of a user, for a request under privacy law
    #[command(after_help = help(export::EXAMPLE))]
    Export(export::Arguments),
    /// End a user's sessions and remove every trace of them
    #[command(after_help = help(erase::EXAMPLE))]
    Erase(erase::Arguments),
    /// Move all sessions from one store to another while the site serves
    #[command(after_help = help(migrate::EXAMPLE))]
    Migrate(migrate::Arguments),
    /// Make a key file, and change its keys
    #[command(after_help = keys::EXAMPLE)]
    Keys(keys::Arguments),
    /// Say what stands in a cookie that holds its session, and why it opens or not
    #[command(after_help = help_with_input(open_cookie::EXAMPLE))]
    OpenCookie(open_cookie::Arguments),
    /// Ask a real store about each clause of the contract of Cloakroom's stores
    #[command(after_help = help_with_place(check::EXAMPLE))]
    Check(check::Arguments),
    /// Measure the calls of a store from here
    #[command(after_help = help_with_place(bench::EXAMPLE))]
    Bench(bench::Arguments),
    /// Print a script that completes this command in a shell
    #[command(after_help = completions::EXAMPLE)]
    Completions(completions::Arguments),
    /// Run the demo site: log in, count, fill a cart, see what it costs
    #[command(after_help = demo::EXAMPLE)]
    Demo(demo::Arguments),
}

/// What follows the options of a subcommand over a store.
fn help(example: &str) -> String {
    format!("{}\n\n{example}", store::NAMING)
}

fn help_with_place(example: &str) -> String {
    format!("{}\n\n{}", scratch::PLACE, help(example))
}

fn help_with_input(example: &str) -> String {
    format!("{}\n\n{}", cookie_input::INPUT, help(example))
}

fn main() -> ExitCode {
    let command = Command::try_parse().unwrap_or_else(|error| explain(error).exit());
    log_to_stderr();
    let result = match command.what {
        What::Audit(arguments) => audit::run(arguments),
        What::Sweep(arguments) => block_on(sweep::run(arguments)),
        What::Stats(arguments) => block_on(stats::run(arguments)),
        What::List(arguments) => block_on(list::run(arguments)),
        What::Show(arguments) => block_on(show::run(arguments)),
        What::Why(arguments) => block_on(why::run(arguments)),
        What::Revoke(arguments) => block_on(revoke::run(arguments)),
        What::Export(arguments) => block_on(export::run(arguments)),
        What::Erase(arguments) => block_on(erase::run(arguments)),
        What::Migrate(arguments) => block_on(migrate::run(arguments)),
        What::Keys(arguments) => keys::run(arguments),
        What::OpenCookie(arguments) => block_on(open_cookie::run(arguments)),
        What::Check(arguments) => block_on(check::run(arguments)),
        What::Bench(arguments) => block_on(bench::run(arguments)),
        What::Completions(arguments) => completions::run(&arguments, Command::command()),
        What::Demo(arguments) => demo::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cloakroom: {failure}");
            failure.exit_code()
        }
    }
}

/// Runs a subcommand to its end.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(THREADS_STOP_MAX);
    result
}

/// clap quotes what it does not know, and what is no value of an argument, such as no digest.
/// That may be a store's URL which its option was forgotten before, password and all.
fn explain(error: clap::Error) -> clap::Error {
    let unknown = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let mut quoted = unknown.iter().filter_map(|kind| error.get(*kind));
    let value = error.get(ContextKind::InvalidValue);
    let has_password = value.is_some_and(|value| {
        let value = value.to_string();
        value.contains('@') || StoreUrl::parse(&value).is_ok_and(|url| url.has_password())
    });
    if !has_password && !quoted.any(|quoted| quoted.to_string().contains(['@', ':'])) {
        return error;
    }
    Command::command().error(
        ErrorKind::UnknownArgument,
        "an argument is none of this command's; a store's URL is given as --store URL, behind \
         the subcommand",
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
