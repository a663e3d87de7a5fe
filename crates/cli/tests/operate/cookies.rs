//! `open-cookie`: each verdict, from cookies that were sealed for real.

use std::path::Path;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, SessionKey, TokenStore as _};
use cloakroom::store::Record;
use cloakroom_servers::free_port;
use tempfile::tempdir;

use crate::support::{
    SECRET_VALUE, block_on, cloakroom, failure, json, over_with_input, record, site, text,
};

/// A key file of one key.
fn key_file(path: &Path) -> KeyRing {
    let made = cloakroom(&["keys", "generate", path.to_str().unwrap()]).output();
    assert!(made.unwrap().status.success());
    KeyRing::from_file(path).unwrap()
}

fn seal(cookie: &str, ring: &KeyRing, record: &Record) -> String {
    let store = CookieStore::builder(cookie, ring).build().unwrap();
    let key = SessionKey::generate(&OsEntropy).unwrap().of_site(&site());
    let written = block_on(store.create_token(&key, record)).unwrap();
    written.token.unwrap().expose().to_owned()
}

#[test]
fn a_cookie_says_what_stands_in_it_and_why_it_opens_or_not() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    let ring = key_file(&file);
    let url = format!("cookie:?key_file={}", file.display());
    let ada = record(Some("ada"));
    let good = seal("__Host-session", &ring, &ada);
    let mut expired = ada.clone();
    expired.expires_at = expired.created_at;
    let mut elsewhere = ada.clone();
    elsewhere.site = cloakroom::Site::new("shop").unwrap();
    let mut changed = good.clone();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    let other_ring = key_file(&folder.path().join("other.keys"));

    for (cookie, verdict) in [
        (good.as_str(), "opens"),
        ("no cookie of ours", "no_token"),
        (&seal("__Host-session", &ring, &expired), "expired"),
        (&seal("__Host-session", &ring, &elsewhere), "other_site"),
        (&seal("__Host-other", &ring, &ada), "not_authentic"),
        (&changed, "not_authentic"),
        (&seal("__Host-session", &other_ring, &ada), "unknown_key"),
    ] {
        let said = json(over_with_input(&url, &["open-cookie", "--json"], cookie));
        assert_eq!(said["verdict"], verdict, "{said}");
        assert_eq!(said["opens"], verdict == "opens", "{said}");
        assert!(!said.to_string().contains(SECRET_VALUE), "{said}");
    }

    let header = format!("Cookie: theme=dark; __Host-session={good}");
    let said = text(over_with_input(&url, &["open-cookie"], &header));
    assert!(said.starts_with("This cookie opens: "), "{said}");
    assert!(said.contains("subject    ada"), "{said}");
    assert!(
        !said.contains(SECRET_VALUE) && !said.contains(&good),
        "{said}"
    );
    let revealed = text(over_with_input(&url, &["open-cookie", "--reveal"], &good));
    assert!(revealed.contains(SECRET_VALUE), "{revealed}");
    let listed = json(
        cloakroom(&["keys", "list", file.to_str().unwrap(), "--json"])
            .output()
            .unwrap(),
    );
    let said = json(over_with_input(&url, &["open-cookie", "--json"], &good));
    assert_eq!(said["sealed_under"], listed["keys"][0]["id"]);
}

#[test]
fn a_revoked_cookie_says_so() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    key_file(&file);
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
        store
            .end_sessions_of(&site(), ada.subject.as_ref().unwrap(), None)
            .await
            .unwrap();
        store.close().await.unwrap();
        written.token.unwrap().expose().to_owned()
    });
    let said = json(over_with_input(&url, &["open-cookie", "--json"], &cookie));
    assert_eq!(said["verdict"], "revoked");
    assert_eq!(said["subject"], "ada");
}

#[test]
fn each_failure_says_what_to_do() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("session.keys");
    key_file(&file);
    let open = |url: &str| over_with_input(url, &["open-cookie"], "AQ");
    let wrong = failure(open("redb:./sessions"), 2);
    assert!(wrong.contains("cloakroom why --cookie-stdin"), "{wrong}");
    let no_key = failure(open("cookie:?key_file=/no/such/file"), 2);
    assert!(no_key.contains("make one"), "{no_key}");

    let epochs = folder.path().join("epochs");
    let _held = cloakroom::stores::RedbStore::open(&epochs).unwrap();
    let key = file.display();
    let locked = failure(
        open(&format!(
            "cookie:?key_file={key}&revocation=redb:{}",
            epochs.display()
        )),
        5,
    );
    assert!(locked.contains("stop the site"), "{locked}");
    let down = failure(
        open(&format!(
            "cookie:?key_file={key}&revocation=redis://127.0.0.1:{}",
            free_port()
        )),
        4,
    );
    assert!(down.contains("127.0.0.1"), "{down}");
    let nothing = failure(
        over_with_input(&format!("cookie:?key_file={key}"), &["open-cookie"], "a=b"),
        2,
    );
    assert!(nothing.contains("whole Cookie header"), "{nothing}");
}
