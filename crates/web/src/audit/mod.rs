//! What a security standard asks of sessions, and whether this engine does it.

mod asvs;
mod facts;
mod nist;
mod pci;
mod profile;
mod table;

use std::borrow::Cow;

use crate::Engine;
use facts::Facts;
pub use profile::{Profile, UnknownProfile};

/// A requirement of a standard, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where the standard says it: its number there, or its section and, where that has a
    /// numbered list, the number in it. A section that says several things in prose has
    /// several findings of one id.
    pub id: &'static str,
    /// What it asks, in our words.
    pub requirement: &'static str,
    /// Whether the standard recommends it (NIST's *should*) rather than requires it.
    pub is_recommended: bool,
    /// Whether the engine does it.
    pub verdict: Verdict,
}

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The engine as it is configured meets it.
    Holds {
        /// By what.
        because: Cow<'static, str>,
    },
    /// The engine as it is configured does not meet it.
    Fails {
        /// What is so instead.
        because: Cow<'static, str>,
        /// The call that changes it.
        mend: &'static str,
    },
    /// No configuration of the engine can meet it: the application or its operator does.
    Application {
        /// What they must do, and what the engine offers for it.
        must: Cow<'static, str>,
    },
}

impl Verdict {
    /// Whether it is [`Verdict::Fails`].
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Fails { .. })
    }
}

/// An engine, held against a standard. `Display` shows it as a table for people.
///
/// A site's own test asserts that nothing fails, and lets a reviewer read the rest:
///
/// ```
/// use cloakroom_core::Expiry;
/// use cloakroom_core::store::SessionStore;
/// use cloakroom_web::{Engine, Profile};
///
/// # fn test(store: impl SessionStore) -> Result<(), cloakroom_core::Error> {
/// let engine = Engine::builder(store).expiry(Expiry::aal2()).build()?;
/// let audit = engine.audit(Profile::NistAal2);
/// assert_eq!(audit.failures().count(), 0, "{audit}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Audit {
    profile: Profile,
    findings: Vec<Finding>,
}

impl Audit {
    /// The standard, and which of its levels.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// All requirements, in the order of the standard.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Those that the engine does not meet.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.verdict.is_failure())
    }
}

impl Engine {
    /// Holds this engine against what a standard asks of sessions.
    ///
    /// It looks at what the engine is built with: expiry, cookie policy or bearer headers,
    /// what its store can do, and the other choices. What the engine does whatever is chosen
    /// holds because a test of this project says so. It does not see what a session chooses
    /// for itself with `set_expiry`, what handlers do, TLS, or the proxy in front.
    ///
    /// An audit is an aid to whoever answers for the site, and no certificate.
    #[must_use]
    pub fn audit(&self, profile: Profile) -> Audit {
        let facts = Facts::of(self.shared());
        let requirements = match profile {
            Profile::Asvs5L1 => asvs::requirements(1),
            Profile::Asvs5L2 => asvs::requirements(2),
            Profile::Asvs5L3 => asvs::requirements(3),
            Profile::NistAal1 => nist::requirements(1),
            Profile::NistAal2 => nist::requirements(2),
            Profile::NistAal3 => nist::requirements(3),
            Profile::PciDss4 => pci::requirements(),
        };
        let findings = requirements.into_iter().map(|requirement| Finding {
            id: requirement.id,
            requirement: requirement.text,
            is_recommended: requirement.is_recommended,
            verdict: (requirement.judge)(&facts),
        });
        Audit {
            profile,
            findings: findings.collect(),
        }
    }
}

/// How an engine is held against one requirement.
type Judge = fn(&Facts<'_>) -> Verdict;

/// A requirement, and how an engine is held against it.
#[derive(Clone, Copy)]
struct Requirement {
    id: &'static str,
    text: &'static str,
    is_recommended: bool,
    judge: Judge,
}

impl Requirement {
    const fn must(id: &'static str, text: &'static str, judge: Judge) -> Self {
        Self {
            id,
            text,
            is_recommended: false,
            judge,
        }
    }

    const fn should(id: &'static str, text: &'static str, judge: Judge) -> Self {
        Self {
            is_recommended: true,
            ..Self::must(id, text, judge)
        }
    }
}

fn holds(because: impl Into<Cow<'static, str>>) -> Verdict {
    Verdict::Holds {
        because: because.into(),
    }
}

fn fails(because: impl Into<Cow<'static, str>>, mend: &'static str) -> Verdict {
    Verdict::Fails {
        because: because.into(),
        mend,
    }
}

fn application(must: impl Into<Cow<'static, str>>) -> Verdict {
    Verdict::Application { must: must.into() }
}
