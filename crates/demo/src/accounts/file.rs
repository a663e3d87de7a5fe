//! `accounts.json`: read whole, written whole, never half.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use cloakroom_disk::replace_file;
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

/// Replaces the file in one step: a crash leaves the old accounts or the new ones.
pub(super) fn save(file: &Path, accounts: &BTreeMap<String, Kept>) -> io::Result<()> {
    let content = ContentRef {
        version: VERSION,
        accounts,
    };
    let text = serde_json::to_vec_pretty(&content)?;
    replace_file(file, &text)
}
