//! Which store a subcommand works on, and how it is opened.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use clap::Args;
use cloakroom::store::{AnySessionStore, SessionStore as _};
use cloakroom_disk::check_private_file;

use crate::failure::Failure;
use crate::output::Output;
use crate::store_url::StoreUrl;

/// The variable that names the store where no option does.
const VARIABLE: &str = "CLOAKROOM_STORE";

/// Bytes of the longest URL that is read from a file.
const URL_BYTES_MAX: u64 = 16 * 1024;

/// What a store may be named by, as `--help` says it.
pub(crate) const NAMING: &str = "\
STORE names a store in one of three ways:
  redb:./sessions.redb, redis://cache:6379 …   its URL, where there is no password in it
  @FILE       a private file (mode 0600) whose first line is the URL
  env:NAME    an environment variable that holds the URL, or @FILE
Without --store, the variable CLOAKROOM_STORE names it, by its URL or @FILE. A password on the
command line is refused, since every user of the machine can read it there.";

/// The options that each subcommand over a store takes.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// The store: its URL, @FILE or env:NAME [default: env:CLOAKROOM_STORE]
    #[arg(long, value_name = "STORE")]
    store: Option<StoreName>,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl StoreArguments {
    /// The store's URL.
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        match &self.store {
            Some(name) => name.read(),
            None if std::env::var_os(VARIABLE).is_none() => Err(Failure::usage(format!(
                "no store is named: give --store, or the store's URL in the environment \
                 variable {VARIABLE}"
            ))),
            None => from_variable(VARIABLE),
        }
    }

    /// Opens the store, does the work, and closes the store.
    pub(crate) async fn with_store<T>(
        &self,
        work: impl AsyncFnOnce(&AnySessionStore) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store = self.url()?.open_existing().await?;
        let done = work(&store).await;
        let closed = close(&store).await;
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// Closes a store: sled keeps the last touches then, and the file can be opened again.
pub(crate) async fn close(store: &AnySessionStore) -> Result<(), Failure> {
    if let Some(close) = store.capabilities().close {
        close.close().await?;
    }
    Ok(())
}

/// A store as the command line names it. It is not printed: it may hold a password.
#[derive(Clone)]
pub(crate) struct StoreName(String);

impl From<String> for StoreName {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreName(..)")
    }
}

impl StoreName {
    /// The URL that the name leads to.
    pub(crate) fn read(&self) -> Result<StoreUrl, Failure> {
        if let Some(path) = self.0.strip_prefix('@') {
            return from_file(Path::new(path));
        }
        if let Some(variable) = self.0.strip_prefix("env:") {
            return from_variable(variable);
        }
        let url = StoreUrl::parse(&self.0)?;
        if url.has_password() {
            return Err(Failure::usage(
                "the store's URL on the command line holds a password, which every user of this \
                 machine can read there: put the URL into CLOAKROOM_STORE or another variable \
                 (env:NAME), or into a private file (@FILE)",
            ));
        }
        Ok(url)
    }
}

fn from_variable(variable: &str) -> Result<StoreUrl, Failure> {
    // The source of an error is dropped: it would hold the text.
    let url = std::env::var(variable).map_err(|_| {
        Failure::usage(format!(
            "the environment variable {variable} is not set, or is not a text"
        ))
    })?;
    match url.trim().strip_prefix('@') {
        Some(path) => from_file(Path::new(path)),
        None => StoreUrl::parse(url.trim()),
    }
}

fn from_file(path: &Path) -> Result<StoreUrl, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        check_private_file(&file, path)?;
        file.take(URL_BYTES_MAX).read_to_string(&mut text)
    });
    read.map_err(|error| {
        Failure::usage(format!(
            "cannot read the store's URL from {shown}: {error}; the file must be there and \
             private (chmod 600)"
        ))
    })?;
    StoreUrl::parse(text.lines().next().unwrap_or_default().trim())
}
