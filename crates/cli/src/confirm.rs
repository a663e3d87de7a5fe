//! Asking before something that cannot be taken back.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::failure::{Code, Failure};

#[derive(Debug, Args)]
pub(crate) struct Confirmation {
    /// Do not ask for confirmation, as a script cannot be asked
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Asks at the terminal; the word has to be typed for it to be done.
    ///
    /// # Errors
    /// [`Code::NotConfirmed`] where another word is typed, or there is no terminal to ask at.
    pub(crate) fn ask(&self, what: &str, word: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::new(
                Code::NotConfirmed,
                format!("{what} To confirm without a terminal, give --yes. Nothing was done."),
            ));
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "{what}\nType {word} to go on: ")?;
        terminal.flush()?;
        let mut typed = String::new();
        io::stdin().lock().read_line(&mut typed)?;
        match typed.trim() == word {
            true => Ok(()),
            false => Err(Failure::new(
                Code::NotConfirmed,
                "not confirmed, so nothing was done",
            )),
        }
    }
}
