//! Ending every session of a site.

use cloakroom_core::engine::TokenStore as _;
use cloakroom_core::store::{EndReason, Ending, SCAN_PAGE_ITEMS_MAX, ScanCursor, Scanned, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use crate::Engine;
use crate::carry_out::carry_out;
use crate::shared::Shared;

/// How often the store is read through. A session that moves to another key while one pass
/// reads on is found by the next; so many passes in a row find one only where sessions of
/// before are being brought in from elsewhere.
const PASSES_MAX: usize = 8;

impl Engine {
    /// Ends every session of this site that has begun by now, that of whoever asks too;
    /// answers how many. For the day on which cookies have leaked, as by the log of a
    /// proxy, and after a restore of a backup.
    ///
    /// The store is read through in pages, twice at least, and sessions are ended one by one:
    /// it takes a while, other requests are served meanwhile, and logins from now on stay. It
    /// goes on though the caller is dropped. Near caches on other nodes may answer ended
    /// sessions for as long as their bound says. Sessions of a former library that were not
    /// [adopted](crate::EngineBuilder::adopt) yet are not this store's, and stay.
    ///
    /// ```
    /// use cloakroom_core::Error;
    /// use cloakroom_web::Engine;
    ///
    /// async fn a_backup_was_restored(engine: &Engine) -> Result<(), Error> {
    ///     let ended = engine.end_everybody().await?;
    ///     println!("{ended} sessions ended");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Misconfigured`] where the store cannot be read through. A cookie store
    ///   has nothing to read: put a new secret into its key file in the place of all others.
    /// - [`ErrorKind::Unsupported`] where a newer version has written some of what is stored:
    ///   all others are ended, and a node of that version ends these.
    /// - [`ErrorKind::Unavailable`] where the store does not answer. What was ended until then
    ///   stays ended; calling it again goes on.
    pub async fn end_everybody(&self) -> Result<usize, Error> {
        let engine = self.clone();
        carry_out(async move {
            let engine = engine.shared();
            let mut ended = 0;
            let result = end_everybody(engine, &mut ended).await;
            // Those that were ended before an error stay ended.
            engine.several_ended(ended, EndReason::AllEnded, None);
            result.map(|()| ended)
        })
        .await
    }
}

async fn end_everybody(engine: &Shared, ended: &mut usize) -> Result<(), Error> {
    let begun_by = engine.clock.now();
    for _ in 0..PASSES_MAX {
        let ended_before = *ended;
        let unsupported = end_those_found(engine, begun_by, ended).await?;
        if *ended > ended_before {
            continue;
        }
        return match unsupported {
            None => Ok(()),
            Some(error) => Err(error),
        };
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "{ended} sessions were ended, and others of before keep appearing: is another \
                 process importing them?"
        ),
    ))
}

/// Reads the store through once, and counts those that it ends; answers the error of a record
/// that a newer version has written, where there is one.
async fn end_those_found(
    engine: &Shared,
    begun_by: Timestamp,
    ended: &mut usize,
) -> Result<Option<Error>, Error> {
    let scan = engine.store.token_capabilities().scan.ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            "this store does not know its sessions, so it cannot end them all: of a cookie store, \
             put a new secret into the key file in the place of all others, on every server",
        )
    })?;
    let ending = Ending::new(EndReason::AllEnded, begun_by);
    let mut unsupported = None;
    let mut next: Option<ScanCursor> = None;
    loop {
        let page = scan.scan(next.as_ref(), SCAN_PAGE_ITEMS_MAX).await?;
        for Scanned { digest, stored, .. } in page.items {
            match stored {
                Ok(Stored::Record(record))
                    if record.site == engine.site && record.created_at <= begun_by =>
                {
                    engine.store.end_at(&digest, Some(&ending)).await?;
                    engine.tell_waiting(&digest, &(&ending).into());
                    *ended += 1;
                }
                // A mark opens nothing, and what it leads to is found by itself.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    unsupported = Some(error);
                }
                // Damaged: it opens nothing.
                Err(_) => {}
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(unsupported);
        }
    }
}
