//! Walking over all sessions.

use cloakroom_core::store::{
    BoxFuture, KeyDigest, SCAN_PAGE_BYTES_MAX, Scan, ScanCursor, ScanPage, Scanned, SessionStore,
    Stored,
};
use cloakroom_core::{Error, ErrorKind};
use futures_util::future::join_all;

use crate::errors::{error, is_of_one_session};
use crate::store::RedisStore;

/// Keys that a server is asked to look at for one page.
const PAGE_KEYS_MAX: usize = 1_000;

/// Keys of the first step of a page. While the sessions are small, each step is of twice
/// as many keys as the one before.
const STEP_KEYS_MIN: usize = 4;

/// Keys of the longest step, whose sessions are read within the time-out of a call.
const STEP_KEYS_MAX: usize = 64;

/// Where a scan goes on: a primary, and that server's own cursor.
struct RedisCursor {
    primary: String,
    cursor: u64,
}

impl RedisCursor {
    fn parse(text: &str) -> Option<Self> {
        let (primary, cursor) = text.strip_prefix("redis ")?.rsplit_once(' ')?;
        Some(Self {
            primary: primary.to_owned(),
            cursor: cursor.parse().ok()?,
        })
    }

    fn begin(primary: &str) -> Self {
        Self {
            primary: primary.to_owned(),
            cursor: 0,
        }
    }

    fn to_cursor(&self) -> ScanCursor {
        ScanCursor::new(format!("redis {} {}", self.primary, self.cursor))
    }
}

impl Scan for RedisStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let primaries = self.client.primaries().await?;
            let from = match from {
                None => RedisCursor::begin(primaries.first().map_or("", String::as_str)),
                Some(cursor) => RedisCursor::parse(cursor.as_str()).ok_or_else(|| {
                    let text = "the cursor is of another kind of store; begin the scan again";
                    error(ErrorKind::Mismatch, text)
                })?,
            };
            let Some(index) = primaries.iter().position(|at| *at == from.primary) else {
                let text = format!(
                    "{} has other primaries than when the scan began; begin it again",
                    self.client.origin.server
                );
                return Err(error(ErrorKind::Mismatch, text));
            };
            let max = max.clamp(1, PAGE_KEYS_MAX);
            let mut cursor = from.cursor;
            let (mut items, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
            let mut step = STEP_KEYS_MIN;
            while looked_at < max && bytes < SCAN_PAGE_BYTES_MAX {
                let count = step.min(max - looked_at);
                let (after, digests) = self.keys(&from.primary, cursor, count).await?;
                let found = self.read_all(&digests).await?;
                let size: usize = found.iter().map(memory_bytes).sum();
                if size < SCAN_PAGE_BYTES_MAX / 4 {
                    step = (2 * step).min(STEP_KEYS_MAX);
                }
                bytes += size;
                looked_at += count;
                items.extend(found);
                cursor = after;
                if cursor == 0 {
                    break;
                }
            }
            let next = match cursor {
                0 => primaries.get(index + 1).map(|at| RedisCursor::begin(at)),
                _ => Some(RedisCursor { cursor, ..from }),
            };
            Ok(ScanPage::new(items, next.map(|next| next.to_cursor())))
        })
    }
}

fn memory_bytes(item: &Scanned) -> usize {
    item.stored.as_ref().map_or(0, Stored::memory_bytes)
}

impl RedisStore {
    /// One step over the keys of a server.
    async fn keys(
        &self,
        primary: &str,
        cursor: u64,
        count: usize,
    ) -> Result<(u64, Vec<KeyDigest>), Error> {
        let prefix = format!("{}s:", self.client.origin.prefix);
        let mut call = redis::cmd("SCAN");
        call.arg(cursor).arg("MATCH").arg(format!("{prefix}*"));
        call.arg("COUNT").arg(count);
        let (cursor, keys): (u64, Vec<Vec<u8>>) = self.client.read_from(primary, &call).await?;
        let digests = keys.iter().filter_map(|key| {
            let hex = key.strip_prefix(prefix.as_bytes())?;
            KeyDigest::from_hex(std::str::from_utf8(hex).ok()?)
        });
        Ok((cursor, digests.collect()))
    }

    async fn read_all(&self, digests: &[KeyDigest]) -> Result<Vec<Scanned>, Error> {
        let loaded = join_all(digests.iter().map(|digest| self.load(digest))).await;
        let mut items = Vec::with_capacity(digests.len());
        for (digest, stored) in digests.iter().zip(loaded) {
            match stored {
                Ok(Some(stored)) => items.push(Scanned::new(*digest, Ok(stored))),
                Ok(None) => {} // gone meanwhile, or not yet arrived
                Err(error) if is_of_one_session(&error) => {
                    items.push(Scanned::new(*digest, Err(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }
}
