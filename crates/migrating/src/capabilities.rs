//! What both stores can do beyond keeping records.

use std::sync::atomic::Ordering;

use cloakroom_core::store::{
    Announced, BoxFuture, Capabilities, Close, Import, Invalidation, Invalidations, KeyDigest,
    Listener, Scan, ScanCursor, ScanPage, Scanned, SessionStore, Stored, Sweep, Swept,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};
use futures_util::future::{Either, select};

use crate::moving::as_known;
use crate::{Migrating, importing, is_unreadable};

/// What the cursor of a scan begins with while it reads the former store, and the new one.
pub(crate) const FORMER: &str = "former ";
pub(crate) const NEW: &str = "new ";

/// Which store a cursor is of, and that store's own cursor; none at its beginning.
///
/// # Errors
/// `Mismatch` where it is of neither.
pub(crate) fn of_either(
    from: Option<&ScanCursor>,
) -> Result<(&'static str, Option<ScanCursor>), Error> {
    let text = from.map_or(FORMER, ScanCursor::as_str);
    let (name, inner) = match (text.strip_prefix(FORMER), text.strip_prefix(NEW)) {
        (Some(inner), _) => (FORMER, inner),
        (_, Some(inner)) => (NEW, inner),
        _ => return Err(foreign()),
    };
    Ok((name, (!inner.is_empty()).then(|| ScanCursor::new(inner))))
}

fn foreign() -> Error {
    Error::new(ErrorKind::Mismatch, "the cursor is of another store")
}

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    pub(crate) fn both_capabilities(&self) -> Capabilities<'_> {
        let [former, new] = [self.from.capabilities(), self.to.capabilities()];
        let staleness_max = former.staleness_max.max(new.staleness_max);
        let mut all = Capabilities::NONE
            .named("migrating")
            .with_import(self)
            .with_staleness_max(staleness_max);
        if former.sweep.is_some() || new.sweep.is_some() {
            all = all.with_sweep(self);
        }
        if former.subjects.is_some() && new.subjects.is_some() {
            all = all.with_subjects(self);
        }
        if former.scan.is_some() && new.scan.is_some() {
            all = all.with_scan(self);
        }
        if former.invalidations.is_some() && new.invalidations.is_some() {
            all = all.with_invalidations(self);
        }
        if former.close.is_some() || new.close.is_some() {
            all = all.with_close(self);
        }
        all
    }

    /// Settles a digest at which something new is to stand.
    pub(crate) async fn settle_before_new(&self, digest: &KeyDigest) -> Result<(), Error> {
        match self.settle(digest).await {
            Err(error) if is_unreadable(&error) => Err(ErrorKind::Exists.into()),
            settled => settled,
        }
    }
}

impl<A: SessionStore, B: SessionStore> Sweep for Migrating<A, B> {
    fn sweep(&self, now: Timestamp, max: usize) -> BoxFuture<'_, Result<Swept, Error>> {
        Box::pin(async move {
            let mut all = Swept::default();
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            for sweep in [former.sweep, new.sweep].into_iter().flatten() {
                let left = max - all.removed;
                if left == 0 {
                    all.more = true;
                    break;
                }
                let swept = sweep.sweep(now, left).await?;
                all = Swept::new(all.removed + swept.removed, all.more || swept.more);
            }
            Ok(all)
        })
    }

    fn own_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        let [former, new] = [self.from.capabilities(), self.to.capabilities()];
        Box::pin(async move {
            for sweep in [new.sweep, former.sweep].into_iter().flatten() {
                if let Some(time) = sweep.own_time().await? {
                    return Ok(Some(time));
                }
            }
            Ok(None)
        })
    }
}

impl<A: SessionStore, B: SessionStore> Scan for Migrating<A, B> {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(async move {
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            let (name, inner) = of_either(from)?;
            let is_former = name == FORMER;
            let scan = if is_former { former.scan } else { new.scan };
            let scan = scan.ok_or_else(foreign)?;
            let page = scan.scan(inner.as_ref(), max).await?;
            let next = match page.next {
                Some(next) => Some(format!("{name}{}", next.as_str())),
                None => is_former.then(|| NEW.to_owned()),
            };
            let items = page.items.into_iter().filter_map(|item| {
                let stored = match item.stored {
                    Ok(stored) => stored,
                    Err(error) => return Some(Scanned::new(item.digest, Err(error))),
                };
                let known = as_known(item.digest, stored);
                known.map(|(digest, stored)| Scanned::new(digest, Ok(stored)))
            });
            Ok(ScanPage::new(items.collect(), next.map(ScanCursor::new)))
        })
    }
}

impl<A: SessionStore, B: SessionStore> Import for Migrating<A, B> {
    fn import<'a>(
        &'a self,
        digest: &'a KeyDigest,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            match self.settle_before_new(digest).await {
                Err(error) if error.kind() == ErrorKind::Exists => return Ok(false),
                settled => settled?,
            }
            importing(&self.to)?.import(digest, stored).await
        })
    }
}

/// Both stores announce: a node that runs without the new store writes to the former one.
impl<A: SessionStore, B: SessionStore> Invalidations for Migrating<A, B> {
    fn announced(&self) -> Announced {
        let both = [self.from.capabilities(), self.to.capabilities()];
        let announced = both.map(|one| one.invalidations.map(Invalidations::announced));
        announced
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Announced::Ends)
    }

    fn listen(&self) -> BoxFuture<'_, Result<Box<dyn Listener>, Error>> {
        Box::pin(async move {
            let silent = || {
                Error::new(
                    ErrorKind::Misconfigured,
                    "one of the two stores announces no invalidations",
                )
            };
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            let former = former.invalidations.ok_or_else(silent)?.listen().await?;
            let new = new.invalidations.ok_or_else(silent)?.listen().await?;
            Ok(Box::new(BothListeners(former, new)) as Box<dyn Listener>)
        })
    }
}

struct BothListeners(Box<dyn Listener>, Box<dyn Listener>);

impl Listener for BothListeners {
    fn next(&mut self) -> BoxFuture<'_, Result<Invalidation, Error>> {
        // Dropping the future of the one that is not ready loses nothing.
        Box::pin(async {
            match select(self.0.next(), self.1.next()).await {
                Either::Left((next, _)) | Either::Right((next, _)) => next,
            }
        })
    }
}

impl<A: SessionStore, B: SessionStore> Close for Migrating<A, B> {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.is_closed.store(true, Ordering::Relaxed);
            let [former, new] = [self.from.capabilities(), self.to.capabilities()];
            let mut closed = Ok(());
            for close in [former.close, new.close].into_iter().flatten() {
                closed = closed.and(close.close().await);
            }
            closed
        })
    }
}
