//! Walking over all sessions, and taking over another store's.

use cloakroom_core::store::{
    BoxFuture, Import, KeyDigest, SCAN_PAGE_BYTES_MAX, Scan, ScanCursor, ScanPage, Scanned, Stored,
};
use cloakroom_core::{Error, ErrorKind};
use redis::Value;

use crate::trouble::error;
use crate::value::{self, Found};
use crate::wire::strange;
use crate::{NAME, RedisStore, many};

/// Keys a server is asked to look at for one page.
const PAGE_KEYS_MAX: usize = 1_000;

/// Keys of the first step of a page; each step of little is followed by one of twice
/// as many.
const STEP_KEYS_MIN: usize = 4;

/// Keys of the longest step, with the time-out of a call for what stands there.
const STEP_KEYS_MAX: usize = 64;

/// Where a scan stands: a server of this store, and that server's own cursor.
struct Place {
    server: String,
    cursor: u64,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let (server, cursor) = text.strip_prefix("redis ")?.rsplit_once(' ')?;
        Some(Self {
            server: server.to_owned(),
            cursor: cursor.parse().ok()?,
        })
    }

    fn to_cursor(&self) -> ScanCursor {
        ScanCursor::new(format!("redis {} {}", self.server, self.cursor))
    }
}

impl Scan for RedisStore {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let servers = self.caller.servers().await?;
            let place = match from {
                None => Place {
                    server: servers.first().cloned().unwrap_or_default(),
                    cursor: 0,
                },
                Some(cursor) => Place::read(cursor.as_str()).ok_or_else(|| {
                    error(
                        ErrorKind::Mismatch,
                        "the cursor is of another kind of store",
                    )
                })?,
            };
            let Some(index) = servers.iter().position(|server| *server == place.server) else {
                let text = "the cluster has other servers by now; begin the scan again";
                return Err(error(ErrorKind::Mismatch, text));
            };
            let max = max.clamp(1, PAGE_KEYS_MAX);
            let mut cursor = place.cursor;
            let (mut items, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
            let mut step = STEP_KEYS_MIN;
            while looked_at < max && bytes < SCAN_PAGE_BYTES_MAX {
                let count = step.min(max - looked_at);
                let (after, digests) = self.keys(&place.server, cursor, count).await?;
                let found = self.values(&digests).await?;
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
            let next = match (cursor, servers.get(index + 1)) {
                (0, None) => None,
                (0, Some(server)) => Some(Place {
                    server: server.clone(),
                    cursor: 0,
                }),
                (cursor, _) => Some(Place { cursor, ..place }),
            };
            Ok(ScanPage::new(items, next.as_ref().map(Place::to_cursor)))
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
        server: &str,
        cursor: u64,
        count: usize,
    ) -> Result<(u64, Vec<KeyDigest>), Error> {
        let prefix = format!("{}s:", self.caller.prefix);
        let mut call = redis::cmd("SCAN");
        call.arg(cursor)
            .arg("MATCH")
            .arg(format!("{prefix}*"))
            .arg("COUNT")
            .arg(count);
        let answer = self.caller.read_at(server, &call).await?;
        let (cursor, keys): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(answer).map_err(|_| strange())?;
        let digests = keys.iter().filter_map(|key| {
            let hex = key.strip_prefix(prefix.as_bytes())?;
            KeyDigest::from_hex(std::str::from_utf8(hex).ok()?)
        });
        Ok((cursor, digests.collect()))
    }

    async fn values(&self, digests: &[KeyDigest]) -> Result<Vec<Scanned>, Error> {
        let mut items = Vec::with_capacity(digests.len());
        let values = match digests {
            [] => Vec::new(),
            _ => self.caller.values(digests).await?,
        };
        for (digest, value) in digests.iter().zip(values) {
            let Value::BulkString(value) = value else {
                continue; // gone meanwhile
            };
            let slot = match value::decode(&value) {
                Ok(Found::Stored(slot)) => Ok(slot),
                // The slow way round, which finds out whether it has arrived.
                Ok(Found::Moving { .. }) => match many::load(&self.caller, digest).await? {
                    Some(slot) => Ok(slot),
                    None => continue,
                },
                Err(error) => Err(error.in_store(NAME)),
            };
            items.push(Scanned::new(*digest, slot));
        }
        Ok(items)
    }
}

impl Import for RedisStore {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        slot: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.put(digest, slot))
    }
}
