//! `cloakroom completions`.

use std::io::{self, Write as _};

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom completions bash > ~/.local/share/bash-completion/completions/cloakroom";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell to complete in
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    // Written at once: the generator panics where its writer fails, and a pipe may close.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    match io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
