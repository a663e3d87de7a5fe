//! How each subcommand over a store fails, and what it says to do about it.

use std::fs;

use cloakroom::stores::RedbStore;
use cloakroom_servers::free_port;
use tempfile::tempdir;

use crate::support::{cloakroom, failure, local, over};

/// Each subcommand over a store that is there, by arguments that would do something.
const OVER_A_STORE: [&[&str]; 4] = [&["sweep"], &["stats"], &["list"], &["show", "0a1b2c3d"]];

#[test]
fn a_wrong_url_makes_no_store_and_says_what_is_wrong() {
    let folder = tempdir().unwrap();
    for arguments in OVER_A_STORE {
        for scheme in ["redb", "sqlite", "file", "sled"] {
            let url = local(scheme, folder.path());
            let said = failure(over(&url, arguments), 2);
            assert!(said.contains("check the path"), "{said}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{scheme}");
        }
        let said = failure(over("rodb:./x", arguments), 2);
        assert!(said.contains("did you mean redb:?"), "{said}");
        let said = failure(over("memory:", arguments), 2);
        assert!(said.contains("ask the site itself"), "{said}");
        let unnamed = cloakroom(arguments).output().unwrap();
        let said = failure(unnamed, 2);
        assert!(said.contains("--store"), "{said}");
    }
}

#[test]
fn a_store_that_another_process_holds_is_code_5() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("sessions");
    let _held = RedbStore::open(&path).unwrap();
    for arguments in OVER_A_STORE {
        let said = failure(over(&local("redb", folder.path()), arguments), 5);
        assert!(said.contains("locked by another process"), "{said}");
        assert!(said.contains("stop the site"), "{said}");
    }
}

#[test]
fn a_server_that_is_down_is_code_4() {
    let port = free_port();
    for arguments in OVER_A_STORE {
        for url in [
            format!("redis://:hunter2@127.0.0.1:{port}"),
            format!("postgres://ada:hunter2@127.0.0.1:{port}/shop?timeout=1s"),
        ] {
            let said = failure(over(&url, arguments), 4);
            assert!(said.contains(&port.to_string()), "{said}");
            assert!(said.contains("run"), "whether it runs: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    for url in [
        "redis://:hunter2@127.0.0.1",
        "postgres://ada:hunter2@127.0.0.1/shop",
        "redb:./sessions?migrating_from=postgres://ada:hunter2@127.0.0.1/shop",
    ] {
        let output = cloakroom(&["stats", "--store", url]).output().unwrap();
        let said = failure(output, 2);
        assert!(said.contains("CLOAKROOM_STORE"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for arguments in [
        &["stats", "redis://:hunter2@host"][..],
        &["redis://:hunter2@host"],
        // Where a digest is asked for.
        &["show", "postgres://ada:hunter2@host/shop"],
        &["why", "ada:hunter2@host"],
        &["revoke", "redis+unix:///socket?user=ada&pass=hunter2"],
        &[
            "revoke",
            "--subject",
            "ada",
            "--all-but",
            "redis://:hunter2@host",
        ],
    ] {
        let output = cloakroom(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("--store URL") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_store_is_named_by_a_private_file_or_a_variable() {
    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    crate::support::Sessions::in_store(&url);
    let file = folder.path().join("url");
    fs::write(&file, format!("{url}\n")).unwrap();
    let named = format!("@{}", file.display());
    let stats = |store: &str| {
        let mut command = cloakroom(&["stats", "--json", "--store", store]);
        command.env("SHOP_STORE", &url).output().unwrap()
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let public = failure(stats(&named), 2);
        assert!(public.contains("chmod"), "{public}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for store in [named.as_str(), "env:SHOP_STORE", &url] {
        let said = crate::support::json(stats(store));
        assert_eq!(said["live"], 3);
    }
    let mut command = cloakroom(&["stats", "--json"]);
    let said = crate::support::json(command.env("CLOAKROOM_STORE", &named).output().unwrap());
    assert_eq!(said["live"], 3, "the variable names the file");
    let unset = failure(stats("env:NO_SUCH_STORE"), 2);
    assert!(unset.contains("NO_SUCH_STORE"), "{unset}");
}

#[test]
fn a_store_that_is_to_be_left_or_taken_is_named_where_it_fails() {
    let folder = tempdir().unwrap();
    let held = folder.path().join("held");
    let _held = RedbStore::open(&held).unwrap();
    let locked = format!("redb:{}", held.display());
    let free = local("file", folder.path());
    let down = format!("redis://127.0.0.1:{}", free_port());
    crate::support::Sessions::in_store(&free);
    let migrate = |from: &str, to: &str| {
        let output = cloakroom(&["migrate", from, to, "--yes"]).output();
        output.unwrap()
    };
    let nowhere = migrate("redb:./no/such/store", &free);
    assert!(failure(nowhere, 2).contains("check the path"));
    assert!(failure(migrate(&locked, &free), 5).contains("stop the site"));
    assert!(failure(migrate(&free, &locked), 5).contains("stop the site"));
    assert!(failure(migrate(&free, &down), 4).contains("is it running"));
    assert!(failure(migrate(&down, &free), 4).contains("is it running"));
    assert!(failure(migrate(&free, &free), 2).contains("one and the same"));
    assert!(failure(migrate(&free, "memory:"), 2).contains("a store that keeps"));
    let password = migrate(&free, "redis://:hunter2@host");
    assert!(!failure(password, 2).contains("hunter2"));
    assert_eq!(crate::support::held(&free), 4);
}
