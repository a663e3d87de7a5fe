//! What `sweep`, `stats`, `list` and `show` print of a store.

use tempfile::tempdir;

use crate::support::{
    SECRET_VALUE, Sessions, failure, held, json, local, log_in_by_provider, over, text,
};

/// The stores of one machine; those of servers are in `servers.rs`.
const LOCAL: [&str; 4] = ["redb", "sqlite", "file", "sled"];

#[test]
fn stats_count_what_each_store_holds() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        Sessions::in_store(&url);
        let stats = json(over(&url, &["stats", "--json"]));
        assert_eq!(stats["live"], 3, "{scheme}");
        assert_eq!(stats["expired"], 1, "{scheme}");
        assert_eq!(stats["logged_in"], 2, "{scheme}");
        assert_eq!(stats["subjects"], 1, "{scheme}");
        assert_eq!(stats["sites"]["__Host-session"], 3, "{scheme}");
        let two = stats["by_sessions_of_subject"][1].clone();
        assert_eq!((&two["up_to"], &two["count"]), (&2.into(), &1.into()));
        let said = text(over(&url, &["stats"]));
        let words: Vec<&str> = said.split_whitespace().collect();
        let words = words.join(" ");
        assert!(words.starts_with("live sessions 3 logged in 2 "), "{said}");
        let bar = "█".repeat(40);
        assert!(words.contains(&format!("up to 6 h 3 {bar}")), "{said}");
        assert!(
            !said.contains(SECRET_VALUE) && !words.contains(" ada "),
            "{said}"
        );
    }
}

#[test]
fn what_an_engine_keeps_of_its_own_counts_as_no_session() {
    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    log_in_by_provider(&url, "ada");
    assert_eq!(held(&url), 2, "the session, and what leads to it");
    let stats = json(over(&url, &["stats", "--json"]));
    assert_eq!((&stats["live"], &stats["internal"]), (&1.into(), &1.into()));
    assert_eq!(stats["logged_in"], 1);
    assert_eq!(stats["subjects"], 1);
    assert_eq!(stats["sites"].as_object().unwrap().len(), 1, "{stats}");
    let list = json(over(&url, &["list", "--json"]));
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
    let revoke = ["revoke", "--everybody", "--yes", "--json"];
    let ended = json(over(&url, &revoke));
    assert_eq!(ended["ended"], 1);
    assert_eq!(ended["of_other_sites"], 0);
}

#[test]
fn a_sweep_removes_what_has_expired_and_nothing_else() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        Sessions::in_store(&url);
        let said = text(over(&url, &["sweep"]));
        assert_eq!(said, "Removed 1 expired record.\n", "{scheme}");
        assert_eq!(held(&url), 3, "{scheme}");
        let again = json(over(&url, &["sweep", "--json"]));
        assert_eq!(again["removed"], 0, "{scheme}");
    }
}

#[test]
fn a_list_has_the_header_of_each_session_and_no_value() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let said = text(over(&url, &["list", "--subject", "ada"]));
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(said.contains(&sessions.ada[0].short()), "{said}");
        // A label is the client's: what a terminal would obey is printed as text.
        assert!(said.contains("Firefox \\u{1b}[31mon Linux"), "{said}");
        assert!(
            !said.contains('\u{1b}') && !said.contains(SECRET_VALUE),
            "{said}"
        );
        assert!(!said.contains(&sessions.ada[0].to_hex()), "{said}");

        let all = json(over(&url, &["list", "--json"]));
        let listed = all["sessions"].as_array().unwrap();
        let digests: Vec<&str> = listed
            .iter()
            .filter_map(|one| one["digest"].as_str())
            .collect();
        assert!(
            digests.contains(&sessions.nobody.to_hex().as_str()),
            "{all}"
        );
        assert_eq!((listed.len(), &all["more"]), (4, &false.into()));
        let bob = listed.iter().find(|one| one["subject"] == "bob").unwrap();
        assert_eq!(bob["state"], "expired");

        let some = json(over(&url, &["list", "--json", "--limit", "2"]));
        assert_eq!(some["sessions"].as_array().unwrap().len(), 2);
        assert_eq!(some["more"], true);
        let none = text(over(&url, &["list", "--subject", "ada", "--site", "other"]));
        assert!(
            none.contains("at the site other; `cloakroom stats`"),
            "{none}"
        );
        let none = text(over(&url, &["list", "--site", "other"]));
        assert!(none.contains("No sessions at the site other"), "{none}");
        // What can be no site is a slip, and no empty answer.
        let slip = over(&url, &["list", "--site", &"x".repeat(257)]);
        assert!(failure(slip, 2).contains("site"));
    }
}

#[test]
fn a_list_that_is_cut_begins_with_what_was_used_last() {
    use crate::support::{block_on, create, record};
    use std::time::Duration;

    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let last = block_on(async {
            let store = cloakroom::open(&url).await.unwrap();
            for _ in 0..10 {
                create(&store, &record(Some("ada"))).await;
            }
            let mut used = record(Some("ada"));
            used.last_seen_at = used.last_seen_at.saturating_add(Duration::from_secs(60));
            let (last, _) = create(&store, &used).await;
            store.close().await.unwrap();
            last
        });
        let one = ["list", "--subject", "ada", "--json", "--limit", "1"];
        let list = json(over(&url, &one));
        assert_eq!(list["sessions"][0]["digest"], last.to_hex(), "{scheme}");
        assert_eq!(list["more"], true, "{scheme}");
    }
}

#[test]
fn one_session_is_shown_and_its_values_only_where_asked_for() {
    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    let sessions = Sessions::in_store(&url);
    let short = sessions.ada[0].short();
    let said = text(over(&url, &["show", &short]));
    assert!(said.contains(&format!("session    {short}\n")), "{said}");
    assert!(said.contains("subject    ada\n"), "{said}");
    // A method is the site's own word, and may hold what a terminal would obey.
    for line in [
        "(2 h ago), at level 2, by pass\\u{7}key\n",
        "provider   https://id.example, session s1\n",
        "device     offered\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("cart: text of 21 bytes"), "{said}");
    assert!(!said.contains(SECRET_VALUE), "{said}");
    let revealed = text(over(&url, &["show", &short, "--reveal"]));
    assert!(
        revealed.contains(&format!("cart: \"{SECRET_VALUE}\"")),
        "{revealed}"
    );

    let hidden = json(over(&url, &["show", &short, "--json"]));
    assert_eq!(hidden["kinds"]["cart"], "text of 21 bytes");
    assert!(hidden.get("values").is_none(), "{hidden}");
    let whole = sessions.ada[0].to_hex();
    let shown = json(over(&url, &["show", &whole, "--json", "--reveal"]));
    assert_eq!(shown["values"]["cart"], SECRET_VALUE);
    assert_eq!(shown["digest"], whole);
    assert_eq!(shown["login"]["method"], "pass\u{7}key");
    assert_eq!(shown["login"]["provider"]["issuer"], "https://id.example");
    // Under the secret of a binding anybody could make its cookie.
    assert!(!shown.to_string().contains("167,167"), "{shown}");

    let missing = failure(over(&url, &["show", "00000000"]), 3);
    assert!(missing.contains("cloakroom list"), "{missing}");
    let slip = over(&url, &["show", "xyz"]);
    assert_eq!(slip.status.code(), Some(2));
}

#[test]
fn sealed_data_stays_sealed_whoever_looks() {
    let folder = tempdir().unwrap();
    let bare = local("redb", folder.path());
    let url = format!("{bare}?sealed=true");
    let sessions = Sessions::in_store(&url);
    let short = sessions.ada[0].short();
    for store in [&url, &bare] {
        let said = text(over(store, &["show", &short, "--reveal"]));
        assert!(
            said.contains("sealed under its visitor's own key"),
            "{said}"
        );
        assert!(!said.contains(SECRET_VALUE), "{said}");
    }
}

#[test]
fn a_rotation_mark_says_where_the_session_is() {
    use crate::support::{block_on, record, site};
    use cloakroom::engine::{OsEntropy, SessionKey, Token, TokenStore as _};

    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    let sessions = Sessions::in_store(&url);
    let new = SessionKey::generate(&OsEntropy).unwrap().of_site(&site());
    block_on(async {
        let store = cloakroom::open(&url).await.unwrap();
        let token = Token::new(sessions.token.as_str()).of_site(&site());
        let record = record(Some("ada")).at_revision(cloakroom::store::Revision::FIRST);
        let until = record.expires_at;
        store
            .rotate_token(&token, &new, &record, until)
            .await
            .unwrap();
        store.close().await.unwrap();
    });
    let said = text(over(&url, &["show", &sessions.ada[0].short()]));
    assert!(
        said.contains(&format!("has moved to {}", new.digest().short())),
        "{said}"
    );
    let shown = json(over(&url, &["show", &sessions.ada[0].short(), "--json"]));
    assert_eq!(shown["stands"], "rotation_mark");
    assert_eq!(shown["to"], new.digest().to_hex());
}
