//! Reading all that a store holds, and finding one session in it.

use std::ops::ControlFlow;
use std::str::FromStr;

use cloakroom::store::{
    AnySessionStore, KeyDigest, SCAN_PAGE_ITEMS_MAX, Scanned, SessionStore as _, Stored,
};

use crate::failure::{Code, Failure};
use crate::progress::Progress;

/// The fewest characters of a digest that name a session: what logs carry.
const PREFIX_CHARS_MIN: usize = 8;

/// Hands over all that the store holds, until told to stop. What moves meanwhile may come
/// twice.
pub(crate) async fn each(
    store: &AnySessionStore,
    mut found: impl FnMut(Scanned) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let scan = store.capabilities().scan.ok_or_else(|| {
        Failure::usage(
            "this store cannot be read through, so nobody can say which sessions it holds",
        )
    })?;
    let progress = Progress::counting("read");
    let mut next = None;
    loop {
        let page = scan.scan(next.as_ref(), SCAN_PAGE_ITEMS_MAX).await?;
        progress.add(page.items.len() as u64);
        for item in page.items {
            if found(item).is_break() {
                return Ok(());
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

/// The first characters of a session's digest, as logs and lists print them.
#[derive(Clone, Debug)]
pub(crate) struct DigestPrefix(String);

impl FromStr for DigestPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            PREFIX_CHARS_MIN..=64 if is_hex => Ok(Self(text)),
            _ => Err(
                "a session is named by the first 8 to 64 hexadecimal characters of its digest, as \
                 logs and `cloakroom list` print them"
                    .to_owned(),
            ),
        }
    }
}

impl DigestPrefix {
    /// Whether a digest begins so.
    pub(crate) fn is_of(&self, digest: &KeyDigest) -> bool {
        digest.to_hex().starts_with(&self.0)
    }

    /// What stands at the one digest that begins so.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub(crate) async fn find(
        &self,
        store: &AnySessionStore,
    ) -> Result<(KeyDigest, Result<Stored, cloakroom::Error>), Failure> {
        let mut found: Option<Scanned> = None;
        let mut is_ambiguous = false;
        each(store, |item| {
            if !self.is_of(&item.digest) {
                return ControlFlow::Continue(());
            }
            is_ambiguous = found
                .as_ref()
                .is_some_and(|known| known.digest != item.digest);
            found = Some(item);
            // A whole digest has no second one.
            match is_ambiguous || self.0.len() == 64 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .await?;
        let shown = &self.0[..PREFIX_CHARS_MIN];
        match found {
            _ if is_ambiguous => Err(Failure::new(
                Code::NotFound,
                format!(
                    "more than one session begins with {shown}: give more of the digest, which \
                     `cloakroom list --json` prints whole"
                ),
            )),
            Some(found) => Ok((found.digest, found.stored)),
            None => Err(Failure::new(
                Code::NotFound,
                format!(
                    "no session begins with {shown}: it has ended, or it is in another store; \
                     `cloakroom list` prints those that there are"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_named_by_what_logs_print_of_it() {
        for good in ["0123abcd", "0123ABCD", &"a".repeat(64)] {
            assert!(good.parse::<DigestPrefix>().is_ok(), "{good}");
        }
        for bad in ["", "0123abc", "0123abcg", &"a".repeat(65)] {
            assert!(bad.parse::<DigestPrefix>().is_err(), "{bad}");
        }
    }
}
