//! Rights of a group to what is private, in a binary of its own: refusing them is a
//! choice for the whole process.

#![cfg(all(
    unix,
    feature = "cookie",
    feature = "file",
    feature = "redb",
    feature = "sled",
    feature = "sqlite"
))]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs::{Permissions, create_dir, read_dir, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cloakroom::ErrorKind;
use cloakroom::cookie::KeyRing;
use cloakroom::engine::OsEntropy;

/// A database, a folder of files or a key file in a folder of its own.
fn url(scheme: &str, folder: &Path) -> String {
    let folder = folder.join(scheme);
    match scheme {
        "file" | "sled" => format!("{scheme}:{}", folder.display()),
        _ => format!("{scheme}:{}", folder.join("db").display()),
    }
}

/// Gives the group rights to a folder and to all that is in it.
fn open_to_group(path: &Path) {
    let mode = if path.is_dir() { 0o770 } else { 0o660 };
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
    if path.is_dir() {
        for entry in read_dir(path).unwrap() {
            open_to_group(&entry.unwrap().path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn group_rights_are_taken_until_they_are_refused() {
    const SCHEMES: [&str; 4] = ["file", "redb", "sled", "sqlite"];
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let key_file = folder.join("keys");
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    std::fs::write(&key_file, ring.to_text().as_bytes()).unwrap();
    for scheme in SCHEMES {
        create_dir(folder.join(scheme)).unwrap();
        set_permissions(folder.join(scheme), Permissions::from_mode(0o700)).unwrap();
        drop(cloakroom::open(&url(scheme, folder)).await.unwrap());
    }
    let process = |refused: bool| {
        let key_file = key_file.clone();
        async move {
            for scheme in SCHEMES {
                open_to_group(&folder.join(scheme));
                let opened = cloakroom::open(&url(scheme, folder)).await;
                match refused {
                    false => drop(opened.unwrap()),
                    true => {
                        let error = opened.unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
                        let text = format!("{error}: {:?}", std::error::Error::source(&error));
                        assert!(text.contains("the group has rights"), "{scheme}: {text}");
                        assert!(text.contains("chmod go-rwx"), "{scheme}: {text}");
                    }
                }
            }
            open_to_group(&key_file);
            assert_eq!(KeyRing::from_file(&key_file).is_err(), refused);
        }
    };
    process(false).await;
    cloakroom::stores::refuse_group_rights();
    process(true).await;
}
