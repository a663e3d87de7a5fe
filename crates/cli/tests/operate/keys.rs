//! `keys`: a key file from its first key to the change of it.

use std::fs;
use std::path::Path;
use std::process::Output;

use cloakroom::cookie::KeyRing;
use tempfile::tempdir;

use crate::support::{cloakroom, failure, json, over_with_input, text};

fn keys(arguments: &[&str], file: &Path, more: &[&str]) -> Output {
    let file = file.to_str().unwrap();
    let arguments = [&["keys"], arguments, &[file], more].concat();
    cloakroom(&arguments).output().unwrap()
}

/// The ids of a file's keys, the active one first.
fn ids(file: &Path) -> Vec<String> {
    let listed = json(keys(&["list"], file, &["--json"]));
    let listed = listed["keys"].as_array().unwrap();
    let active = listed.iter().map(|key| key["active"] == true);
    let expected = (0..listed.len()).map(|at| at == 0);
    assert!(active.eq(expected), "the first one is active");
    let ids = listed.iter().map(|key| key["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn a_key_is_made_added_activated_and_retired() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    let said = text(keys(&["generate"], &file, &[]));
    let first = ids(&file).remove(0);
    assert!(
        said.contains(&format!("{first}  active: seals and opens")),
        "{said}"
    );
    let secret = fs::read_to_string(&file).unwrap();
    assert!(!said.contains(secret.trim()), "{said}");

    text(keys(&["add"], &file, &[]));
    let [active, second] = ids(&file).try_into().unwrap();
    assert_eq!(active, first);
    text(keys(&["activate"], &file, &[&second]));
    assert_eq!(ids(&file), [second.clone(), first.clone()]);
    assert!(fs::read_to_string(&file).unwrap().ends_with(&secret));

    // Nothing is removed unasked.
    let asked = failure(keys(&["retire"], &file, &[&first]), 6);
    assert!(asked.contains("--yes"), "{asked}");
    assert_eq!(ids(&file).len(), 2);
    text(keys(&["retire"], &file, &[&first, "--yes"]));
    assert_eq!(ids(&file).as_slice(), std::slice::from_ref(&second));
    assert_eq!(KeyRing::from_file(&file).unwrap().secrets().len(), 1);

    let active = failure(keys(&["retire"], &file, &[&second, "--yes"]), 2);
    assert!(active.contains("activate another one"), "{active}");
    let unknown = failure(keys(&["activate"], &file, &["00000000"]), 3);
    assert!(unknown.contains("keys list"), "{unknown}");
}

#[test]
fn a_list_says_how_many_cookies_still_arrive_under_each_key() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    text(keys(&["generate"], &file, &[]));
    text(keys(&["add"], &file, &[]));
    let [active, other] = ids(&file).try_into().unwrap();
    let listed = |metrics: &str, more: &[&str]| {
        let path = file.to_str().unwrap();
        let arguments = [&["keys", "list", path, "--metrics-stdin"], more].concat();
        over_with_input("memory:", &arguments, metrics)
    };
    let metrics = format!("cloakroom_cookies_opened_total{{key=\"{active}\"}} 12\n");
    let said = text(listed(&metrics, &[]));
    assert!(said.contains("COOKIES OPENED"), "{said}");
    let row = said.lines().find(|line| line.contains(&other)).unwrap();
    assert!(row.trim_end().ends_with(" 0"), "{said}");
    let said = json(listed(&metrics, &["--json"]));
    assert_eq!(said["keys"][0]["opened"], 12);
    assert_eq!(said["keys"][1]["opened"], 0);
    let none = failure(listed("up 1\n", &[]), 2);
    assert!(none.contains("cloakroom_cookies_opened_total"), "{none}");
}

#[test]
fn a_key_file_is_never_overwritten_and_stays_private() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    text(keys(&["generate"], &file, &[]));
    let before = fs::read(&file).unwrap();
    let there = failure(keys(&["generate"], &file, &[]), 1);
    assert!(there.contains("keys add"), "{there}");
    assert_eq!(fs::read(&file).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        text(keys(&["add"], &file, &[]));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A link stays a link.
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        text(keys(&["add"], &link, &[]));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(ids(&file).len(), 3);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let public = failure(keys(&["list"], &file, &[]), 2);
        assert!(public.contains("chmod"), "{public}");
    }
}

#[test]
fn what_keeps_a_key_file_from_use_is_said_with_what_to_do() {
    let folder = tempdir().unwrap();
    let nowhere = folder.path().join("no/such/session.keys");
    let missing = failure(keys(&["list"], &nowhere, &[]), 2);
    assert!(missing.contains("there is none: make one"), "{missing}");
    let unwritable = failure(keys(&["generate"], &nowhere, &[]), 1);
    assert!(
        unwritable.contains("the folder must be there"),
        "{unwritable}"
    );
    let file = folder.path().join("text");
    text(keys(&["generate"], &file, &[]));
    fs::write(&file, "hunter2").unwrap();
    let damaged = failure(keys(&["add"], &file, &[]), 2);
    assert!(damaged.contains("line 1"), "{damaged}");
    assert!(!damaged.contains("hunter2"), "{damaged}");
}
