//! Two sites over one store: nothing of one opens, is listed, or ends in the other.

use std::sync::Arc;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, SessionKey, SubjectSessions, TokenStore as _};
use cloakroom::{BearerPolicy, CookiePolicy, Engine, Expiry, Site, Subject};
use cloakroom_testkit::{MapStore, key};

struct Visitor {
    cookie: String,
    token: String,
}

/// Logs a customer in, and answers what the browser holds.
async fn login(engine: &Engine, cookie: &str, user: &str) -> Visitor {
    let exchange = engine.exchange();
    let session = exchange.open(std::iter::empty()).await.unwrap();
    session.set_subject(Subject::new(user).unwrap()).unwrap();
    let closing = exchange.close(200).await;
    let header = closing.token_headers()[0].value();
    let (pair, _) = header.split_once(';').unwrap();
    let (name, token) = pair.split_once('=').unwrap();
    assert_eq!(name, cookie);
    Visitor {
        cookie: pair.to_owned(),
        token: token.to_owned(),
    }
}

async fn subject_of(engine: &Engine, cookie: &str) -> Option<String> {
    let exchange = engine.exchange();
    let opened = exchange.open([cookie.as_bytes()].into_iter()).await;
    let subject = opened.unwrap().subject();
    exchange.close(200).await;
    subject.map(|subject| subject.as_str().to_owned())
}

fn shop_and_admin() -> (Engine, Engine) {
    let store = Arc::new(MapStore::default());
    let admin = CookiePolicy::builder().name("admin").build().unwrap();
    let admin = Engine::builder(store.clone())
        .cookie(admin)
        .expiry(Expiry::aal3());
    (Engine::new(store), admin.build().unwrap())
}

#[tokio::test]
async fn a_cookie_of_one_site_opens_nothing_in_another() {
    let (shop, admin) = shop_and_admin();
    let customer = login(&shop, "__Host-session", "1").await;
    assert_eq!(
        subject_of(&shop, &customer.cookie).await.as_deref(),
        Some("1")
    );
    // The same token, under the name that the other site reads.
    let forged = format!("__Host-admin={}", customer.token);
    assert_eq!(subject_of(&admin, &forged).await, None);
    let digests = [&shop, &admin].map(|engine| {
        let token = engine.token(customer.token.as_str());
        engine.store().digest_of(&token).unwrap()
    });
    assert_ne!(digests[0], digests[1]);
}

#[tokio::test]
async fn a_subject_of_one_site_is_neither_listed_nor_ended_in_another() {
    let (shop, admin) = shop_and_admin();
    let customer = login(&shop, "__Host-session", "1").await;
    let operator = login(&admin, "__Host-admin", "1").await;
    let exchange = admin.exchange();
    let session = exchange
        .open([operator.cookie.as_bytes()].into_iter())
        .await;
    let sessions = SubjectSessions::new(exchange.clone(), session.unwrap());
    assert_eq!(sessions.list().await.unwrap().len(), 1);
    assert_eq!(sessions.end_all().await.unwrap(), 0);
    exchange.close(200).await;
    assert_eq!(subject_of(&admin, &operator.cookie).await, None);
    assert_eq!(
        subject_of(&shop, &customer.cookie).await.as_deref(),
        Some("1")
    );
    // A logout with the other site's token ends nothing either.
    let exchange = admin.exchange();
    let forged = format!("__Host-admin={}", customer.token);
    let session = exchange
        .open([forged.as_bytes()].into_iter())
        .await
        .unwrap();
    session.flush().unwrap();
    exchange.close(200).await;
    assert_eq!(
        subject_of(&shop, &customer.cookie).await.as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn a_site_that_is_named_keeps_its_sessions_when_the_cookie_is_renamed() {
    let store = Arc::new(MapStore::default());
    let site = Site::new("shop").unwrap();
    let engine = |name: &str| {
        let cookie = CookiePolicy::builder().name(name).build().unwrap();
        let builder = Engine::builder(store.clone()).cookie(cookie);
        builder.site(site.clone()).build().unwrap()
    };
    let visitor = login(&engine("old"), "__Host-old", "1").await;
    let renamed = format!("__Host-new={}", visitor.token);
    let subject = subject_of(&engine("new"), &renamed).await;
    assert_eq!(subject.as_deref(), Some("1"));
}

/// Another default would be a new start for the visitors of every site that names none.
#[test]
fn a_site_that_is_not_named_is_the_full_name_of_the_cookie_or_bearer() {
    let store = Arc::new(MapStore::default());
    let bearer = Engine::builder(store.clone()).bearer(BearerPolicy::default());
    let token = key().to_token();
    for (engine, site) in [
        (Engine::new(store), "__Host-session"),
        (bearer.build().unwrap(), "bearer"),
    ] {
        let key = SessionKey::parse(token.expose()).unwrap();
        let digest = key.of_site(&Site::new(site).unwrap()).digest();
        let of_engine = engine.store().digest_of(&engine.token(token.expose()));
        assert_eq!(of_engine, Some(digest), "{site}");
    }
}

#[tokio::test]
async fn a_sealed_cookie_of_one_site_opens_nothing_in_another_of_the_same_name() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let [shop, admin] = ["shop", "admin"].map(|site| {
        let store = CookieStore::builder("__Host-session", &ring)
            .build()
            .unwrap();
        let engine = Engine::builder(store).site(Site::new(site).unwrap());
        engine.build().unwrap()
    });
    let customer = login(&shop, "__Host-session", "1").await;
    assert_eq!(
        subject_of(&shop, &customer.cookie).await.as_deref(),
        Some("1")
    );
    assert_eq!(subject_of(&admin, &customer.cookie).await, None);
}
