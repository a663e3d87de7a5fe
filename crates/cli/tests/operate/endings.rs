//! `revoke`, which ends sessions, and `why`, which says what became of them.

use tempfile::tempdir;

use crate::support::{
    Sessions, block_on, cloakroom, create, failure, held, json, local, over, over_with_input,
    record, text,
};

/// The stores of one machine; those of servers are in `servers.rs`.
const LOCAL: [&str; 4] = ["redb", "sqlite", "file", "sled"];

#[test]
fn one_session_is_ended_with_a_note_and_why_tells_it() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let short = sessions.ada[0].short();
        let lives = text(over(&url, &["why", &short]));
        assert!(
            lives.starts_with(&format!("Session {short} opens: ")),
            "{lives}"
        );

        let note = ["revoke", &short, "--yes", "--note", "lost \u{1b}phone"];
        assert_eq!(text(over(&url, &note)), "Ended 1 session.\n", "{scheme}");
        let fate = text(over(&url, &["why", &short]));
        assert!(
            fate.contains("an administrator ended it"),
            "{scheme}: {fate}"
        );
        assert!(
            fate.contains("note       lost \\u{1b}phone"),
            "{scheme}: {fate}"
        );
        let fate = json(over_with_input(
            &url,
            &["why", "--cookie-stdin", "--json"],
            &sessions.token,
        ));
        assert_eq!(
            fate["because"], "ended_by_administrator",
            "{scheme}: {fate}"
        );
        assert_eq!(fate["note"], "lost \u{1b}phone", "{scheme}");
        assert_eq!(fate["opens"], false);

        // What has ended is not ended again.
        assert_eq!(
            text(over(&url, &["revoke", &short, "--yes"])),
            "Ended 0 sessions.\n"
        );
        assert_eq!(held(&url), 3, "{scheme}");
    }
}

/// The log has named it by the key of before its login, whose mark was swept since.
#[test]
fn a_former_key_that_leads_nowhere_is_not_told_to_have_ended() {
    use crate::support::site;
    use cloakroom::engine::{OsEntropy, SessionKey, Token, TokenStore as _};
    use cloakroom::store::Revision;

    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let new = SessionKey::generate(&OsEntropy).unwrap().of_site(&site());
        block_on(async {
            let store = cloakroom::open(&url).await.unwrap();
            let token = Token::new(sessions.token.as_str()).of_site(&site());
            let record = record(Some("ada")).at_revision(Revision::FIRST);
            // Two hours ago.
            let until = record.created_at;
            let moved = store.rotate_token(&token, &new, &record, until).await;
            moved.unwrap();
            store.close().await.unwrap();
        });
        text(over(&url, &["sweep"]));
        let short = sessions.ada[0].short();
        let fate = json(over(&url, &["why", &short, "--json"]));
        assert_eq!(fate["because"], "rotated", "{scheme}: {fate}");
        let said = failure(over(&url, &["revoke", &short, "--yes"]), 3);
        assert!(said.contains("may still open"), "{scheme}: {said}");
        let lives = json(over(&url, &["why", &new.digest().short(), "--json"]));
        assert_eq!(lives["opens"], true, "{scheme}: {lives}");
    }
}

#[test]
fn why_tells_what_has_expired_and_what_nobody_knows() {
    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    let sessions = Sessions::in_store(&url);
    let fate = json(over(&url, &["why", &sessions.bob.short(), "--json"]));
    assert_eq!(fate["because"], "idle");
    let mut absolute = record(Some("bob"));
    absolute.absolute_deadline = Some(absolute.created_at);
    let (digest, _) = block_on(async {
        let store = cloakroom::open(&url).await.unwrap();
        let created = create(&store, &absolute).await;
        store.close().await.unwrap();
        created
    });
    let fate = json(over(&url, &["why", &digest.short(), "--json"]));
    assert_eq!(fate["because"], "absolute");
    // After the sweep it is remembered for a day.
    text(over(&url, &["sweep"]));
    let fate = json(over(&url, &["why", &sessions.bob.short(), "--json"]));
    assert_eq!(fate["because"], "idle", "{fate}");
    assert_eq!(fate["session"], serde_json::Value::Null);

    let other_site = ["why", "--cookie-stdin", "--site", "shop"];
    let unknown = failure(over_with_input(&url, &other_site, &sessions.token), 3);
    assert!(unknown.contains("another store or --site"), "{unknown}");
    let sealed = failure(
        over_with_input(&url, &["why", "--cookie-stdin"], "AQabc"),
        3,
    );
    assert!(sealed.contains("open-cookie"), "{sealed}");
}

/// Somebody who asks knows the user, and neither a digest nor a cookie.
#[test]
fn why_tells_what_became_of_each_session_of_a_user() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let [ended, standing] = [&sessions.ada[0], &sessions.ada[1]];
        let note = ["revoke", &ended.short(), "--yes", "--note", "lost phone"];
        text(over(&url, &note));
        let fates = json(over(&url, &["why", "--subject", "ada", "--json"]));
        let fates = fates["sessions"].as_array().unwrap();
        let of = |digest: &str| fates.iter().find(|fate| fate["digest"] == digest).unwrap();
        assert_eq!(fates.len(), 2, "{scheme}");
        assert_eq!(of(&standing.to_hex())["opens"], true);
        assert_eq!(of(&ended.to_hex())["because"], "ended_by_administrator");
        assert_eq!(of(&ended.to_hex())["note"], "lost phone");
        // The end is the latest that has happened.
        assert_eq!(fates[0]["digest"], ended.to_hex(), "{scheme}");

        let said = text(over(&url, &["why", "--subject", "ada"]));
        let begins = format!("Session {} does not open: ", ended.short());
        assert!(said.starts_with(&begins), "{said}");
        let stands = format!("\n\nSession {} opens: ", standing.short());
        assert!(said.contains(&stands), "{said}");
        let nothing = failure(over(&url, &["why", "--subject", "adda"]), 3);
        assert!(nothing.contains("holds nothing of the subject adda"));
    }
}

#[test]
fn a_user_is_logged_out_everywhere_or_everywhere_else() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        let sessions = Sessions::in_store(&url);
        let kept = sessions.ada[0].short();
        let ended = json(over(
            &url,
            &[
                "revoke",
                "--subject",
                "ada",
                "--all-but",
                &kept,
                "--yes",
                "--json",
            ],
        ));
        assert_eq!(ended["ended"], 1, "{scheme}");
        let left = json(over(&url, &["list", "--subject", "ada", "--json"]));
        assert_eq!(left["sessions"][0]["digest"], sessions.ada[0].to_hex());
        let not_theirs = sessions.nobody.short();
        let slip = over(
            &url,
            &[
                "revoke",
                "--subject",
                "ada",
                "--all-but",
                &not_theirs,
                "--yes",
            ],
        );
        assert!(failure(slip, 3).contains("list --subject"));
        let said = text(over(&url, &["revoke", "--subject", "ada", "--yes"]));
        assert_eq!(said, "Ended 1 session.\n", "{scheme}");
        assert_eq!(held(&url), 2, "{scheme}");
    }
}

#[test]
fn everybody_is_logged_out_of_one_site_and_of_no_other() {
    for scheme in LOCAL {
        let folder = tempdir().unwrap();
        let url = local(scheme, folder.path());
        Sessions::in_store(&url);
        let mut elsewhere = record(Some("ada"));
        elsewhere.site = cloakroom::Site::new("shop").unwrap();
        block_on(async {
            let store = cloakroom::open(&url).await.unwrap();
            create(&store, &elsewhere).await;
            store.close().await.unwrap();
        });
        let asked = failure(over(&url, &["revoke", "--everybody"]), 6);
        assert!(
            asked.contains("all 4 sessions of the site __Host-session"),
            "{asked}"
        );
        assert!(asked.contains("--yes"), "{asked}");
        assert_eq!(held(&url), 5);
        let ended = json(over(&url, &["revoke", "--everybody", "--yes", "--json"]));
        assert_eq!(
            (&ended["ended"], &ended["of_other_sites"]),
            (&4.into(), &1.into())
        );
        assert_eq!(held(&url), 1, "{scheme}");
        let shop = ["revoke", "--everybody", "--site", "shop", "--yes"];
        assert_eq!(text(over(&url, &shop)), "Ended 1 session.\n");
    }
}

/// The clock of whoever runs the command may be behind the site's.
#[test]
fn who_logged_in_later_by_this_clock_is_left_and_counted() {
    use std::time::Duration;

    let folder = tempdir().unwrap();
    let url = local("redb", folder.path());
    Sessions::in_store(&url);
    let mut later = record(Some("ada"));
    later.created_at = later
        .created_at
        .saturating_add(Duration::from_secs(3 * 3_600));
    block_on(async {
        let store = cloakroom::open(&url).await.unwrap();
        create(&store, &later).await;
        store.close().await.unwrap();
    });
    let revoke = ["revoke", "--everybody", "--yes"];
    let said = text(over(&url, &revoke));
    assert!(
        said.contains("Left 1 session that began since then"),
        "{said}"
    );
    let again = json(over(&url, &[&revoke[..], &["--json"]].concat()));
    assert_eq!(
        (&again["ended"], &again["begun_since"]),
        (&0.into(), &1.into())
    );
    assert_eq!(held(&url), 1);
}

#[test]
fn a_users_cookies_end_by_their_epoch() {
    use crate::support::site;
    use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};

    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    text(
        cloakroom(&["keys", "generate", file.to_str().unwrap()])
            .output()
            .map(|mut made| {
                made.stdout.clear();
                made
            })
            .unwrap(),
    );
    let epochs = folder.path().join("epochs");
    let url = format!(
        "cookie:?key_file={}&revocation=redb:{}",
        file.display(),
        epochs.display()
    );
    let mut ada = record(Some("ada"));
    ada.absolute_deadline = Some(ada.expires_at);
    let cookie = block_on(async {
        let store = cloakroom::open(&url).await.unwrap();
        let key = SessionKey::generate(&OsEntropy).unwrap().of_site(&site());
        let written = store.create_token(&key, &ada).await.unwrap();
        store.close().await.unwrap();
        written.token.unwrap().expose().to_owned()
    });
    let verdict =
        || json(over_with_input(&url, &["open-cookie", "--json"], &cookie))["verdict"].clone();
    assert_eq!(verdict(), "opens");
    let said = text(over(&url, &["revoke", "--subject", "ada", "--yes"]));
    assert!(said.contains("nobody knows"), "{said}");
    assert_eq!(verdict(), "revoked");
    let one = failure(over(&url, &["revoke", "0a1b2c3d", "--yes"]), 2);
    assert!(one.contains("revoke --subject"), "{one}");
}

#[test]
fn whom_to_end_is_said_in_one_way() {
    for arguments in [
        &["revoke"][..],
        &["revoke", "0a1b2c3d", "--everybody"],
        &["revoke", "--subject", "ada", "--everybody"],
        &["revoke", "--everybody", "--all-but", "0a1b2c3d"],
        &["why"],
        &["why", "0a1b2c3d", "--cookie-stdin"],
    ] {
        let output = over("redb:./x", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
