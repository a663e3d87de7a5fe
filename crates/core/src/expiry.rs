//! How long a session lives.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::duration_millis;
use crate::{Error, ErrorKind, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// The lifetime of sessions: how long one lives unused, and how long it lives
/// at all.
///
/// `idle` slides: each use moves the deadline on. `absolute` is counted from
/// the beginning of the session (a login begins it anew) and never moves.
///
/// ```
/// use cloakroom_core::Expiry;
/// use std::time::Duration;
///
/// let expiry = Expiry::new(Duration::from_secs(30 * 60), Some(Duration::from_secs(12 * 3600)))?;
/// assert_eq!(expiry.idle(), Duration::from_secs(1800));
/// assert_eq!(Expiry::default().idle(), Duration::from_secs(1_209_600));
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    idle: Duration,
    absolute: Option<Duration>,
    ends_with_browser: bool,
}

impl Default for Expiry {
    /// Two weeks idle, as Django; 30 days at most, as NIST SP 800-63B-4 asks of
    /// its lowest level; a persistent cookie.
    fn default() -> Self {
        Self {
            idle: 14 * DAY,
            absolute: Some(30 * DAY),
            ends_with_browser: false,
        }
    }
}

impl Expiry {
    /// Lifetimes of one's own. `None` for `absolute` lets a session that is in
    /// use live for ever.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a lifetime under one millisecond.
    pub fn new(idle: Duration, absolute: Option<Duration>) -> Result<Self, Error> {
        let shortest = Duration::from_millis(1);
        if idle < shortest || absolute.is_some_and(|absolute| absolute < shortest) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a session lifetime must be one millisecond at least",
            ));
        }
        Ok(Self {
            idle,
            absolute,
            ends_with_browser: false,
        })
    }

    /// NIST SP 800-63B-4, section 2.1.3 (AAL1): reauthentication after 30 days
    /// at most. The standard asks for no idle limit here; this preset keeps the
    /// default of two weeks. As section 5.1 asks of every level, the cookie ends with
    /// the browser.
    #[must_use]
    pub fn aal1() -> Self {
        Self {
            idle: 14 * DAY,
            absolute: Some(30 * DAY),
            ends_with_browser: true,
        }
    }

    /// NIST SP 800-63B-4, section 2.2.3 (AAL2): one hour idle, 24 hours at most; and
    /// section 5.1: the cookie ends with the browser.
    #[must_use]
    pub fn aal2() -> Self {
        Self {
            idle: HOUR,
            absolute: Some(24 * HOUR),
            ends_with_browser: true,
        }
    }

    /// NIST SP 800-63B-4, section 2.3.3 (AAL3): 15 minutes idle, 12 hours at
    /// most; and section 5.1: the cookie ends with the browser.
    #[must_use]
    pub fn aal3() -> Self {
        Self {
            idle: 15 * MINUTE,
            absolute: Some(12 * HOUR),
            ends_with_browser: true,
        }
    }

    /// The same lifetimes, with cookies that end with the browser.
    #[must_use]
    pub fn ending_with_browser(self) -> Self {
        Self {
            ends_with_browser: true,
            ..self
        }
    }

    /// How long a session lives unused.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// How long a session lives at all.
    #[must_use]
    pub fn absolute(&self) -> Option<Duration> {
        self.absolute
    }

    /// Whether cookies end with the browser unless a session says otherwise.
    #[must_use]
    pub fn ends_with_browser(&self) -> bool {
        self.ends_with_browser
    }
}

/// What one session chooses for itself, with
/// [`Session::set_expiry`](crate::session::Session::set_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionExpiry {
    /// What is configured.
    Default,
    /// Another idle time, within the configured absolute lifetime.
    Idle(Duration),
    /// A fixed end, however much the session is used; the configured absolute
    /// lifetime if that is sooner.
    At(Timestamp),
    /// The cookie ends with the browser; the record keeps the configured
    /// lifetimes.
    BrowserClose,
    /// Lifetimes of its own, in place of both configured ones: "remember me for
    /// 30 days" for this login only.
    Own(Expiry),
}

/// The choice as text, for a column and for an operator, with durations and
/// instants in milliseconds: `default`, `idle:N`, `at:N`, `browser`,
/// `own:IDLE:ABSOLUTE` or `own:IDLE:ABSOLUTE:browser`, where `ABSOLUTE` is `none`
/// for no limit.
///
/// ```
/// use cloakroom_core::SessionExpiry;
/// use std::time::Duration;
///
/// let choice = SessionExpiry::Idle(Duration::from_secs(60));
/// assert_eq!(choice.to_string(), "idle:60000");
/// assert_eq!("idle:60000".parse(), Ok(choice));
/// ```
impl fmt::Display for SessionExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Idle(idle) => write!(f, "idle:{}", duration_millis(*idle)),
            Self::At(instant) => write!(f, "at:{}", instant.as_millis()),
            Self::BrowserClose => f.write_str("browser"),
            Self::Own(own) => {
                write!(f, "own:{}:", duration_millis(own.idle))?;
                match own.absolute {
                    Some(absolute) => write!(f, "{}", duration_millis(absolute))?,
                    None => f.write_str("none")?,
                }
                f.write_str(if own.ends_with_browser {
                    ":browser"
                } else {
                    ""
                })
            }
        }
    }
}

/// That a text is no [`SessionExpiry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSessionExpiry;

impl fmt::Display for NoSessionExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no lifetime of a session, such as `default` or `idle:60000`")
    }
}

impl std::error::Error for NoSessionExpiry {}

impl FromStr for SessionExpiry {
    type Err = NoSessionExpiry;

    fn from_str(text: &str) -> Result<Self, NoSessionExpiry> {
        let duration = |text: &str| {
            let millis: u64 = text.parse().map_err(|_| NoSessionExpiry)?;
            // What is read can be written again.
            let millis = Timestamp::from_millis(millis).as_millis();
            Ok(Duration::from_millis(millis))
        };
        let parts: Vec<&str> = text.split(':').collect();
        Ok(match parts[..] {
            ["default"] => Self::Default,
            ["browser"] => Self::BrowserClose,
            ["idle", idle] => Self::Idle(duration(idle)?),
            ["at", instant] => {
                let millis = instant.parse().map_err(|_| NoSessionExpiry)?;
                Self::At(Timestamp::from_millis(millis))
            }
            ["own", idle, absolute, ref browser @ ..] => Self::Own(Expiry {
                idle: duration(idle)?,
                absolute: match absolute {
                    "none" => None,
                    absolute => Some(duration(absolute)?),
                },
                ends_with_browser: match browser {
                    [] => false,
                    ["browser"] => true,
                    _ => return Err(NoSessionExpiry),
                },
            }),
            _ => return Err(NoSessionExpiry),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    #[test]
    fn a_choice_reads_back_from_its_text_and_nothing_else_does() {
        let own = Expiry::new(MINUTE, Some(DAY)).unwrap();
        for (choice, text) in [
            (SessionExpiry::Default, "default"),
            (SessionExpiry::Idle(MINUTE), "idle:60000"),
            (SessionExpiry::At(NOW), "at:1000000000"),
            (SessionExpiry::BrowserClose, "browser"),
            (SessionExpiry::Own(own), "own:60000:86400000"),
            (
                SessionExpiry::Own(own.ending_with_browser()),
                "own:60000:86400000:browser",
            ),
            (
                SessionExpiry::Own(Expiry::new(MINUTE, None).unwrap()),
                "own:60000:none",
            ),
        ] {
            assert_eq!(choice.to_string(), text);
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in [
            "",
            "idle",
            "idle:",
            "idle:-1",
            "at:x",
            "own:1",
            "own:1:2:3",
            "own:1:2:browser:",
        ] {
            assert_eq!(
                text.parse::<SessionExpiry>(),
                Err(NoSessionExpiry),
                "{text}"
            );
        }
    }

    #[test]
    fn the_presets_are_those_of_the_standard() {
        for (preset, idle, absolute) in [
            (Expiry::aal1(), 14 * DAY, 30 * DAY),
            (Expiry::aal2(), HOUR, 24 * HOUR),
            (Expiry::aal3(), 15 * MINUTE, 12 * HOUR),
        ] {
            assert_eq!((preset.idle(), preset.absolute()), (idle, Some(absolute)));
            assert!(preset.ends_with_browser());
        }
        assert!(!Expiry::default().ends_with_browser());
    }

    #[test]
    fn a_lifetime_of_nothing_is_refused() {
        for (idle, absolute) in [(Duration::ZERO, None), (DAY, Some(Duration::ZERO))] {
            let error = Expiry::new(idle, absolute).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
        }
    }
}
