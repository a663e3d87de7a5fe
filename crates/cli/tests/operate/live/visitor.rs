//! A visitor, and what the site has told them.

use std::iter::Sum;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::site::Client;
use super::{CLIENTS, REQUESTS_PER_SECOND, chance};

/// How long a visitor waits before they ask again what nobody has answered.
const AGAIN: Duration = Duration::from_millis(10);

/// What a visitor knows of their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    LoggedIn,
    /// They have asked for another key, and nobody has answered.
    Rotating,
    /// They have logged out, and nobody has answered.
    LoggingOut,
    LoggedOut,
    /// Their session has another key, which was on its way when the site was killed.
    Adrift,
}

pub(crate) struct Visitor {
    pub(crate) user: String,
    pub(crate) state: State,
    /// All that they have had; the last one is theirs now.
    keys: Vec<String>,
    count_least: u64,
    count_most: u64,
}

/// How many requests were answered, and how many not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    logins: u32,
    counts: u32,
    rotations: u32,
    logouts: u32,
    reads: u32,
    unanswered: u32,
}

impl Tally {
    pub(crate) fn answered(&self) -> u32 {
        self.logins + self.counts + self.rotations + self.logouts + self.reads
    }

    pub(crate) fn is_of_everything(&self) -> bool {
        let each = [self.logins, self.counts, self.rotations, self.logouts];
        each.into_iter().all(|count| count > 0)
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |one, other| Self {
            logins: one.logins + other.logins,
            counts: one.counts + other.counts,
            rotations: one.rotations + other.rotations,
            logouts: one.logouts + other.logouts,
            reads: one.reads + other.reads,
            unanswered: one.unanswered + other.unanswered,
        })
    }
}

/// Lets visitors come, at a client's share of the requests in a second.
pub(crate) fn visit_until(
    is_over: &AtomicBool,
    mut client: Client<'_>,
    visitors: &mut Vec<Visitor>,
    next_user: &AtomicU64,
) -> Tally {
    let between = Duration::from_secs(CLIENTS as u64) / REQUESTS_PER_SECOND;
    let (mut tally, mut due) = (Tally::default(), Instant::now());
    while !is_over.load(Ordering::SeqCst) {
        due += between;
        match due.checked_duration_since(Instant::now()) {
            Some(early) => sleep(early),
            // A site that did not run is not overrun afterwards.
            None if due.elapsed() > Duration::from_secs(1) => due = Instant::now(),
            None => {}
        }
        let any = usize::try_from(chance(visitors.len() as u64)).unwrap();
        if chance(100) < 8 {
            let user = next_user.fetch_add(1, Ordering::SeqCst).to_string();
            let answer = client.ask(&format!("/login/{user}"), None);
            // Who gets no answer has no cookie either.
            match answer.and_then(|answer| answer.key) {
                Some(key) => {
                    tally.logins += 1;
                    visitors.push(Visitor::new(user, key));
                }
                None => tally.unanswered += 1,
            }
            continue;
        }
        let visitor = &mut visitors[any];
        let (counted, is_answered) = match visitor.state {
            State::LoggedOut | State::Adrift => continue,
            State::Rotating => (&mut tally.reads, visitor.look_again(&mut client)),
            State::LoggingOut => (&mut tally.logouts, visitor.log_out(&mut client)),
            State::LoggedIn => match chance(100) {
                0..60 => (&mut tally.counts, visitor.count(&mut client)),
                60..75 => (&mut tally.rotations, visitor.rotate(&mut client)),
                75..85 => (&mut tally.logouts, visitor.log_out(&mut client)),
                _ => (&mut tally.reads, visitor.look(&mut client)),
            },
        };
        match is_answered {
            true => *counted += 1,
            false => {
                tally.unanswered += 1;
                sleep(AGAIN);
            }
        }
    }
    tally
}

impl Visitor {
    pub(crate) fn new(user: String, key: String) -> Self {
        Self {
            user,
            state: State::LoggedIn,
            keys: vec![key],
            count_least: 0,
            count_most: 0,
        }
    }

    fn key(&self) -> Option<&str> {
        self.keys.last().map(String::as_str)
    }

    /// Takes in what the site says of a session that must be open.
    fn hear(&mut self, said: &str) {
        let count = said.strip_prefix(&self.user).map(str::trim);
        let count: u64 = count
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("user {} is lost: the site says {said}", self.user));
        let counts = self.count_least..=self.count_most;
        assert!(
            counts.contains(&count),
            "user {} has counted to {counts:?}, and has {count}",
            self.user
        );
        (self.count_least, self.count_most) = (count, count);
    }

    fn look(&mut self, client: &mut Client<'_>) -> bool {
        let answer = client.ask("/whoami", self.key());
        answer.map(|answer| self.hear(&answer.body)).is_some()
    }

    /// Whether a key that was on its way has been lost with the answer.
    fn look_again(&mut self, client: &mut Client<'_>) -> bool {
        let Some(answer) = client.ask("/whoami", self.key()) else {
            return false;
        };
        self.state = State::Adrift;
        if answer.body != "nobody" {
            self.hear(&answer.body);
            self.state = State::LoggedIn;
        }
        true
    }

    fn count(&mut self, client: &mut Client<'_>) -> bool {
        self.count_most += 1;
        let answer = client.ask("/count", self.key());
        let Some(answer) = answer else { return false };
        self.count_least += 1;
        self.hear(&answer.body);
        true
    }

    fn rotate(&mut self, client: &mut Client<'_>) -> bool {
        self.state = State::Rotating;
        let Some(answer) = client.ask("/rotate", self.key()) else {
            return false;
        };
        self.hear(&answer.body);
        self.keys
            .push(answer.key.expect("a rotation hands out a key"));
        self.state = State::LoggedIn;
        true
    }

    fn log_out(&mut self, client: &mut Client<'_>) -> bool {
        self.state = State::LoggingOut;
        let answer = client.ask("/logout", self.key());
        let is_out = answer.is_some_and(|answer| answer.body == "bye");
        if is_out {
            self.state = State::LoggedOut;
        }
        is_out
    }

    /// Asks until it is known what became of what nobody has answered.
    pub(crate) fn resolve(&mut self, client: &mut Client<'_>) {
        loop {
            let is_known = match self.state {
                State::Rotating => self.look_again(client),
                State::LoggingOut => self.log_out(client),
                _ => true,
            };
            if is_known {
                return;
            }
            sleep(AGAIN);
        }
    }

    /// Whether the session opens, with the value that was acknowledged last.
    pub(crate) fn is_as_told(&self, client: &mut Client<'_>) -> bool {
        let said = answered(client, self.key());
        let counts = self.count_least..=self.count_most;
        let is_right = counts
            .map(|count| format!("{} {count}", self.user))
            .any(|right| right == said);
        if !is_right {
            println!(
                "user {} has counted to {}, and is {said}",
                self.user, self.count_least
            );
        }
        is_right
    }

    /// How many keys open a session that should open none.
    pub(crate) fn opened_by_former_keys(&self, client: &mut Client<'_>) -> usize {
        let is_in = self.state == State::LoggedIn;
        let former = &self.keys[..self.keys.len() - usize::from(is_in)];
        let opened = former.iter().filter(|key| {
            let said = answered(client, Some(key));
            if said != "nobody" {
                println!("a former key of user {} opens {said}", self.user);
            }
            said != "nobody"
        });
        opened.count()
    }
}

/// Who the site says that it is, asked until it answers.
fn answered(client: &mut Client<'_>, key: Option<&str>) -> String {
    loop {
        match client.ask("/whoami", key) {
            Some(answer) => return answer.body,
            None => sleep(AGAIN),
        }
    }
}
