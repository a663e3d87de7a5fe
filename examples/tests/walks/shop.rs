//! The examples about what a session holds, and about the process around it.

use std::thread;

use tempfile::tempdir;

use crate::site::Site;

#[test]
fn flash_and_cart() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_flash_and_cart"), folder.path());
    let mut browser = site.browser();
    browser.post("/add", "item=tea").leads_to("/");
    let page = browser.get("/");
    page.shows("<em>tea is in your cart.</em>");
    page.shows("1 x tea");
    let page = browser.get("/");
    page.shows("1 x tea");
    assert!(!page.body.contains("<em>"), "a notice is read once");
    assert_eq!(browser.post("/add", "item=%3Cb%3E").status, 422);

    // Requests at once: each counts, and so does a change of another field.
    let requests = (0..20).map(|number| {
        let mut browser = browser.clone();
        thread::spawn(move || match number % 5 {
            0 => browser.post("/wrap", "").leads_to("/"),
            _ => browser.post("/add", "item=milk").leads_to("/"),
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.join().unwrap();
    }
    let page = browser.get("/");
    page.shows("16 x milk");
    page.shows("1 x tea");
    page.shows("Wrapped as a gift.");
    assert_eq!(page.body.matches("milk is in your cart.").count(), 16);
}

#[test]
fn tested_handler() {
    let folder = tempdir().unwrap();
    let site = Site::start(env!("CARGO_BIN_EXE_tested_handler"), folder.path());
    let mut browser = site.browser();
    for visit in 1..10 {
        browser.get("/").shows(&format!("Visit {visit}."));
    }
    browser.get("/").shows("Visit 10: log in for a cake.");
}

#[cfg(unix)]
#[test]
fn graceful_stop() {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    let folder = tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_graceful_stop");
    let mut site = Site::start(program, folder.path());
    let mut browser = site.browser();
    browser.get("/").shows("1 times");

    let mut slow = browser.clone();
    let slow = thread::spawn(move || slow.get("/slow"));
    // Until it is under way; were it not, it would be refused below.
    thread::sleep(Duration::from_secs(1));
    kill_process(Pid::from_child(&site.child), Signal::TERM).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&site.addr).is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
    }
    slow.join().unwrap().shows("2 times");
    let mut output = String::new();
    site.output.read_to_string(&mut output).unwrap();
    assert!(output.contains("Stopped; sweeps: 1."), "{output}");
    assert!(site.child.wait().unwrap().success());

    let site = Site::start(program, folder.path());
    let mut back = site.browser();
    back.cookies = browser.cookies;
    back.get("/").shows("3 times");
}
