//! `export` and `erase`: what a user may ask for by law.

use tempfile::tempdir;

use crate::support::{
    SECRET_VALUE, Sessions, failure, held, json, local, log_in_by_provider, over, text,
};

const LOCAL: [&str; 4] = ["redb", "sqlite", "file", "sled"];

#[test]
fn an_export_has_all_of_one_user_and_nothing_of_another() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let ended = sessions.ada[1].short();
        text(over(&url, &["revoke", &ended, "--yes", "--note", "stolen"]));
        for json_or_not in [&["export", "ada"][..], &["export", "ada", "--json"]] {
            let export = json(over(&url, json_or_not));
            assert_eq!(export["subject"], "ada");
            let live = export["sessions"].as_array().unwrap();
            assert_eq!(live.len(), 1, "{scheme}: {export}");
            assert_eq!(live[0]["values"]["cart"], SECRET_VALUE);
            assert_eq!(live[0]["login"]["provider"]["sid"], "s1");
            assert_eq!(export["ended"][0]["note"], "stolen", "{scheme}: {export}");
            assert!(!export.to_string().contains("bob"), "{export}");
        }
        for slip in [&["export", "eve"][..], &["export", "ada", "--site", "shop"]] {
            let said = failure(over(&url, slip), 3);
            assert!(
                said.contains("cloakroom stats") && said.contains("--site"),
                "{said}"
            );
        }
    }
}

#[test]
fn an_erased_user_leaves_no_trace_and_others_stay() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        text(over(&url, &["revoke", &sessions.ada[1].short(), "--yes"]));
        let asked = failure(over(&url, &["erase", "ada"]), 6);
        assert!(asked.contains("--yes"), "{asked}");
        let erased = text(over(&url, &["erase", "ada", "--yes"]));
        assert_eq!(erased, "Erased 1 session and 1 tombstone.\n", "{scheme}");
        failure(over(&url, &["export", "ada"]), 3);
        for ended in sessions.ada {
            failure(over(&url, &["why", &ended.to_hex()]), 3);
        }
        assert_eq!(held(&url), 2, "{scheme}");
        failure(over(&url, &["erase", "ada", "--yes"]), 3);
    }
}

#[test]
fn what_leads_from_an_identity_provider_to_a_user_is_exported_and_erased() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        log_in_by_provider(&url, "ada");
        log_in_by_provider(&url, "bob");
        let export = json(over(&url, &["export", "ada"]));
        assert_eq!(export["pointers"].as_array().unwrap().len(), 1, "{export}");
        let erased = text(over(&url, &["erase", "ada", "--yes"]));
        let pointers = "And 1 pointer from sessions of an identity provider.\n";
        assert_eq!(
            erased,
            format!("Erased 1 session and 0 tombstones.\n{pointers}"),
            "{scheme}"
        );
        assert_eq!(
            held(&url),
            2,
            "{scheme}: the session of Bob, and what leads to it"
        );
    }
}

#[test]
fn an_answer_that_may_leave_something_out_says_so_by_its_code() {
    let folder = tempdir().unwrap();
    let url = local("file", folder.path());
    let sessions = Sessions::in_store(&url);
    let damaged = sessions.nobody.to_hex();
    let root = folder.path().join("sessions").join("v1");
    let file = root.join(&damaged[..2]).join(&damaged);
    assert!(file.is_file(), "{file:?}");
    std::fs::write(&file, "damaged").unwrap();

    let export = over(&url, &["export", "ada"]);
    assert_eq!(export.status.code(), Some(7), "{export:?}");
    let printed: serde_json::Value = serde_json::from_slice(&export.stdout).unwrap();
    assert_eq!(printed["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(printed["unreadable"], 1);
    for nothing in [
        &["export", "eve"][..],
        &["erase", "eve", "--yes"],
        &["why", "--subject", "eve"],
    ] {
        let said = failure(over(&url, nothing), 3);
        assert!(said.contains("but 1 record cannot be read"), "{said}");
    }
    let erased = over(&url, &["erase", "ada", "--yes", "--json"]);
    assert_eq!(erased.status.code(), Some(7), "{erased:?}");
    let printed: serde_json::Value = serde_json::from_slice(&erased.stdout).unwrap();
    assert_eq!(
        (&printed["sessions"], &printed["unreadable"]),
        (&2.into(), &1.into())
    );
}
