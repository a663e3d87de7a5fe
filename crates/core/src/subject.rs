//! Whom a session belongs to, and what its owner calls it.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind};

/// Bytes of the longest subject or label.
pub const SUBJECT_BYTES_MAX: usize = 256;

fn too_long(what: &str, bytes: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("{what} is {bytes} bytes, SUBJECT_BYTES_MAX is {SUBJECT_BYTES_MAX}"),
    )
}

/// A text of at most [`SUBJECT_BYTES_MAX`] bytes in a record's header.
macro_rules! header_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text.
            ///
            /// # Errors
            /// [`ErrorKind::TooLarge`] over 256 bytes
            /// ([`SUBJECT_BYTES_MAX`](crate::SUBJECT_BYTES_MAX)).
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, Error> {
                let text = text.into();
                if text.len() > SUBJECT_BYTES_MAX {
                    return Err(too_long(stringify!($name), text.len()));
                }
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

header_text! {
    /// Whom a session belongs to, as the application names its users: an id,
    /// not a name to show. At most 256 bytes; `Debug` does not print it.
    Subject
}

header_text! {
    /// What a user reads in a list of their sessions, such as "Firefox on
    /// Linux". At most 256 bytes; `Debug` does not print it.
    Label
}

/// The site that a session belongs to: the name that keeps the sessions of two
/// applications over one store apart.
///
/// It is part of what is hashed into a [`KeyDigest`](crate::store::KeyDigest) and
/// a [`SubjectDigest`](crate::store::SubjectDigest), so that a session of one site
/// is neither opened, listed nor ended by another. It is no secret. The engine's
/// default is the full name of its cookie.
///
/// ```
/// use cloakroom_core::Site;
///
/// assert_eq!(Site::new("shop")?.as_str(), "shop");
/// assert_eq!(Site::default().as_str(), "");
/// assert!(Site::new("two\0parts").is_err());
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(Option<Arc<str>>);

impl Site {
    /// Takes the name.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] over 256 bytes
    /// ([`SUBJECT_BYTES_MAX`](crate::SUBJECT_BYTES_MAX)), and
    /// [`ErrorKind::Misconfigured`] for a control character.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.len() > SUBJECT_BYTES_MAX {
            return Err(too_long("Site", name.len()));
        }
        if name.chars().any(char::is_control) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the name of a site holds a control character: use letters, digits, `-` and `_`",
            ));
        }
        Ok(Self((!name.is_empty()).then(|| Arc::from(name))))
    }

    /// A site beside this one, where an engine keeps records of its own about the sessions
    /// here: `shop/adopted` and `shop/provider` of the site `shop`. None of them is a session,
    /// and no token reaches one.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where the two names are over 256 bytes.
    pub fn internal(&self, about: &str) -> Result<Self, Error> {
        Self::new(&format!("{}/{about}", self.as_str()))
    }

    /// Whether it is an [internal](Self::internal) site, whose records are no sessions.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        let name = self.as_str();
        ["/adopted", "/provider"]
            .iter()
            .any(|end| name.ends_with(end))
    }

    /// The name; empty for the default site.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_records_stand_beside_the_site_that_they_are_about() {
        for name in ["", "shop", "shop/eu"] {
            let site = Site::new(name).unwrap();
            assert!(!site.is_internal());
            for about in ["adopted", "provider"] {
                let internal = site.internal(about).unwrap();
                assert_eq!(internal.as_str(), format!("{name}/{about}"));
                assert!(internal.is_internal());
            }
        }
        let longest = Site::new(&"x".repeat(SUBJECT_BYTES_MAX)).unwrap();
        let error = longest.internal("adopted").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn each_text_is_limited_in_bytes() {
        let longest = "x".repeat(SUBJECT_BYTES_MAX);
        let longer = "x".repeat(SUBJECT_BYTES_MAX + 1);
        assert!(Subject::new(&*longest).is_ok());
        assert!(Label::new(&*longest).is_ok());
        assert!(Site::new(&longest).is_ok());
        for error in [
            Subject::new(&*longer).unwrap_err(),
            Label::new(&*longer).unwrap_err(),
            Site::new(&longer).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        }
        let error = Site::new("shop\0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
}
