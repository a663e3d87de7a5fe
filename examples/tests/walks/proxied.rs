//! The example behind nginx.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cloakroom_servers::Nginx;
use tempfile::tempdir;

use crate::site::{Browser, Site};

/// The directives of a block of the example's configuration, but for where nginx listens and
/// passes requests on to.
fn directives(block: &str) -> String {
    let lines = block.lines().map(str::trim);
    let is_kept = |line: &&str| {
        let first = line.split(' ').next();
        !matches!(
            first,
            Some("listen" | "proxy_pass" | "server" | "#" | "}" | "")
        )
    };
    lines.filter(is_kept).collect::<Vec<_>>().join(" ")
}

#[test]
fn behind_nginx() {
    let folder = tempdir().unwrap();
    let keys = folder.path().join("session.keys");
    fs::write(&keys, "5".repeat(64)).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_behind_nginx"), folder.path());
    let port = site.addr.rsplit(':').next().unwrap().parse().unwrap();
    let (server, location) = include_str!("../../nginx.conf")
        .split_once("location / {")
        .unwrap();
    let (server, location) = (directives(server), directives(location));
    let Some(nginx) = Nginx::start_with(port, &server, &location) else {
        return;
    };
    let mut browser = Browser::at(&format!("127.0.0.1:{}", nginx.port()));
    for bytes in [10, 3_000, 10_000] {
        let note = "n".repeat(bytes);
        browser.post("/", &format!("text={note}")).leads_to("/");
        browser.get("/").shows(&note);
    }
    assert_eq!(browser.cookies.len(), 4, "the note takes four cookies");
    let page = browser.post("/", &format!("text={}", "n".repeat(10_001)));
    assert_eq!(page.status, 413);
}
