//! A Chromium that visits pages of a test.

use std::path::Path;
use std::process::{Command, Stdio};
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
        let mut browser = Command::new(&self.program)
            // The test's own pages are all it ever sees.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--dump-dom",
            ])
            // Until scripts have nothing more to wait for, 5 s at most.
            .arg("--virtual-time-budget=5000")
            .arg(format!("--user-data-dir={}", self.profile.display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
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
}
