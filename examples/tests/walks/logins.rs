//! The examples about logging in and out.

use tempfile::tempdir;

use crate::site::Site;

fn walk_through_a_login(program: &str) {
    let folder = tempdir().unwrap();
    let site = Site::start(program, folder.path());
    let mut ada = site.browser();
    ada.get("/account?tab=2")
        .leads_to("/login?next=/account%3Ftab%3D2");
    ada.get("/login").shows("<form method=post>");
    assert_eq!(ada.session(), None);
    let wrong = ada.post("/login", "name=ada&password=wrong");
    assert_eq!((wrong.status, ada.session()), (401, None));

    let here = ada.post("/login?next=/account%3Ftab%3D2", "name=ada&password=engine");
    here.leads_to("/account?tab=2");
    ada.get("/account?tab=2").shows("user 1815");
    let stolen = ada.clone();
    ada.post("/logout", "").leads_to("/login");
    assert_eq!(ada.session(), None);
    for mut browser in [ada, stolen] {
        browser.get("/account").leads_to("/login?next=/account");
    }
    // A link to another site leads to none.
    for next in ["//e.com", "/%5Ce.com", "/%09/e.com", "https://e.com", ""] {
        let mut browser = site.browser();
        let path = format!("/login?next={next}");
        let page = browser.post(&path, "name=ada&password=engine");
        page.leads_to("/account");
    }
}

#[test]
fn login_axum() {
    walk_through_a_login(env!("CARGO_BIN_EXE_login_axum"));
}

#[test]
fn login_actix() {
    walk_through_a_login(env!("CARGO_BIN_EXE_login_actix"));
}

#[test]
fn step_up() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_step_up"), folder.path());
    let mut ada = site.browser();
    ada.get("/keys").leads_to("/login?next=/keys");
    ada.post("/login?next=/keys", "password=engine")
        .leads_to("/keys");
    // The login itself is fresh, and is of one factor.
    ada.get("/keys").shows("Make new ones");
    ada.post("/keys", "").shows("New keys.");
    let confirm = "/confirm?next=/payout&level=2";
    ada.get("/payout").leads_to(confirm);
    ada.get(confirm).shows("second factor");
    let before = ada.session().map(str::to_owned);
    assert_eq!(ada.post(confirm, "password=wrong&code=1843").status, 401);
    ada.post(confirm, "password=engine&code=1")
        .leads_to("/payout");
    ada.get("/payout").leads_to(confirm);
    ada.post(confirm, "password=engine&code=1843")
        .leads_to("/payout");
    ada.get("/payout").shows("1815 may be paid.");
    assert_ne!(ada.session(), before.as_deref());
    let elsewhere = ada.post("/confirm?next=//e.com", "password=engine");
    elsewhere.leads_to("/account");
    // Who is nobody cannot confirm that it is still them.
    let mut nobody = site.browser();
    nobody.get("/confirm").leads_to("/login?next=/confirm");
    assert_eq!(nobody.post("/confirm", "password=engine").status, 401);
}

#[test]
fn log_out_everywhere() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_log_out_everywhere"), folder.path());
    let log_in = |user: u64, agent: &str| {
        let mut browser = site.browser();
        browser.headers = format!("User-Agent: {agent}\r\n");
        let page = browser.post("/login", &format!("id={user}"));
        page.leads_to("/sessions");
        browser
    };
    let mut laptop = log_in(7, "Firefox/140");
    let mut phone = log_in(7, "Mobile Safari/1");
    let mut tablet = log_in(7, "<b>");
    let mut other = log_in(8, "Chrome/1");
    let is_in = |page: crate::site::Reply| page.status == 200;

    let page = laptop.get("/sessions");
    page.shows("Firefox (this one)");
    page.shows("Safari");
    page.shows("A browser");
    assert!(!page.body.contains("Chrome") && !page.body.contains("<b>"));

    // One of them, by its button; that of somebody else is not one's to end.
    let id_of = |body: &str, label: &str| {
        let (_, rest) = body.split_once(label).unwrap();
        let (_, rest) = rest.split_once("value=").unwrap();
        rest.split_once('>').unwrap().0.to_owned()
    };
    let tablets = id_of(&page.body, "A browser");
    let end = |id: &str| format!("id={id}");
    other
        .post("/sessions/end", &end(&tablets))
        .leads_to("/sessions");
    assert!(is_in(tablet.get("/sessions")));
    laptop
        .post("/sessions/end", &end(&tablets))
        .leads_to("/sessions");
    tablet.get("/sessions").leads_to("/login?next=/sessions");
    assert_eq!(laptop.post("/sessions/end", "id=7").status, 422);

    laptop
        .post("/sessions/end-others", "")
        .leads_to("/sessions");
    assert!(is_in(laptop.get("/sessions")) && !is_in(phone.get("/sessions")));
    let mut phone = log_in(7, "Mobile Safari/1");
    laptop.post("/sessions/end-all", "").leads_to("/login");
    assert_eq!(laptop.session(), None);
    assert!(!is_in(laptop.get("/sessions")) && !is_in(phone.get("/sessions")));

    let mut phone = log_in(7, "Mobile Safari/1");
    let mut nobody = site.browser();
    nobody.post("/password-reset", "id=7").leads_to("/login");
    assert!(!is_in(phone.get("/sessions")));
    assert!(
        is_in(other.get("/sessions")),
        "another user's session stays"
    );
}

#[test]
fn remember_me() {
    let folder = tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_remember_me");
    let site = Site::start(program, folder.path());
    let (mut kept, mut short) = (site.browser(), site.browser());
    let page = kept.post("/login", "user_id=7&remember=on");
    page.leads_to("/");
    let cookie = page.header("set-cookie").unwrap();
    // The browser keeps it for the 180 days, the server judges the 30 since the last visit.
    assert!(cookie.contains("Max-Age=15552000"), "{cookie}");
    kept.get("/").shows("user 7, remembered for 30 days");
    let page = short.post("/login", "user_id=8");
    let cookie = page.header("set-cookie").unwrap();
    assert!(!cookie.contains("Max-Age"), "{cookie}");
    short.get("/").shows("user 8, remembered until you close");

    // The server starts again.
    drop(site);
    let site = Site::start(program, folder.path());
    let mut back = site.browser();
    back.cookies = kept.cookies;
    back.get("/").shows("user 7, remembered for 30 days");
    site.browser().get("/").shows("User number");
}

#[test]
fn with_axum_login() {
    let folder = tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_with_axum_login");
    let site = Site::start(program, folder.path());
    let mut ada = site.browser();
    let page = ada.get("/");
    assert_eq!(page.header("location"), Some("/login?next=%2F"));
    assert_eq!(ada.post("/login", "name=ada&password=no").status, 401);
    ada.post("/login", "name=ada&password=engine").leads_to("/");
    ada.get("/").shows("You are ada.");

    // The server starts again.
    drop(site);
    let site = Site::start(program, folder.path());
    let mut back = site.browser();
    back.cookies = ada.cookies;
    back.get("/").shows("You are ada.");
    let mut stolen = back.clone();
    back.post("/logout", "").leads_to("/login");
    assert!(back.cookies.is_empty());
    assert_eq!(stolen.get("/").header("location"), Some("/login?next=%2F"));
}

#[test]
fn api() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_api"), folder.path());
    let mut script = site.browser();
    let origin = "Origin: https://shop.example\r\n";

    // A browser asks before it lets a script of another site send these headers.
    script.headers = format!(
        "{origin}Access-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: authorization\r\n"
    );
    let page = script.send("OPTIONS", "/me", "");
    let allowed = page.header("access-control-allow-headers").unwrap();
    assert_eq!(page.status, 204);
    assert!(allowed.split(", ").any(|name| name == "authorization"));

    script.headers = format!("{origin}Content-Type: application/json\r\n");
    let wrong = r#"{"name": "ada", "password": "wrong"}"#;
    let page = script.send("POST", "/login", wrong);
    assert_eq!((page.status, page.header("x-session-token")), (401, None));
    let right = r#"{"name": "ada", "password": "engine"}"#;
    let page = script.send("POST", "/login", right);
    page.shows(r#"{"user_id":"1815"}"#);
    let exposed = page.header("access-control-expose-headers");
    assert_eq!(exposed, Some("x-session-token"));
    assert_eq!(page.header("set-cookie"), None);
    let token = page.header("x-session-token").unwrap().to_owned();

    assert_eq!(script.get("/me").status, 401);
    script.headers = format!("{origin}Authorization: Bearer {token}\r\n");
    script.get("/me").shows(r#"{"user_id":"1815"}"#);
    let page = script.send("POST", "/logout", "");
    assert_eq!(
        (page.status, page.header("x-session-token")),
        (204, Some(""))
    );
    let page = script.get("/me");
    assert_eq!(page.status, 401);
    // A script may read that it was refused, too.
    let origin = page.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://shop.example"));
}
