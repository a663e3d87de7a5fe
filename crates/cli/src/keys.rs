//! `cloakroom keys`: the key file of a server.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cloakroom::cookie::{KeyId, KeyRing, Secret};
use cloakroom::engine::OsEntropy;
use cloakroom_disk::{StagedFile, private_options, remove_file, sync_folder};
use serde::Serialize;

use crate::confirm::Confirmation;
use crate::failure::{Code, Failure};
use crate::keys_opened;
use crate::output::{Output, table};

pub(crate) const EXAMPLE: &str = "\
Example, to change the key of a site that several servers run. Each step is done on all of them
before the next:
  cloakroom keys add session.keys             # a new key, which opens and does not seal yet
  cloakroom keys activate session.keys ID     # it seals from now on, the former one still opens
  curl -s http://127.0.0.1:9000/metrics |     # do cookies still arrive under the former one?
    cloakroom keys list session.keys --metrics-stdin
  cloakroom keys retire session.keys OLD_ID   # when no session from before can be left

`keys add` is done once, and its file copied to the others: each draws another key. A server
reads its key file when it starts. A key is never printed; its id says nothing of it.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key file with one new key
    Generate(FileArguments),
    /// List the ids of the keys in a file, the active one first
    List {
        #[command(flatten)]
        file: FileArguments,
        /// Also print how many cookies were opened under each, by the metrics of the servers,
        /// which are read from the standard input in the text format of Prometheus
        #[arg(long)]
        metrics_stdin: bool,
    },
    /// Add a new key that opens, and does not seal yet
    Add(FileArguments),
    /// Seal with a key of the file from now on; the one before still opens
    Activate {
        #[command(flatten)]
        file: FileArguments,
        /// The key's id, as `keys list` prints it
        #[arg(value_parser = id)]
        id: KeyId,
    },
    /// Take a key out: the sessions that began under it end
    Retire {
        #[command(flatten)]
        file: FileArguments,
        /// The key's id, as `keys list` prints it
        #[arg(value_parser = id)]
        id: KeyId,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

#[derive(Debug, Args)]
struct FileArguments {
    /// The key file. It is for the server's user alone; comments in it are not kept
    #[arg(value_name = "FILE")]
    path: PathBuf,
    #[command(flatten)]
    output: Output,
}

fn id(text: &str) -> Result<KeyId, String> {
    let is_id = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_id.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    let number = number.ok_or("a key's id is 8 hexadecimal digits, as `keys list` prints it")?;
    Ok(number.to_be_bytes())
}

/// A key's id as it is printed.
pub(crate) fn id_text(id: &KeyId) -> String {
    format!("{:08x}", u32::from_be_bytes(*id))
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    id: String,
    active: bool,
    /// Cookies that were opened under it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<u64>,
}

impl Keys {
    fn of(ring: &KeyRing) -> Self {
        let ids = ring.secrets().iter().map(|secret| id_text(&secret.id()));
        let keys = ids.enumerate().map(|(at, id)| Key {
            id,
            active: at == 0,
            opened: None,
        });
        Self {
            keys: keys.collect(),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |key: &Key| match key.active {
            true => "active: seals and opens".to_owned(),
            false => "opens".to_owned(),
        };
        let keys = self.keys.iter();
        if self.keys.iter().all(|key| key.opened.is_none()) {
            let rows: Vec<_> = keys.map(|key| [key.id.clone(), state(key)]).collect();
            return table(f, ["ID", "STATE"], &rows);
        }
        let opened = |key: &Key| key.opened.unwrap_or_default().to_string();
        let rows: Vec<_> = keys
            .map(|key| [key.id.clone(), state(key), opened(key)])
            .collect();
        table(f, ["ID", "STATE", "COOKIES OPENED"], &rows)
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (file, ring) = match arguments.what {
        What::Generate(file) => {
            let ring = KeyRing::generate(&OsEntropy)?;
            make(&file.path, &ring)?;
            (file, ring)
        }
        What::List {
            file,
            metrics_stdin,
        } => {
            let ring = KeyRing::from_file(&file.path)?;
            let mut keys = Keys::of(&ring);
            if metrics_stdin {
                let opened = keys_opened::read()?;
                for key in &mut keys.keys {
                    key.opened = Some(opened.get(&key.id).copied().unwrap_or_default());
                }
            }
            return file.output.show(&keys);
        }
        What::Add(file) => {
            let ring = KeyRing::from_file(&file.path)?;
            let ring = ring.with_retired(Secret::generate(&OsEntropy)?)?;
            replace(&file.path, &ring)?;
            (file, ring)
        }
        What::Activate { file, id } => {
            let ring = known(&file.path, &id)?.activated(&id)?;
            replace(&file.path, &ring)?;
            (file, ring)
        }
        What::Retire {
            file,
            id,
            confirmation,
        } => {
            let ring = known(&file.path, &id)?.without(&id)?;
            confirmation.ask(
                &format!(
                    "The key {} is removed from {}: the sessions that began under it end, and \
                     nothing brings it back.",
                    id_text(&id),
                    file.path.display()
                ),
                "retire",
            )?;
            replace(&file.path, &ring)?;
            (file, ring)
        }
    };
    file.output.show(&Keys::of(&ring))
}

/// The ring of a file that has a key of this id.
fn known(path: &Path, id: &KeyId) -> Result<KeyRing, Failure> {
    let ring = KeyRing::from_file(path)?;
    match ring.secrets().iter().any(|secret| secret.id() == *id) {
        true => Ok(ring),
        false => Err(Failure::new(
            Code::NotFound,
            format!(
                "{} holds no key {}: `cloakroom keys list` prints those that it holds",
                path.display(),
                id_text(id)
            ),
        )),
    }
}

/// Writes a file that must not be there yet: one that is overwritten ends all sessions.
fn make(path: &Path, ring: &KeyRing) -> Result<(), Failure> {
    let written = || {
        let mut file = private_options().write(true).create_new(true).open(path)?;
        file.write_all(ring.to_text().as_bytes())?;
        file.sync_all()?;
        sync_folder(folder_of(path))
    };
    written().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            Code::Failed,
            format!(
                "{} is there already, and its keys would be lost: `cloakroom keys add` adds one \
                 to it",
                path.display()
            ),
        ),
        _ => cannot_write(path, &error),
    })
}

/// Replaces a key file in one step. Its owner stays: the server would not read it otherwise.
fn replace(path: &Path, ring: &KeyRing) -> Result<(), Failure> {
    let replaced = || {
        // Where the path is a link, the file that it leads to is replaced.
        let path = fs::canonicalize(path)?;
        let mut name = path.clone().into_os_string();
        name.push(".new");
        let name = PathBuf::from(name);
        // A crash may have left one.
        remove_file(&name)?;
        let mut staged = StagedFile::create(name.clone())?;
        staged.write(ring.to_text().as_bytes())?;
        staged.sync()?;
        keep_owner(&path, &name)?;
        staged.rename_to(&path)?;
        sync_folder(folder_of(&path))
    };
    replaced().map_err(|error: io::Error| cannot_write(path, &error))
}

#[cfg(unix)]
fn keep_owner(former: &Path, new: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let (owner, present) = (fs::metadata(former)?.uid(), fs::metadata(new)?.uid());
    match owner == present {
        true => Ok(()),
        false => chown(new, Some(owner), None),
    }
}

#[cfg(not(unix))]
fn keep_owner(former: &Path, _: &Path) -> io::Result<()> {
    fs::metadata(former).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!(
            "cannot write {}: {error}; the folder must be there, and yours to write to",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed() {
        assert_eq!(id("0a1b2c3d").map(|id| id_text(&id)), Ok("0a1b2c3d".into()));
        for bad in ["", "0a1b2c3", "0a1b2c3d4", "0a1b2c3g", "+a1b2c3d"] {
            assert!(id(bad).is_err(), "{bad}");
        }
    }
}
