//! `check` and `bench`: they ask a real store, and leave the sessions in it alone.

use std::fs;

use cloakroom::stores::RedbStore;
use cloakroom_servers::free_port;
use tempfile::tempdir;

use crate::support::{Sessions, cloakroom, failure, held, json, local, text};

#[test]
fn a_store_holds_its_contract_and_keeps_the_sessions_that_were_there() {
    // The suites of the stores ask the others: a run takes seconds where the disk is slow.
    for scheme in ["redb", "sqlite"] {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        Sessions::in_store(&url);
        let before = fs::read_dir(folder.path()).unwrap().count();
        let report = json(cloakroom(&["check", &url, "--json"]).output().unwrap());
        assert_eq!(report["broken"], 0, "{report}");
        assert!(report["held"].as_u64() > Some(50), "{report}");
        // The one that has expired is there as well: nobody has swept.
        assert_eq!(held(&url), 4, "{scheme}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            before,
            "{scheme}"
        );
    }
    let said = text(cloakroom(&["check", "memory:"]).output().unwrap());
    assert!(said.contains("clauses hold.\n"), "{said}");
}

#[test]
fn a_bench_measures_each_call_and_leaves_nothing() {
    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    Sessions::in_store(&url);
    let few = ["--sessions", "20", "--at-once", "4"];
    let said = text(
        cloakroom(&[&["bench", &url], &few[..]].concat())
            .output()
            .unwrap(),
    );
    for call in ["create", "load", "update", "touch", "rotate", "delete"] {
        assert!(said.contains(call), "{said}");
    }
    let report = json(
        cloakroom(&[&["bench", &url, "--json"], &few[..]].concat())
            .output()
            .unwrap(),
    );
    assert_eq!(report["calls"].as_array().unwrap().len(), 6);
    assert!(
        report["calls"][0]["per_second"].as_u64() > Some(0),
        "{report}"
    );
    assert_eq!(held(&url), 4);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_of_sessions_is_measured_beside_and_not_inside() {
    for scheme in ["file", "sled"] {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        Sessions::in_store(&url);
        let few = ["--sessions", "4", "--at-once", "2", "--json"];
        let with_slash = format!("{url}/");
        let bench = cloakroom(&[&["bench", &with_slash], &few[..]].concat()).output();
        let report = json(bench.unwrap());
        let place = report["place"].as_str().unwrap();
        let beside = folder.path().join("sessions.scratch-");
        assert!(place.starts_with(beside.to_str().unwrap()), "{place}");
        assert_eq!(held(&url), 4, "{scheme}");
    }
}

#[test]
fn a_store_in_use_can_be_checked_beside_and_the_rest_says_what_to_do() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("sessions");
    let _held = RedbStore::open(&path).unwrap();
    let url = local("redb", folder.path());
    for name in ["check", "bench"] {
        let ran = cloakroom(&[name, &url]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let wrong = failure(
            cloakroom(&[name, "redb:/no/such/folder/x"])
                .output()
                .unwrap(),
            2,
        );
        assert!(wrong.contains("must be there"), "{wrong}");
        let server = format!("redis://127.0.0.1:{}", free_port());
        let down = failure(cloakroom(&[name, &server]).output().unwrap(), 4);
        assert!(down.contains("is it running"), "{down}");
        let password = failure(
            cloakroom(&[name, "redis://:hunter2@host"])
                .output()
                .unwrap(),
            2,
        );
        assert!(!password.contains("hunter2"), "{password}");
    }
}
