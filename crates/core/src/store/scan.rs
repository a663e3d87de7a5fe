//! Reading all that a store holds, in pages.

use crate::store::{BoxFuture, KeyDigest, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ITEMS_MAX, Stored};
use crate::{Error, ErrorKind};

/// Reads all that a store holds, in pages.
///
/// What stands from the first page to the last is returned once at least. What is
/// written, moved or removed meanwhile may be returned or not, and more than once.
pub trait Scan: Send + Sync {
    /// The next page: some `max` items, fewer or none where the store prefers
    /// that. The scan is over where there is no next cursor.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) for a cursor of another kind of store,
    /// [`Unavailable`](ErrorKind::Unavailable) where the store does not answer;
    /// the same cursor may then be tried again.
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>>;
}

/// Where a scan or a list goes on: a text that outlives the process, and has a meaning
/// for its own kind of store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCursor(String);

impl ScanCursor {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a store that reads in the order of digests: after this one.
    #[must_use]
    pub fn after(digest: &KeyDigest) -> Self {
        Self(digest.to_hex())
    }

    /// The digest that [`after`](Self::after) was given.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) where it is none.
    pub fn digest(&self) -> Result<KeyDigest, Error> {
        KeyDigest::from_hex(&self.0)
            .ok_or_else(|| Error::new(ErrorKind::Mismatch, "the cursor is of another store"))
    }
}

/// One page of a scan.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ScanPage {
    /// What was found.
    pub items: Vec<Scanned>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

impl ScanPage {
    /// A page, and where to go on.
    #[must_use]
    pub fn new(items: Vec<Scanned>, next: Option<ScanCursor>) -> Self {
        Self { items, next }
    }

    /// The next page of a store that walks in the order of digests, from what it
    /// finds past the cursor: of `max` items, and no more than
    /// [`SCAN_PAGE_ITEMS_MAX`](crate::store::SCAN_PAGE_ITEMS_MAX) nor much more than
    /// [`SCAN_PAGE_BYTES_MAX`](crate::store::SCAN_PAGE_BYTES_MAX).
    ///
    /// # Errors
    /// The first that `found` gives.
    pub fn fill<E>(
        found: impl IntoIterator<Item = Result<Scanned, E>>,
        max: usize,
    ) -> Result<Self, E> {
        // A page of none would look like the end.
        let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
        let mut page = Self::default();
        let mut bytes = 0;
        for item in found {
            let item = item?;
            bytes += item.stored.as_ref().map_or(0, Stored::memory_bytes);
            page.items.push(item);
            if page.items.len() == max || bytes >= SCAN_PAGE_BYTES_MAX {
                let last = page.items.last();
                page.next = last.map(|last| ScanCursor::after(&last.digest));
                break;
            }
        }
        Ok(page)
    }
}

/// What a scan found at a digest.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scanned {
    /// Where it stands.
    pub digest: KeyDigest,
    /// The record or mark; [`Corrupt`](ErrorKind::Corrupt) or
    /// [`Unsupported`](ErrorKind::Unsupported) where it cannot be read, and
    /// [`Unavailable`](ErrorKind::Unavailable) where the store failed at this one
    /// alone: it may hold a session all the same. The scan goes on.
    pub stored: Result<Stored, Error>,
}

impl Scanned {
    /// What was found at a digest.
    #[must_use]
    pub fn new(digest: KeyDigest, stored: Result<Stored, Error>) -> Self {
        Self { digest, stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::store::{Data, Record};

    fn scanned(number: u8, bytes: usize) -> Result<Scanned, Error> {
        let mut record = Record::new(Timestamp::EPOCH, Timestamp::MAX);
        record.data = Data::from_bytes(vec![number; bytes]);
        let digest = KeyDigest::from_bytes([number; 32]);
        Ok(Scanned::new(digest, Ok(Stored::Record(record))))
    }

    fn page(items: u8, bytes: usize, max: usize) -> (usize, bool) {
        let page = ScanPage::fill((0..items).map(|number| scanned(number, bytes)), max);
        let page = page.unwrap();
        let last = page.items.last().map(|last| last.digest);
        if let Some(next) = &page.next {
            assert_eq!(next.digest().ok(), last);
        }
        (page.items.len(), page.next.is_some())
    }

    #[test]
    fn a_page_ends_at_its_items_or_its_bytes_and_the_last_has_no_next() {
        assert_eq!(page(0, 0, 5), (0, false));
        assert_eq!(page(4, 0, 5), (4, false));
        assert_eq!(page(9, 0, 5), (5, true));
        assert_eq!(page(9, 0, 0), (1, true));
        assert_eq!(page(9, SCAN_PAGE_BYTES_MAX / 2, usize::MAX), (2, true));
        let error = Err(Error::from(ErrorKind::Unavailable));
        let broken = ScanPage::fill([scanned(1, 0), error], 5);
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
