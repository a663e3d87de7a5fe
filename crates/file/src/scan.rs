//! All that stands, folder by folder, in the order of digests.

use cloakroom_core::Error;
use cloakroom_core::store::{KeyDigest, ScanCursor, ScanPage, Scanned};

use crate::NAME;
use crate::files::Files;
use crate::folder::{Entry, failed};

/// One page: the folders from the cursor's on, each by name. A file that cannot be
/// read is an item, so that the same cursor need not meet it again; a folder that
/// cannot be listed fails the page, since nobody knows what is in it.
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
    let listed = files.folder.list(first);
    let listed = listed.map_err(|source| failed("cannot list a folder", source))?;
    let mut digests: Vec<_> = listed
        .iter()
        .filter_map(|entry| match entry {
            Entry::Session(digest) => Some(*digest),
            _ => None,
        })
        .collect();
    digests.sort_unstable();
    Ok(digests)
}

/// `None` where it is gone since the folder was listed.
fn read(files: &Files, digest: KeyDigest) -> Option<Scanned> {
    let frame = files.folder.read(&digest).transpose()?;
    let stored = frame.and_then(|frame| Files::decode(&frame));
    let stored = stored.map_err(|error| error.in_store(NAME));
    Some(Scanned::new(digest, stored))
}
