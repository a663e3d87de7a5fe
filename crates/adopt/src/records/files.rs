//! Files of Django.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind};
use tokio::task::spawn_blocking;

use super::{FoundRecord, Records};

/// The most that is read of a file, in bytes: more than any session that is taken has.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// The files of Django's engine `file`.
#[derive(Clone, Debug)]
pub struct DjangoFiles {
    folder: PathBuf,
    cookie_name: String,
}

impl DjangoFiles {
    /// Those in the folder `SESSION_FILE_PATH`, by default the one for temporary files, whose
    /// names begin with `SESSION_COOKIE_NAME`, by default `sessionid`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where there is no such folder.
    pub fn open(folder: impl AsRef<Path>, cookie_name: &str) -> Result<Self, Error> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            let why = format!(
                "the former sessions in {} cannot be read: it must be the folder of Django's \
                 SESSION_FILE_PATH",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Misconfigured, why));
        }
        Ok(Self {
            folder: folder.to_owned(),
            cookie_name: cookie_name.to_owned(),
        })
    }

    /// Does something with the file of a key, off the runtime's threads; `None` where there is
    /// no such file.
    async fn run<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        // A key becomes part of a path.
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let path = self.folder.join(format!("{}{key}", self.cookie_name));
        let done = spawn_blocking(move || work(&path)).await;
        match done.unwrap_or_else(|source| Err(io::Error::other(source))) {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                let why = "the former sessions in files cannot be reached";
                Err(Error::new(ErrorKind::Unavailable, why).with_source(source))
            }
        }
    }
}

impl Records for DjangoFiles {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            let found = self.run(key, |path| {
                let mut bytes = Vec::new();
                File::open(path)?
                    .take(FILE_BYTES_MAX)
                    .read_to_end(&mut bytes)?;
                Ok(bytes)
            });
            Ok(found.await?.map(FoundRecord::new))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.run(key, |path| fs::remove_file(path)).await?;
            Ok(())
        })
    }
}
