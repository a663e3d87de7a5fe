//! The standards, and their levels.

use std::fmt;
use std::str::FromStr;

/// A standard, and which of its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// OWASP ASVS 5.0.0, level 1.
    Asvs5L1,
    /// OWASP ASVS 5.0.0, levels 1 and 2.
    Asvs5L2,
    /// OWASP ASVS 5.0.0, levels 1 to 3.
    Asvs5L3,
    /// NIST SP 800-63B-4, authentication assurance level 1.
    NistAal1,
    /// NIST SP 800-63B-4, authentication assurance level 2.
    NistAal2,
    /// NIST SP 800-63B-4, authentication assurance level 3.
    NistAal3,
    /// PCI DSS 4.0.1.
    PciDss4,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Asvs5L1,
        Self::Asvs5L2,
        Self::Asvs5L3,
        Self::NistAal1,
        Self::NistAal2,
        Self::NistAal3,
        Self::PciDss4,
    ];

    /// Its name on a command line, such as `asvs5-l2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asvs5L1 => "asvs5-l1",
            Self::Asvs5L2 => "asvs5-l2",
            Self::Asvs5L3 => "asvs5-l3",
            Self::NistAal1 => "nist-aal1",
            Self::NistAal2 => "nist-aal2",
            Self::NistAal3 => "nist-aal3",
            Self::PciDss4 => "pci-dss4",
        }
    }

    /// The document and the level, with what is looked at.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Asvs5L1 => "OWASP ASVS 5.0.0 (May 2025), level 1: sessions and their cookies",
            Self::Asvs5L2 => "OWASP ASVS 5.0.0 (May 2025), level 2: sessions and their cookies",
            Self::Asvs5L3 => "OWASP ASVS 5.0.0 (May 2025), level 3: sessions and their cookies",
            Self::NistAal1 => "NIST SP 800-63B-4 (July 2025), AAL1: session management",
            Self::NistAal2 => "NIST SP 800-63B-4 (July 2025), AAL2: session management",
            Self::NistAal3 => "NIST SP 800-63B-4 (July 2025), AAL3: session management",
            Self::PciDss4 => "PCI DSS 4.0.1 (June 2024): idle sessions",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// That a text names no [`Profile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProfile;

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a profile is one of")?;
        Profile::ALL
            .iter()
            .try_for_each(|profile| write!(f, " {profile}"))
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let mut all = Self::ALL.into_iter();
        all.find(|profile| profile.name() == text)
            .ok_or(UnknownProfile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_back_from_its_name_and_nothing_else_does() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        for text in ["", "asvs5", "ASVS5-L1", "asvs5-l4"] {
            let error = text.parse::<Profile>().unwrap_err();
            assert!(error.to_string().contains("asvs5-l1 asvs5-l2"), "{error}");
        }
    }
}
