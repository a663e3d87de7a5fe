//! A Chromium that visits pages of a test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine;

/// How long a visit may take.
const VISIT: Duration = Duration::from_secs(60);

/// A browser with a profile of its own, which keeps cookies from one visit to the next.
#[derive(Debug)]
pub struct Chromium {
    program: std::path::PathBuf,
    profile: std::path::PathBuf,
}

impl Chromium {
    /// One whose profile is made in this folder, or says loudly that there is none on
    /// this machine.
    ///
    /// # Panics
    /// Where it is absent and `CI` is set.
    pub fn new(folder: &Path) -> Option<Self> {
        let Some(program) = machine::program("chromium") else {
            machine::absent(&["chromium"], "chromium");
            return None;
        };
        Some(Self {
            program,
            profile: folder.join("profile"),
        })
    }

    /// Visits a page, and gives what it looks like to scripts when it is there. Cookies
    /// with an age are kept for the next visit.
    ///
    /// # Panics
    /// Where the browser does not answer within a minute.
    pub fn visit(&self, url: &str) -> String {
        let mut browser = self
            .command()
            .arg("--dump-dom")
            // Until scripts have nothing more to wait for, 5 s at most.
            .arg("--virtual-time-budget=5000")
            .arg(url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromium starts");
        let until = Instant::now() + VISIT;
        while browser.try_wait().expect("its own child").is_none() {
            if Instant::now() >= until {
                let _ = browser.kill();
                panic!("chromium has not shown {url} within {VISIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = browser.wait_with_output().expect("it has ended");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    /// Opens a page of `https://site.example.com:PORT` and stays there until the answer is
    /// dropped. That host is this machine, and the certificate whose key has this digest
    /// (SHA-256 of its `SubjectPublicKeyInfo`, in Base64) is believed. Sessions can be bound to
    /// the device, by keys in software.
    ///
    /// # Panics
    /// Where the browser does not start.
    #[must_use]
    pub fn stay_at(&self, url: &str, key_digest: &str) -> OpenPage {
        let features = "DeviceBoundSessions:RequireOriginTrialTokens/false/\
                        CheckSubdomainRegistration/false,\
                        EnableBoundSessionCredentialsSoftwareKeysForManualTesting";
        let hosts = "MAP site.example.com 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";
        let browser = self
            .command()
            .args(["--disable-component-update", "--disable-sync"])
            .arg(format!("--enable-features={features}"))
            .arg(format!("--host-resolver-rules={hosts}"))
            // Binding stays off where errors of certificates are ignored wholesale.
            .arg(format!(
                "--ignore-certificate-errors-spki-list={key_digest}"
            ))
            .arg("--remote-debugging-port=0")
            .arg(url)
            .stdout(Stdio::null())
            .spawn()
            .expect("chromium starts");
        OpenPage(browser)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            // The test's own pages are all it ever sees.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", self.profile.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A browser at a page. It is closed when this is dropped.
#[derive(Debug)]
pub struct OpenPage(Child);

impl Drop for OpenPage {
    fn drop(&mut self) {
        // Its helpers end when it does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
