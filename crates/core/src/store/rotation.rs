//! Following rotation marks to where a session is now.

use crate::store::{KeyDigest, ROTATION_HOPS_MAX, Stored};
use crate::{Error, ErrorKind};

/// A way along rotation marks, from a digest to the session's current one.
///
/// It is bounded: a damaged store may hold marks that lead round in circles. What
/// lies beyond the bound cannot be reached, and whoever asked must be told so: a
/// logout that gave up silently would leave the session open.
///
/// ```
/// use cloakroom_core::store::{KeyDigest, RotationPath};
///
/// let [old, new] = [1, 2].map(|byte| KeyDigest::from_bytes([byte; 32]));
/// let mut path = RotationPath::from(old);
/// path.follow(new)?; // a mark at `old` says so
/// assert_eq!(path.at(), &new);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RotationPath {
    at: KeyDigest,
    hops: usize,
}

impl From<KeyDigest> for RotationPath {
    fn from(digest: KeyDigest) -> Self {
        Self {
            at: digest,
            hops: 0,
        }
    }
}

impl RotationPath {
    /// Where it has led so far.
    #[must_use]
    pub fn at(&self) -> &KeyDigest {
        &self.at
    }

    /// Goes on to where the mark at [`at`](Self::at) leads.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] after [`ROTATION_HOPS_MAX`] marks.
    pub fn follow(&mut self, to: KeyDigest) -> Result<(), Error> {
        if self.hops == ROTATION_HOPS_MAX {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the session has moved more than ROTATION_HOPS_MAX = {ROTATION_HOPS_MAX} \
                     times while its rotation marks stand; try again when they have expired"
                ),
            ));
        }
        self.hops += 1;
        self.at = to;
        Ok(())
    }
}

impl Stored {
    /// Follows rotation marks from `digest` to the session's current digest. `mark`
    /// answers where the mark at a digest leads, and `None` where none stands.
    ///
    /// # Errors
    /// What `mark` fails with, and [`ErrorKind::Unavailable`] after
    /// [`ROTATION_HOPS_MAX`] marks.
    pub fn resolve_rotations<E: From<Error>>(
        digest: &KeyDigest,
        mut mark: impl FnMut(&KeyDigest) -> Result<Option<KeyDigest>, E>,
    ) -> Result<KeyDigest, E> {
        let mut path = RotationPath::from(*digest);
        while let Some(to) = mark(path.at())? {
            path.follow(to)?;
        }
        Ok(*path.at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of a number; the mark at each leads to the next, up to the last.
    fn resolve(marks: usize) -> Result<KeyDigest, Error> {
        let digest = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            KeyDigest::from_bytes(bytes)
        };
        let mut number = 0;
        let end = Stored::resolve_rotations(&digest(0), |at| {
            assert_eq!(*at, digest(number));
            number += 1;
            Ok::<_, Error>((number <= marks).then(|| digest(number)))
        })?;
        assert_eq!(end, digest(marks));
        Ok(end)
    }

    #[test]
    fn marks_are_followed_to_the_bound_and_no_further() {
        for marks in [0, 1, ROTATION_HOPS_MAX] {
            assert!(resolve(marks).is_ok(), "{marks}");
        }
        let error = resolve(ROTATION_HOPS_MAX + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn marks_that_lead_round_in_circles_come_to_an_end() {
        let digest = KeyDigest::from_bytes([7; 32]);
        let around = Stored::resolve_rotations(&digest, |at| Ok::<_, Error>(Some(*at)));
        assert_eq!(around.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
