//! Sessions of Django: those that a real site has written, and what it would refuse.
//! tests/former-sites runs such a site, and moves its sessions for real.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_adopt::{DjangoSessions, FoundRecord, Records, django_cookie, django_sessions};
use cloakroom_core::session::Value;
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, ErrorKind, SessionExpiry, Subject, Timestamp};
use cloakroom_web::{FormerSession, FormerSessions as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// When the sessions were signed: `1xXPLw` in base 62.
const SIGNED: Timestamp = Timestamp::from_millis(1_795_898_940_000);
const NOW: Timestamp = Timestamp::from_millis(1_795_899_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const KEY: &str = "mzaiv52gx0qgeypooxxvlr1ew1sqiey8";

const ROW_SALT: &str = "django.contrib.sessions.SessionStore";
const COOKIE_SALT: &str = "django.contrib.sessions.backends.signed_cookies";

/// Of user 7, in `golden/django` and in `golden/django-cookie`, and of those signed here.
const PASSWORDS: [&str; 3] = [
    "md5$3BSAHpV6W8s0DV1JCMA80K$c73267018c1494fd4147bfcfa4af31c3",
    "md5$KK9NgnlON3okNrD0UI2kxV$ab02c2bffc3b2af28e830b20381b7e27",
    "md5$salt$hash",
];

/// What stands in a session after a login with the last of these passwords.
const LOGIN: &str = r#""_auth_user_id":"7","_auth_user_backend":"django.contrib.auth.backends.ModelBackend","_auth_user_hash":"43ce77559b87de5b03561681feabe4b7745f223819892393478e36bb1dfbb08b""#;

/// The one row of a table.
#[derive(Clone)]
struct Row {
    data: String,
    expire_date: Option<Timestamp>,
    is_deleted: Arc<Mutex<bool>>,
}

impl Row {
    fn new(data: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            expire_date: Some(NOW.saturating_add(HOUR)),
            is_deleted: Arc::default(),
        }
    }
}

impl Records for Row {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async move {
            assert_eq!(key, KEY);
            let mut found = FoundRecord::new(self.data.clone().into_bytes());
            found.expires_at = self.expire_date;
            Ok((!*self.is_deleted.lock().unwrap()).then_some(found))
        })
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            *self.is_deleted.lock().unwrap() = true;
            Ok(())
        })
    }
}

async fn password_of(user: &str, password: &str) -> Result<Option<String>, Error> {
    Ok((user == "7").then(|| password.to_owned()))
}

/// The source over a row, whose user has the last of the passwords.
fn over(row: &Row) -> DjangoSessions {
    over_with(row, PASSWORDS[2])
}

fn over_with(row: &Row, password: &'static str) -> DjangoSessions {
    let password = move |user: String| async move { password_of(&user, password).await };
    django_sessions(row.clone(), ["newer secret", "former secret"], password)
}

fn in_cookie(password: &'static str) -> DjangoSessions {
    let password = move |user: String| async move { password_of(&user, password).await };
    django_cookie(["newer secret", "former secret"], password)
}

/// Signs as `django.core.signing.dumps` does.
fn signed_for(salt: &str, payload: &str) -> String {
    let key = Sha256::new().chain_update(salt).chain_update("signer");
    let key = key.chain_update("former secret").finalize();
    let signed = format!("{payload}:1xXPLw");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}:{tag}")
}

fn signed(data: impl AsRef<[u8]>) -> String {
    signed_for(ROW_SALT, &URL_SAFE_NO_PAD.encode(data))
}

fn signed_cookie(json: &str) -> String {
    signed_for(COOKIE_SALT, &URL_SAFE_NO_PAD.encode(json))
}

fn deflated(data: &[u8]) -> String {
    let data = miniz_oxide::deflate::compress_to_vec_zlib(data, 6);
    signed_for(ROW_SALT, &format!(".{}", URL_SAFE_NO_PAD.encode(data)))
}

async fn load(source: &DjangoSessions, cookie: &str) -> Result<Option<FormerSession>, Error> {
    let id = source.read_cookie(cookie).expect("Django's cookie");
    source.load(&id, NOW).await
}

async fn opened(row: &Row) -> FormerSession {
    load(&over(row), KEY).await.unwrap().expect("a session")
}

/// That a row opens nothing, and why.
async fn refused(row: &Row, why: &str) {
    let error = load(&over(row), KEY).await.expect_err(why);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(std::error::Error::source(&error).is_none(), "{why}");
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

/// The lines of a golden file: who wrote it, the cookie's value, the key, and the record in
/// hexadecimal digits.
fn golden(file: &'static str) -> (&'static str, String) {
    let lines: Vec<_> = file.lines().collect();
    let digits = lines[3].as_bytes().chunks_exact(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    (
        lines[1],
        String::from_utf8(digits.map(byte).collect()).unwrap(),
    )
}

fn is_of_user_7(session: &FormerSession) {
    assert_eq!(session.subject.as_ref().unwrap().as_str(), "7");
    assert_eq!(session.entries_lost, 0);
    // Django's own entries are not carried over.
    let [(name, Value::Map(visit))] = &session.entries[..] else {
        panic!("one entry: {:?}", session.entries)
    };
    assert_eq!(name, "visit");
    let named = |name: &str| {
        let pair = visit.iter().find(|(key, _)| *key == text(name));
        pair.expect(name).1.clone()
    };
    let item = |name, count| Value::List(vec![text(name), Value::UInt(count)]);
    assert_eq!(visit.len(), 7);
    assert_eq!(named("name"), text("User 7, \"Äda\""));
    assert_eq!(
        named("cart"),
        Value::List(vec![item("tea", 2), item("milk", 300)])
    );
    assert_eq!(named("balance"), Value::Int(-8));
    assert_eq!(named("ratio"), Value::Float(0.25));
    assert_eq!(named("referrer"), Value::Null);
}

#[tokio::test]
async fn what_a_real_site_has_written_is_read() {
    let (cookie, data) = golden(include_str!("golden/django"));
    let row = Row::new(data);
    let source = over_with(&row, PASSWORDS[0]);
    let session = load(&source, cookie).await.unwrap().unwrap();
    is_of_user_7(&session);
    assert_eq!(session.expires_at, NOW.saturating_add(HOUR));
    let id = source.read_cookie(cookie).unwrap();
    source.delete(&id).await.unwrap();
    assert!(load(&source, cookie).await.unwrap().is_none());

    let (cookie, _) = golden(include_str!("golden/django-cookie"));
    let source = in_cookie(PASSWORDS[1]).cookie_age(HOUR);
    let session = load(&source, cookie).await.unwrap().unwrap();
    is_of_user_7(&session);
    assert_eq!(session.expires_at, SIGNED.saturating_add(HOUR));
}

#[tokio::test]
async fn a_row_or_cookie_that_was_changed_or_is_of_another_secret_is_refused() {
    let (_, data) = golden(include_str!("golden/django"));
    let (cookie, _) = golden(include_str!("golden/django-cookie"));
    let source = in_cookie(PASSWORDS[1]);
    assert!(source.read_cookie(cookie).is_some());
    for at in 0..data.len() {
        for instead in ["A", "b", ":", ".", ""] {
            let mut changed = data.clone();
            changed.replace_range(at..=at, instead);
            if changed != data {
                refused(&Row::new(changed), "signed with a SECRET_KEY").await;
            }
        }
    }
    for at in 0..cookie.len() {
        for instead in ["A", "b", ":", ".", "", "%41", "="] {
            let mut changed = cookie.to_owned();
            changed.replace_range(at..=at, instead);
            assert!(changed == cookie || source.read_cookie(&changed).is_none());
        }
    }
    // Of the other salt, and of another secret.
    refused(&Row::new(cookie), "signed with a SECRET_KEY").await;
    assert!(source.read_cookie(&data).is_none());
    let none: [&str; 0] = [];
    for secrets in [&["another secret"][..], &none] {
        let password = |_| async { Ok(Some(PASSWORDS[1].to_owned())) };
        assert!(
            django_cookie(secrets, password)
                .read_cookie(cookie)
                .is_none()
        );
    }
    for key in [
        "",
        "x",
        &KEY[1..],
        &KEY.to_uppercase(),
        "mzaiv52gx0qgeypooxxvlr1ew1sqiey%38",
    ] {
        assert!(over(&Row::new("")).read_cookie(key).is_none(), "{key}");
    }
}

#[tokio::test]
async fn a_session_of_a_password_that_was_changed_opens_nothing() {
    let row = Row::new(signed(format!("{{{LOGIN}}}")));
    assert!(opened(&row).await.subject.is_some());
    let changed = load(&over_with(&row, "md5$salt$another"), KEY).await;
    let error = changed.expect_err("another password");
    assert!(error.to_string().contains("another password"), "{error}");
    assert!(!error.to_string().contains("md5"), "{error}");
    // A user who was deleted, or is not active any more.
    let gone = format!("{{{}}}", LOGIN.replace("\"7\"", "\"8\""));
    refused(&Row::new(signed(gone)), "is no more").await;
    // A login without the hash, and with one of another shape.
    for hash in [
        "",
        r#","_auth_user_hash":"43CE""#,
        r#","_auth_user_hash":4"#,
    ] {
        let json = format!(r#"{{"_auth_user_id":"7"{hash}}}"#);
        refused(&Row::new(signed(json)), "another password").await;
    }
    // Nobody can tell: the request fails, and the visitor keeps the cookie.
    let down = django_sessions(row, ["former secret"], |_| async {
        Err(ErrorKind::Unavailable.into())
    });
    let error = load(&down, KEY)
        .await
        .expect_err("the users are unavailable");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_visitor_who_has_not_logged_in_keeps_what_the_session_holds() {
    let row = Row::new(signed(r#"{"cart":[1],"cart":[1,2]}"#));
    let source = django_sessions(row, ["former secret"], |_| async {
        panic!("nobody is asked about")
    });
    let session = load(&source, KEY).await.unwrap().unwrap();
    assert_eq!(session.subject, None);
    let cart = Value::List(vec![Value::UInt(1), Value::UInt(2)]);
    assert_eq!(session.entries, [("cart".to_owned(), cart)]);
    assert!(opened(&Row::new(signed("{}"))).await.entries.is_empty());
    // Two visitors who have not logged in may have one signed cookie.
    let error = load(&in_cookie(PASSWORDS[2]), &signed_cookie(r#"{"cart":[1]}"#)).await;
    let error = error.expect_err("nobody");
    assert!(
        error.to_string().contains("nobody has logged in"),
        "{error}"
    );
}

#[tokio::test]
async fn the_application_may_name_the_user_otherwise() {
    let row = Row::new(signed(format!("{{{LOGIN}}}")));
    let source = over(&row).subject(|session| {
        let (_, id) = session
            .entries
            .iter()
            .find(|(name, _)| name == "_auth_user_id")?;
        let Value::Str(id) = id else { return None };
        Subject::new(format!("user-{id}")).ok()
    });
    let session = load(&source, KEY).await.unwrap().unwrap();
    assert_eq!(session.subject.unwrap().as_str(), "user-7");
    assert!(session.entries.is_empty());
}

#[tokio::test]
async fn each_session_ends_when_django_would_have_ended_it() {
    let minutes = |minutes: u64| SIGNED.saturating_add(Duration::from_secs(60 * minutes));
    let idle = SessionExpiry::Idle(Duration::from_secs(300));
    let instant = "2026-11-28T21:30:00.123456+00:00";
    let at = Timestamp::from_millis(1_795_901_400_123);
    let two_weeks = SIGNED.saturating_add(14 * 24 * HOUR);
    let row_ends = NOW.saturating_add(HOUR);
    for (chosen, in_row, in_cookie_until) in [
        ("null".to_owned(), SessionExpiry::Default, Some(two_weeks)),
        ("0".to_owned(), SessionExpiry::BrowserClose, Some(two_weeks)),
        ("300".to_owned(), idle, Some(minutes(5))),
        ("300.0".to_owned(), idle, Some(minutes(5))),
        (
            format!("\"{instant}\""),
            SessionExpiry::At(row_ends),
            Some(at),
        ),
        ("-1".to_owned(), SessionExpiry::At(Timestamp::EPOCH), None),
        (
            "30".to_owned(),
            SessionExpiry::Idle(Duration::from_secs(30)),
            None,
        ),
    ] {
        let json = format!(r#"{{{LOGIN},"_session_expiry":{chosen}}}"#);
        let session = opened(&Row::new(signed(&json))).await;
        assert_eq!(session.expiry, in_row, "{chosen}");
        assert_eq!(session.expires_at, row_ends, "{chosen}");
        assert!(session.entries.is_empty(), "{chosen}");
        let session = load(&in_cookie(PASSWORDS[2]), &signed_cookie(&json))
            .await
            .unwrap();
        let ends = session.as_ref().map(|session| session.expires_at);
        assert_eq!(ends, in_cookie_until, "{chosen}");
    }
    for chosen in ["\"soon\"", "[]", "true"] {
        let json = format!(r#"{{{LOGIN},"_session_expiry":{chosen}}}"#);
        let error = load(&in_cookie(PASSWORDS[2]), &signed_cookie(&json)).await;
        assert_eq!(error.expect_err(chosen).kind(), ErrorKind::Corrupt);
    }
    // Of a row that has expired, nobody is asked.
    let mut row = Row::new(signed(r#"{"_auth_user_id":"8"}"#));
    row.expire_date = Some(NOW);
    assert!(load(&over(&row), KEY).await.unwrap().is_none());
    // No session is believed to live for longer than a cookie does.
    let mut row = Row::new(signed(format!(r#"{{{LOGIN},"_session_expiry":1e300}}"#)));
    row.expire_date = Some(Timestamp::MAX);
    let days_400 = Duration::from_secs(400 * 86_400);
    let session = opened(&row).await;
    assert_eq!(session.expires_at, NOW.saturating_add(days_400));
    assert_eq!(session.expiry, SessionExpiry::Idle(days_400));
}

/// "Remember me for 30 days" by `set_expiry`, at a site whose sessions else live for two weeks.
#[tokio::test]
async fn a_file_lives_for_as_long_as_its_session_has_chosen_and_a_cookie_for_its_age_at_most() {
    let after = |hours: u32| SIGNED.saturating_add(hours * HOUR);
    let (hour, two_weeks, month) = (after(1), after(14 * 24), after(30 * 24));
    for (chosen, file_until, cookie_until) in [
        ("null", two_weeks, two_weeks),
        ("0", two_weeks, two_weeks),
        ("3600", hour, hour),
        ("2592000", month, two_weeks),
        ("\"2026-12-28T20:49:00+00:00\"", month, two_weeks),
    ] {
        let json = format!(r#"{{{LOGIN},"_session_expiry":{chosen}}}"#);
        let mut file = Row::new(signed(&json));
        file.expire_date = None;
        assert_eq!(opened(&file).await.expires_at, file_until, "{chosen}");
        let session = load(&in_cookie(PASSWORDS[2]), &signed_cookie(&json)).await;
        let session = session.unwrap().expect("a session");
        assert_eq!(session.expires_at, cookie_until, "{chosen}");
    }
}

#[tokio::test]
async fn deadlines_in_local_time_are_read_as_such() {
    // Berlin in winter, an hour ahead; New York, five hours behind.
    let json = format!("{{{LOGIN}}}");
    let mut row = Row::new(signed(&json));
    row.expire_date = Some(NOW.saturating_add(2 * HOUR));
    let berlin = load(&over(&row).utc_offset_minutes(60), KEY).await;
    assert_eq!(
        berlin.unwrap().unwrap().expires_at,
        NOW.saturating_add(HOUR)
    );
    row.expire_date = Some(Timestamp::from_millis(NOW.as_millis() - 4 * 3_600_000));
    let new_york = load(&over(&row).utc_offset_minutes(-300), KEY).await;
    assert_eq!(
        new_york.unwrap().unwrap().expires_at,
        NOW.saturating_add(HOUR)
    );
    assert!(load(&over(&row), KEY).await.unwrap().is_none());
    row.expire_date = Some(Timestamp::EPOCH);
    let early = load(&over(&row).utc_offset_minutes(i32::MAX), KEY).await;
    assert!(early.unwrap().is_none());
    let naive = format!(r#"{{{LOGIN},"_session_expiry":"2026-11-28T22:30:00"}}"#);
    let source = in_cookie(PASSWORDS[2]).utc_offset_minutes(60);
    let session = load(&source, &signed_cookie(&naive))
        .await
        .unwrap()
        .unwrap();
    let half_past_nine = Timestamp::from_millis(1_795_901_400_000);
    assert_eq!(session.expires_at, half_past_nine);
}

#[tokio::test]
async fn what_rust_cannot_hold_is_lost_and_the_login_stays() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let json = format!(
        r#"{{{LOGIN},"nan":NaN,"half":"\ud83d","\ud83d":1,"list":[Infinity],"deep":{deep},"text":"a,}}\"]:\\","big":1e400}}"#
    );
    let session = opened(&Row::new(signed(json))).await;
    assert_eq!(session.subject.unwrap().as_str(), "7");
    assert_eq!(session.entries, [("text".to_owned(), text("a,}\"]:\\"))]);
    assert_eq!(session.entries_lost, 6);
    // Python reads what is not ASCII as Latin-1.
    let session = opened(&Row::new(signed("{\"n\":\"Zoë\"}"))).await;
    assert_eq!(session.entries, [("n".to_owned(), text("ZoÃ«"))]);
    // Its reader takes padding too.
    let padded = signed_for(ROW_SALT, "eyJuIjoxfQ==");
    assert_eq!(opened(&Row::new(padded)).await.entries.len(), 1);
}

#[tokio::test]
async fn what_is_no_session_is_an_error_and_no_panic() {
    refused(&Row::new(signed(b"\x80\x05}\x94.")), "a pickle").await;
    for json in [
        "",
        "[1]",
        "1",
        "{",
        "{}}",
        "{]}",
        "{\"a\"}",
        "{\"a\":",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{\"a\":1]",
        "{a:1}",
        "{\"a\":1}{",
        "{\"a",
        "{\"a\\",
        "{,}",
        "{:}",
    ] {
        refused(&Row::new(signed(json)), "no object of JSON").await;
    }
    refused(&Row::new(signed("[".repeat(1 << 19))), "no object of JSON").await;
    refused(&Row::new(signed_for(ROW_SALT, "*")), "base64url").await;
    refused(&Row::new(signed_for(ROW_SALT, ".AAAA")), "inflated").await;
    for bad in ["", ":", "::", ":1xXPLw:", "no colon"] {
        refused(&Row::new(bad), "signed with a SECRET_KEY").await;
    }
    // As Django wrote it until 3.0.
    let old = "NWYwMzAwOTYwZTBjNWMwMzBhMjczNmRmNWU0ZGMwNmNjZGNmNDRkNTp7Il9hdXRoX3VzZXJfaWQiOiI0Mi";
    refused(&Row::new(old), "a Django before 3.1").await;
    // Neither a large one nor one that becomes large.
    let large = |bytes| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    let megabyte = 1 << 20;
    refused(&Row::new(signed(large(megabyte))), "larger than 1 MiB").await;
    refused(
        &Row::new(deflated(large(megabyte).as_bytes())),
        "larger than 1 MiB",
    )
    .await;
    refused(
        &Row::new(deflated(large(50 * megabyte).as_bytes())),
        "larger than 1 MiB",
    )
    .await;
    let fits = Row::new(deflated(large(megabyte - 8).as_bytes()));
    assert_eq!(opened(&fits).await.entries.len(), 1);
}

#[test]
fn nothing_secret_is_printed() {
    let source = over(&Row::new("a value"));
    let printed = format!("{source:?}");
    assert!(
        !printed.contains("secret") && !printed.contains("a value"),
        "{printed}"
    );
}
