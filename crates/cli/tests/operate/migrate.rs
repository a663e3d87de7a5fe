//! `migrate`: from one store to another, killed on the way and run again.

use std::thread::sleep;
use std::time::Duration;

use tempfile::tempdir;

use crate::support::{
    Sessions, block_on, cloakroom, create, failure, held, json, local, over, record, text,
};

#[test]
fn all_sessions_move_there_and_back() {
    let folder = tempdir().unwrap();
    let redb = local("redb", folder.path());
    let file = format!("file:{}", folder.path().join("files").display());
    Sessions::in_store(&redb);
    let migrate = |from: &str, to: &str| {
        let output = cloakroom(&["migrate", from, to, "--yes", "--json"]).output();
        json(output.unwrap())
    };
    let asked = cloakroom(&["migrate", &redb, &file]).output().unwrap();
    assert!(failure(asked, 6).contains("moves 4 sessions"));
    assert!(
        !folder.path().join("files").exists(),
        "nothing is made unasked"
    );
    let moved = migrate(&redb, &file);
    assert_eq!(
        (&moved["moved"], &moved["unreadable"]),
        (&4.into(), &0.into())
    );
    assert_eq!((held(&redb), held(&file)), (0, 4));
    assert_eq!(migrate(&redb, &file)["moved"], 0);
    assert_eq!(migrate(&file, &redb)["moved"], 4);
    assert_eq!((held(&redb), held(&file)), (4, 0));
}

#[test]
fn a_move_that_is_killed_goes_on_where_it_was() {
    const SESSIONS: usize = 300;

    let folder = tempdir().unwrap();
    let from = local("sqlite", folder.path());
    let to = format!("file:{}", folder.path().join("files").display());
    block_on(async {
        let store = cloakroom::open(&from).await.unwrap();
        for _ in 0..SESSIONS {
            create(&store, &record(Some("ada"))).await;
        }
        store.close().await.unwrap();
    });
    for _ in 0..2 {
        let before = held(&from);
        let slowly = ["migrate", &from, &to, "--yes", "--per-second", "50"];
        let mut child = cloakroom(&slowly).spawn().unwrap();
        while held(&from) == before {
            assert!(child.try_wait().unwrap().is_none(), "it goes on");
            sleep(Duration::from_millis(20));
        }
        // On Unix this is SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rest = cloakroom(&["migrate", &from, &to, "--yes", "--json"]).output();
    assert!(
        json(rest.unwrap())["moved"].as_u64() > Some(0),
        "and some were left"
    );
    assert_eq!((held(&from), held(&to)), (0, SESSIONS));
}

/// While sessions move, the site's URL names two stores.
#[test]
fn the_command_takes_the_url_of_both_stores_and_moves_only_what_it_ends() {
    for option in ["migrating_from", "prepared_from"] {
        let folder = tempdir().unwrap();
        let former = local("sqlite", folder.path());
        let new = format!("sqlite:{}", folder.path().join("new").display());
        Sessions::in_store(&former);
        Sessions::in_store(&new);
        let both = format!("{new}?sealed=true&{option}={former}");
        assert_eq!(json(over(&both, &["stats", "--json"]))["live"], 6);
        let list = json(over(&both, &["list", "--subject", "ada", "--json"]));
        assert_eq!(list["sessions"].as_array().unwrap().len(), 4, "{list}");
        assert_eq!((held(&former), held(&new)), (4, 4), "{option}");
        let ended = text(over(&both, &["revoke", "--subject", "ada", "--yes"]));
        assert_eq!(ended, "Ended 4 sessions.\n");
        assert_eq!((held(&former), held(&new)), (2, 2), "{option}");
        for [from, to] in [[&both, &former], [&former, &both]] {
            let refused = cloakroom(&["migrate", from, to, "--yes"]).output();
            assert!(failure(refused.unwrap(), 2).contains("one store each"));
        }
    }
}

/// What moved into a place that is removed at the end would be lost.
#[test]
fn a_check_of_a_store_that_sessions_move_to_leaves_those_of_both_alone() {
    let folder = tempdir().unwrap();
    let former = local("sqlite", folder.path());
    let new = format!("redb:{}", folder.path().join("new").display());
    Sessions::in_store(&former);
    Sessions::in_store(&new);
    let both = format!("{new}?migrating_from={former}");
    let bench = ["bench", &both, "--sessions", "20", "--at-once", "4"];
    text(cloakroom(&bench).output().unwrap());
    let report = json(cloakroom(&["check", &both, "--json"]).output().unwrap());
    assert_eq!(report["broken"], 0, "{report}");
    assert_eq!((held(&former), held(&new)), (4, 4));
}
