//! `cloakroom demo`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloakroom_demo::{DemoError, Options, Ready, serve};

use crate::failure::{Code, Failure};

/// How long work on other threads may take once the server has stopped.
const THREADS_STOP_MAX: Duration = Duration::from_secs(2);

pub(crate) const EXAMPLE: &str = "\
Example:
  cloakroom demo --listen 127.0.0.1:8080 --store sqlite:./demo.sqlite";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000", value_parser = address)]
    listen: SocketAddr,
    /// Where sessions are stored: memory:, file:PATH, sled:PATH, redb:PATH,
    /// sqlite:PATH, postgres://…, mysql://…, redis://… or cookie:?key_file=PATH [default: redb in the folder]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where accounts are kept, and sessions by default
    #[arg(long, value_name = "DIR", default_value = "./cloakroom-demo")]
    folder: PathBuf,
    /// Listen where other machines can reach, though cookies then travel in the clear
    #[arg(long)]
    allow_public_http: bool,
    /// Serve https, with a certificate made for this run, and bind sessions to their devices
    #[arg(long)]
    tls: bool,
}

/// An address with its port. `localhost` is taken for what it means.
fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "not an address and a port, such as 127.0.0.1:8000 or [::1]:8000".to_owned())
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let options = Options {
        listen: arguments.listen,
        store: arguments.store,
        folder: arguments.folder,
        allow_public_http: arguments.allow_public_http,
        tls: arguments.tls,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Failed, format!("cannot start: {error}")))?;
    let result = runtime.block_on(serve(options, |ready| {
        // Whoever has closed stdout does not want to know.
        let _ = announce(ready);
    }));
    // A request that is still open holds the store: with its task it goes.
    runtime.shutdown_timeout(THREADS_STOP_MAX);
    result.map_err(|error| {
        let code = match &error {
            DemoError::PublicHttp(_) => Code::Usage,
            DemoError::Store { source, .. } => Code::of(source),
            _ => Code::Failed,
        };
        Failure::new(code, error.to_string())
    })
}

fn announce(ready: &Ready) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let scheme = if ready.key_digest.is_some() {
        "https"
    } else {
        "http"
    };
    writeln!(out, "Cloakroom demo: {scheme}://{}/", ready.addr)?;
    writeln!(out, "  sessions in {}", ready.store)?;
    writeln!(out, "  accounts in {}", ready.folder.display())?;
    if let Some(digest) = &ready.key_digest {
        writeln!(
            out,
            "  its certificate is of its own making: a Chromium believes it by"
        )?;
        writeln!(out, "  --ignore-certificate-errors-spki-list={digest}")?;
    }
    writeln!(out, "Ctrl-C stops it; what is stored stays.")?;
    out.flush()
}
