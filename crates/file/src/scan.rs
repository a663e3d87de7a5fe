//! Pages of all sessions and rotation marks, in the order of digests.

use cloakroom_core::Error;
use cloakroom_core::store::{KeyDigest, ScanCursor, ScanPage, Scanned};

use crate::error::NAME;
use crate::files::{Files, decode};
use crate::layout::Listed;

/// One page, from the cursor on. A file that cannot be read is an item of the page, so
/// the scan goes on behind it. A folder that cannot be listed fails the page, since
/// nobody knows what is in it.
pub(crate) fn page(
    files: &Files,
    from: Option<&ScanCursor>,
    max: usize,
) -> Result<ScanPage, Error> {
    let from = from.map(ScanCursor::digest).transpose()?;
    let first = from.map_or(0, |digest| digest.as_bytes()[0]);
    let digests = (first..=u8::MAX).flat_map(|first| match digests(files, first) {
        Ok(digests) => digests.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    let found = digests.filter_map(|digest| match digest {
        Ok(digest) if Some(digest) <= from => None,
        Ok(digest) => read(files, digest).map(Ok),
        Err(error) => Some(Err(error)),
    });
    ScanPage::fill(found, max)
}

fn digests(files: &Files, first: u8) -> Result<Vec<KeyDigest>, Error> {
    let listed = files.layout.list_sessions(first)?;
    let mut digests: Vec<_> = listed
        .iter()
        .filter_map(|listed| match listed {
            Listed::Session(digest) => Some(*digest),
            _ => None,
        })
        .collect();
    digests.sort_unstable();
    Ok(digests)
}

/// `None` where the file was removed after its folder was listed.
fn read(files: &Files, digest: KeyDigest) -> Option<Scanned> {
    let frame = files.layout.read(&digest).transpose()?;
    let stored = frame.and_then(|frame| decode(&frame));
    let stored = stored.map_err(|error| error.in_store(NAME));
    Some(Scanned::new(digest, stored))
}
