//! Who comes back with a session that has ended is told why, and the page of everybody's
//! sessions is for admins alone.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use axum::http::StatusCode;
use common::{Browser, PASSWORD, Seen, Site};

const SESSIONS: &str = "/admin/sessions";

/// What the page says of the session before.
fn ended(page: &Seen) -> String {
    let Some((_, rest)) = page.text.split_once(r#"<p class="ended" role="status">"#) else {
        return String::new();
    };
    let text = rest.split_once("</p>").unwrap().0.to_owned();
    ["<b>", "</b>", "<bdi>", "</bdi>"]
        .iter()
        .fold(text, |text, tag| text.replace(tag, ""))
}

/// An admin, who looks at the page of sessions.
async fn admin(site: &Site) -> Browser {
    let mut admin = site.browser();
    admin.enter("/register", "root").await;
    let page = admin
        .submit("/admin/enter", &[("password", PASSWORD)])
        .await;
    assert!(
        page.text.contains(r#"href="/admin/sessions""#),
        "{}",
        page.text
    );
    admin
}

/// Sends a form of the page of sessions.
async fn send(admin: &mut Browser, page: &Seen, fields: &[(&str, &str)]) -> Seen {
    let (_, rest) = page.text.split_once(r#"name="token" value=""#).unwrap();
    let mut fields = fields.to_vec();
    fields.push(("token", rest.split_once('"').unwrap().0));
    admin.post(SESSIONS, &fields).await
}

/// The user's id, as the page of what is stored says it.
async fn id_of(browser: &mut Browser) -> String {
    let page = browser.get("/record").await;
    let (_, rest) = page.text.split_once("Belongs to</dt><dd>").unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

#[tokio::test]
async fn one_is_told_on_which_device_one_was_logged_out_and_once() {
    let site = Site::new().await;
    let [mut here, mut there] = [site.browser(), site.browser()];
    here.enter("/register", "ada").await;
    there.enter("/login", "ada").await;
    here.get("/devices").await;
    here.submit("/devices/end-others", &[]).await;
    let page = there.get("/cart").await;
    assert_eq!(page.status, StatusCode::OK);
    let told = ended(&page);
    assert!(told.starts_with("You were logged out at "), "{told}");
    assert!(
        told.ends_with(" UTC from Firefox on Linux, where you are logged in too."),
        "{told}"
    );
    assert_eq!(there.cookie, None);
    assert_eq!(ended(&there.get("/cart").await), "");
    assert_eq!(ended(&here.get("/cart").await), "");
}

#[tokio::test]
async fn a_form_of_somebody_who_was_logged_out_meanwhile_does_nothing_and_says_why() {
    let site = Site::new().await;
    let [mut here, mut there] = [site.browser(), site.browser()];
    here.enter("/register", "ada").await;
    there.enter("/login", "ada").await;
    here.get("/devices").await;
    here.submit("/devices/end-others", &[]).await;
    let answer = there.post("/cart/add", &[("item", "hat")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(ended(&answer).starts_with("You were logged out at "));
    assert!(answer.text.contains("Nothing was done"), "{}", answer.text);
    let cart = there.get("/cart").await;
    assert!(cart.text.contains("Your cart is empty"), "{}", cart.text);
}

#[tokio::test]
async fn an_admin_ends_one_session_and_leaves_word() {
    let site = Site::new().await;
    let [mut phone, mut laptop] = [site.browser(), site.browser()];
    phone.enter("/register", "ada").await;
    laptop.enter("/login", "ada").await;
    let id = id_of(&mut phone).await;

    let page = phone.get(SESSIONS).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "ada is no admin");
    let mut admin = admin(&site).await;
    let page = admin.get(SESSIONS).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(
        page.header("content-security-policy")
            .contains("style-src 'sha256-")
    );
    assert!(
        page.text.contains("Administrator: <bdi>root</bdi>"),
        "{}",
        page.text
    );

    let page = admin.get(&format!("{SESSIONS}?subject={id}")).await;
    let (_, rest) = page.text.split_once(r#"name="session" value=""#).unwrap();
    let digest = rest.split_once('"').unwrap().0.to_owned();
    let fields = [
        ("do", "one"),
        ("subject", id.as_str()),
        ("session", &digest),
        ("note", "We found your phone."),
    ];
    let answer = send(&mut admin, &page, &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let mut told: Vec<_> = [phone.get("/").await, laptop.get("/").await]
        .iter()
        .map(ended)
        .collect();
    told.sort();
    assert_eq!(told[0], "");
    assert!(
        told[1].starts_with("An administrator logged you out at "),
        "{told:?}"
    );
    assert!(
        told[1].ends_with(" UTC. Their message: “We found your phone.”"),
        "{told:?}"
    );

    // The secret of the page's forms is not to be read anywhere, and goes with admin mode.
    let (_, rest) = page.text.split_once(r#"name="token" value=""#).unwrap();
    let token = rest.split_once('"').unwrap().0;
    let record = admin.get("/record").await;
    assert!(record.text.contains("cloakroom.admin") && !record.text.contains(token));
    admin.get("/admin").await;
    admin.submit("/admin/leave", &[]).await;
    assert_eq!(admin.get(SESSIONS).await.status, StatusCode::FORBIDDEN);
    assert!(!admin.get("/record").await.text.contains("cloakroom.admin"));
}
