//! `accounts.json`: read whole, written whole, never half.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::hashing;
use crate::DemoError;

/// The one version there is; a file of another is not ours to rewrite.
const VERSION: u32 = 1;

/// What is kept of an account, under its name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) id: String,
    /// An argon2id hash as a PHC string.
    pub(super) password: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(..)")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    accounts: BTreeMap<String, Kept>,
}

#[derive(Serialize)]
struct ContentRef<'a> {
    version: u32,
    accounts: &'a BTreeMap<String, Kept>,
}

/// Makes the folder, and what is missing of the way to it, for its owner alone.
pub(super) fn make_folder(folder: &Path) -> Result<(), DemoError> {
    let made = private_folders().recursive(true).create(folder);
    made.map_err(|source| DemoError::Folder {
        folder: folder.to_owned(),
        source,
    })
}

/// The accounts in the file; none where there is no file.
pub(super) fn load(file: &Path) -> Result<BTreeMap<String, Kept>, DemoError> {
    let refuse = |why: String| DemoError::Accounts {
        file: file.to_owned(),
        why,
    };
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let content: Content = serde_json::from_slice(&text).map_err(|error| {
        // Serde's own text may quote what it met: a hash, say.
        refuse(format!(
            "it is damaged at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    if content.version != VERSION {
        return Err(refuse(format!(
            "it is of version {}, this build reads {VERSION}",
            content.version
        )));
    }
    for (name, kept) in &content.accounts {
        if kept.id.is_empty() || !hashing::is_hash(&kept.password) {
            return Err(refuse(format!("it is damaged: no account of {name:?}")));
        }
    }
    Ok(content.accounts)
}

/// Replaces the file in one step: a crash leaves the old one or the new one.
pub(super) fn save(file: &Path, accounts: &BTreeMap<String, Kept>) -> io::Result<()> {
    let content = ContentRef {
        version: VERSION,
        accounts,
    };
    let text = serde_json::to_vec_pretty(&content)?;
    let draft = file.with_extension("json.new");
    // One that a crash has left behind might be open to others.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writer = private_files().write(true).create_new(true).open(&draft)?;
    writer.write_all(&text)?;
    writer.sync_all()?;
    drop(writer);
    std::fs::rename(&draft, file)?;
    file.parent().map_or(Ok(()), sync_folder)
}

#[cfg(unix)]
fn private_folders() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private_folders() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(unix)]
fn private_files() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_files() -> OpenOptions {
    OpenOptions::new()
}

/// A rename is only on disk once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be opened, and renames are journalled.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
