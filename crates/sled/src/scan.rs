//! Pages of all sessions and rotation marks, in the order of digests.

use std::ops::Bound::{Excluded, Unbounded};

use cloakroom_core::Error;
use cloakroom_core::store::{ScanCursor, ScanPage, Scanned, Stored};

use crate::error::failed;
use crate::layout::{Row, parse_digest};
use crate::trees::Trees;

pub(crate) fn page(
    trees: &Trees,
    from: Option<&ScanCursor>,
    max: usize,
) -> Result<ScanPage, Error> {
    let from = from.map(ScanCursor::digest).transpose()?;
    let from = from.as_ref().map(|digest| &digest.as_bytes()[..]);
    let rest = (from.map_or(Unbounded, Excluded), Unbounded);
    let found = trees.records.range::<&[u8], _>(rest).map(|entry| {
        let (key, bytes) = entry.map_err(failed)?;
        let stored = Row::read(bytes).and_then(|row| Stored::decode(row.frame()));
        Ok(parse_digest(&key).map(|digest| Scanned::new(digest, stored)))
    });
    ScanPage::fill(found.filter_map(Result::transpose), max)
}
