//! A place of its own in or beside a store, for what must not touch the sessions there.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cloakroom::engine::{Entropy as _, OsEntropy};
use cloakroom::store::{SessionStore as _, Stored};
use cloakroom::{AnyStore, Timestamp};

use crate::failure::{Code, Failure};
use crate::scan;
use crate::store::close;
use crate::store_url::StoreUrl;

/// The table in a database. It stays, empty, for the next time.
const TABLE: &str = "cloakroom_scratch";

/// How many records one step of emptying removes.
const STEP: usize = 1_000;

/// What `check` and `bench` do to a store, as `--help` says it.
pub(crate) const PLACE: &str = "\
It works in a place of its own and never where sessions are: in a new folder beside a file or
folder of sessions, which is removed at the end; in the table cloakroom_scratch of a database,
which is left empty; under keys of Redis that begin with cloakroom-scratch-, which are removed
or expire within an hour.
Other options of the URL count as they stand. It is a load on the server all the same.";

/// A place of its own.
pub(crate) struct Scratch {
    url: StoreUrl,
    /// Where it is, for the report.
    pub(crate) place: String,
    folder: Option<PathBuf>,
}

impl Scratch {
    /// Beside the store that a URL names, which is not opened.
    pub(crate) fn beside(url: StoreUrl) -> Result<Self, Failure> {
        let mut random = [0; 4];
        OsEntropy.fill(&mut random)?;
        let random = format!("{:08x}", u32::from_be_bytes(random));
        let mut folder = None;
        // The sessions of a former store must not move into what is removed at the end.
        let url = url.without_former();
        let (url, place) = match url.scheme.as_str() {
            "memory" => (url, "memory".to_owned()),
            // Epochs stand in another store, among those of real subjects.
            "cookie" => (url.without(&["revocation"]), "cookies".to_owned()),
            "redis" | "rediss" | "redis+unix" => {
                let prefix = format!("cloakroom-scratch-{random}:");
                let place = format!("keys that begin with {prefix}");
                (url.with("prefix", &prefix), place)
            }
            _ if url.is_local() => {
                let beside = make_folder(Path::new(&url.place), &random)?;
                let place = beside.display().to_string();
                let mut url = url;
                url.place = beside.join("sessions").display().to_string();
                folder = Some(beside);
                (url, place)
            }
            _ => (url.with("table", TABLE), format!("the table {TABLE}")),
        };
        Ok(Self { url, place, folder })
    }

    /// The scheme of the store.
    pub(crate) fn scheme(&self) -> &str {
        &self.url.scheme
    }

    /// Opens the store there, does the work, and removes what is left of it.
    pub(crate) async fn with_store<T>(
        &self,
        work: impl AsyncFnOnce(&AnyStore) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store = cloakroom::open(&self.url.text()).await?;
        let done = match self.empty().await {
            Ok(()) => work(&store).await,
            Err(error) => Err(error),
        };
        let closed = store.close().await;
        let emptied = self.empty().await;
        let done = done?;
        emptied?;
        closed?;
        Ok(done)
    }

    /// Removes all that stands in the place, where it is one on a server.
    async fn empty(&self) -> Result<(), Failure> {
        if self.folder.is_some() || ["memory", "cookie"].contains(&self.scheme()) {
            return Ok(());
        }
        let store = self.url.clone().open_or_make().await?;
        if let Some(sweep) = store.capabilities().sweep {
            while sweep.sweep(Timestamp::MAX, STEP).await?.more {}
        } else {
            let mut found = Vec::new();
            scan::each(&store, |item| {
                // A rotation mark leads elsewhere, and expires by itself.
                if !matches!(item.stored, Ok(Stored::Rotated { .. })) {
                    found.push(item.digest);
                }
                ControlFlow::Continue(())
            })
            .await?;
            for digest in found {
                store.delete(&digest).await?;
            }
        }
        close(&store).await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // What cannot be removed lies under a name that says what it is.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A new folder beside a path, in the same file system, for the same disk is to be asked.
fn make_folder(path: &Path, random: &str) -> Result<PathBuf, Failure> {
    // A slash at its end would put the new folder among the sessions.
    let mut name = path.components().as_path().as_os_str().to_owned();
    name.push(format!(".scratch-{random}"));
    let folder = PathBuf::from(name);
    fs::create_dir(&folder).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!(
                "cannot make the folder {} to work in: {error}; the folder around it must be \
                 there, and yours to write to",
                folder.display()
            ),
        )
    })?;
    Ok(folder)
}
