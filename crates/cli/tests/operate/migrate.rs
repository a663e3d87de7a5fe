//! `migrate`: from one store to another, killed on the way and run again.

use std::thread::sleep;
use std::time::Duration;

use tempfile::tempdir;

use crate::support::{Sessions, block_on, cloakroom, create, failure, held, json, local, record};

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
