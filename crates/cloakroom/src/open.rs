//! A store by its URL.

use cloakroom_core::{AnyStore, Error, ErrorKind};

/// Opens the store that a URL names:
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | in this process's memory | `memory` |
/// | `file:PATH` | one file a session in the folder PATH, made where there is none | `file` |
/// | `sled:PATH` | a sled database in the folder PATH, made where there is none | `sled` |
/// | `redb:PATH` | a redb database in the file PATH, made where there is none | `redb` |
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = cloakroom::open("memory:").await?;
/// let error = cloakroom::open("memori:").await.unwrap_err();
/// assert_eq!(error.kind(), cloakroom::ErrorKind::Misconfigured);
/// # let _ = store;
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`ErrorKind::Misconfigured`] for a URL that names no store of this build;
/// what the store says where it cannot be opened. The URL's text is never
/// quoted beyond its scheme: it may hold a password.
pub async fn open(url: &str) -> Result<AnyStore, Error> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(refuse("a store URL begins with its scheme and a colon"));
    };
    if let Some((_, options)) = rest.split_once('?')
        && !options.is_empty()
    {
        return Err(refuse("these stores take no options after a ?"));
    }
    let path = rest.split('?').next().unwrap_or_default();
    match scheme {
        "memory" if path.is_empty() => memory(),
        "memory" => Err(refuse("memory: takes no path")),
        "file" if path.is_empty() => Err(refuse("file: needs the path of a folder, file:PATH")),
        "file" => file(path),
        "redb" if path.is_empty() => Err(refuse("redb: needs the path of a file, redb:PATH")),
        "redb" => redb(path),
        "sled" if path.is_empty() => Err(refuse("sled: needs the path of a folder, sled:PATH")),
        "sled" => sled(path),
        _ => Err(refuse("no such scheme")),
    }
}

fn refuse(why: &'static str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{why}; a store is one of memory:, file:PATH, sled:PATH and redb:PATH"),
    )
}

#[cfg(feature = "memory")]
fn memory() -> Result<AnyStore, Error> {
    Ok(AnyStore::new(cloakroom_memory::MemoryStore::default()))
}

#[cfg(not(feature = "memory"))]
fn memory() -> Result<AnyStore, Error> {
    Err(not_built("memory"))
}

#[cfg(feature = "file")]
fn file(path: &str) -> Result<AnyStore, Error> {
    cloakroom_file::FileStore::open(path).map(AnyStore::new)
}

#[cfg(not(feature = "file"))]
fn file(_: &str) -> Result<AnyStore, Error> {
    Err(not_built("file"))
}

#[cfg(feature = "redb")]
fn redb(path: &str) -> Result<AnyStore, Error> {
    cloakroom_redb::RedbStore::open(path).map(AnyStore::new)
}

#[cfg(not(feature = "redb"))]
fn redb(_: &str) -> Result<AnyStore, Error> {
    Err(not_built("redb"))
}

#[cfg(feature = "sled")]
fn sled(path: &str) -> Result<AnyStore, Error> {
    cloakroom_sled::SledStore::open(path).map(AnyStore::new)
}

#[cfg(not(feature = "sled"))]
fn sled(_: &str) -> Result<AnyStore, Error> {
    Err(not_built("sled"))
}

#[cfg(not(all(
    feature = "file",
    feature = "memory",
    feature = "redb",
    feature = "sled"
)))]
fn not_built(feature: &'static str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("this program was built without cloakroom's feature `{feature}`"),
    )
}

#[cfg(all(
    test,
    feature = "file",
    feature = "memory",
    feature = "redb",
    feature = "sled"
))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_names_no_store_says_which_ones_there_are() {
        for (url, part) in [
            ("", "begins with its scheme"),
            ("memory", "begins with its scheme"),
            ("memory:x", "takes no path"),
            ("sled:", "needs the path"),
            ("file:", "needs the path"),
            ("redb:", "needs the path"),
            ("sled:?x", "no options"),
            ("memory:?size=1", "no options"),
            ("Memory:", "no such scheme"),
            ("redis://:hunter2@host", "no such scheme"),
        ] {
            let error = open(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
            let text = error.to_string();
            assert!(
                text.contains(part) && text.contains("sled:PATH"),
                "{url}: {text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn each_url_opens_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let memory = open("memory:").await.unwrap();
        assert!(format!("{memory:?}").contains("MemoryStore"));
        let path = folder.path().join("a folder").join("sessions");
        let sled = open(&format!("sled:{}", path.display())).await.unwrap();
        assert!(format!("{sled:?}").contains("SledStore"));
        assert!(path.join("db").exists());
        let path = folder.path().join("another").join("sessions");
        let file = open(&format!("file:{}", path.display())).await.unwrap();
        assert!(format!("{file:?}").contains("FileStore"));
        assert!(path.join("v1").exists());
        let path = folder.path().join("a third").join("sessions.redb");
        let redb = open(&format!("redb:{}", path.display())).await.unwrap();
        assert!(format!("{redb:?}").contains("RedbStore"));
        assert!(path.is_file());
    }
}
