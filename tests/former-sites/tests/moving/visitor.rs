//! A visitor with a browser: it keeps the cookies of answers that came whole.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{Answer, Site};

/// How long a visitor tries again while the site is down.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Visitor {
    pub user: u64,
    /// Whether a logout was answered with success.
    pub is_out: bool,
    jar: BTreeMap<String, String>,
    /// Every cookie header that it has sent.
    sent: Vec<String>,
}

impl Visitor {
    pub fn new(user: u64) -> Self {
        Self {
            user,
            is_out: false,
            jar: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    pub fn log_in(&mut self, site: &Site) {
        let path = format!("/login?user={}", self.user);
        let answer = self.get(site, &path);
        assert_eq!((answer.status, &*answer.body), (200, "welcome"));
    }

    pub fn is_logged_in(&mut self, site: &Site) {
        assert_eq!(self.says(site), format!("user {}", self.user));
    }

    pub fn log_out(&mut self, site: &Site) {
        assert_eq!(self.get(site, "/logout").body, "bye");
        self.is_out = true;
    }

    /// Who the site says that it is.
    pub fn says(&mut self, site: &Site) -> String {
        self.get(site, "/whoami").body
    }

    /// Two requests at once.
    pub fn says_twice(&mut self, site: &Site) -> [String; 2] {
        let cookies = self.send();
        let ask = || answered(site, "/whoami", &cookies);
        let (first, second) = thread::scope(|scope| {
            let second = scope.spawn(ask);
            (ask(), second.join().expect("an answer"))
        });
        [first, second].map(|answer| self.keep(answer).body)
    }

    /// What a page says, whose cookies are not kept.
    pub fn would_get(&self, site: &Site, path: &str) -> String {
        answered(site, path, &self.cookies()).body
    }

    /// Who the site says that it is with other cookies than those at hand.
    pub fn would_say(&self, site: &Site, cookies: &str) -> String {
        answered(site, "/whoami", cookies).body
    }

    pub fn cookies(&self) -> String {
        let pairs = self.jar.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// Those of the former site, after the login.
    pub fn first_cookies(&self) -> String {
        self.sent[1].clone()
    }

    pub fn all_cookies(&self) -> Vec<String> {
        let mut all = self.sent.clone();
        all.dedup();
        all
    }

    fn send(&mut self) -> String {
        let cookies = self.cookies();
        self.sent.push(cookies.clone());
        cookies
    }

    fn get(&mut self, site: &Site, path: &str) -> Answer {
        let cookies = self.send();
        let answer = answered(site, path, &cookies);
        self.keep(answer)
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        for cookie in &answer.set_cookies {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a value");
            match attributes.contains("Max-Age=0") {
                true => self.jar.remove(name),
                false => self.jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }
}

/// The answer to a request that is sent until one comes whole.
fn answered(site: &Site, path: &str, cookies: &str) -> Answer {
    let begun = Instant::now();
    loop {
        match site.get(path, cookies) {
            Some(answer) if answer.status < 500 => return answer,
            _ => assert!(begun.elapsed() < PATIENCE, "the site does not come back"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
