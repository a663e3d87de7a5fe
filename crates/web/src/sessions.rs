//! Where else a user is logged in.

use std::cmp::Reverse;
use std::fmt;

use cloakroom_core::{
    Error, ErrorKind, KeyDigest, Label, Listed, Revoke, Session, Subject, Subjects, Timestamp,
    TokenStore as _,
};

use crate::Exchange;
use crate::engine::Shared;

/// A session, as its owner reads it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// What to call it in a form: the digest of its key, which opens nothing.
    pub id: KeyDigest,
    /// Whether it is the one of this request.
    pub is_current: bool,
    /// When its owner logged in.
    pub created_at: Timestamp,
    /// When it was last used, as exactly as touches are written: to a tenth of
    /// the idle time, unless
    /// [`touch_share_percent`](crate::EngineBuilder::touch_share_percent) says
    /// otherwise.
    pub last_seen_at: Timestamp,
    /// When it ends, if it is not used again.
    pub expires_at: Timestamp,
    /// What [`Session::set_label`] called it.
    pub label: Option<Label>,
}

/// The sessions of whoever is logged in with this request's session: "where am I
/// logged in", "log out everywhere else".
///
/// It speaks for the subject of this session alone: an id of somebody else's
/// session does nothing. A page for operators asks the store itself, by
/// [`Capabilities::subjects`](cloakroom_core::Capabilities::subjects).
///
/// # Errors
/// Each method that asks the store fails with [`ErrorKind::Misconfigured`] where the store keeps no
/// lists (a cookie store), and with [`ErrorKind::Unavailable`] where it does not
/// answer.
pub struct SubjectSessions {
    exchange: Exchange,
    session: Session,
}

impl fmt::Debug for SubjectSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectSessions").finish_non_exhaustive()
    }
}

impl SubjectSessions {
    /// Of the one who is logged in with this session, which this exchange has
    /// [opened](Exchange::open).
    #[must_use]
    pub fn new(exchange: Exchange, session: Session) -> Self {
        Self { exchange, session }
    }

    /// Whether the store keeps lists at all.
    #[must_use]
    pub fn can_list(&self) -> bool {
        subjects(self.exchange.shared()).is_ok()
    }

    /// The live ones: this request's first, then by their last use, the latest
    /// first. Empty where nobody is logged in.
    ///
    /// # Errors
    /// As said above.
    pub async fn list(&self) -> Result<Vec<SessionInfo>, Error> {
        let engine = self.exchange.shared();
        let Some(subject) = self.session.subject() else {
            return Ok(Vec::new());
        };
        let listed = live(engine, &subject).await?;
        self.exchange.count_list();
        let current = self.exchange.digest();
        let mut infos: Vec<_> = listed
            .into_iter()
            .map(|Listed { digest, record }| SessionInfo {
                id: digest,
                is_current: current == Some(digest),
                created_at: record.created_at,
                last_seen_at: record.last_seen_at,
                expires_at: record.expires_at,
                label: record.label,
            })
            .collect();
        infos.sort_by_key(|info| {
            (
                Reverse(info.is_current),
                Reverse(info.last_seen_at),
                info.id,
            )
        });
        Ok(infos)
    }

    /// Ends one of them, at once. This request's own is logged out with its
    /// cookie, by [`Session::flush`]. Answers whether there was one to end.
    ///
    /// # Errors
    /// As said above.
    pub async fn end(&self, id: &KeyDigest) -> Result<bool, Error> {
        if self.exchange.digest() == Some(*id) {
            self.session.flush()?;
            return Ok(true);
        }
        let ended = self.revoke(Revoke::One(*id)).await?;
        Ok(ended > 0)
    }

    /// Ends all but this request's own; answers how many.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_others(&self) -> Result<usize, Error> {
        match self.exchange.digest() {
            Some(current) => self.revoke(Revoke::AllBut(current)).await,
            None => self.revoke(Revoke::All).await,
        }
    }

    /// Ends all of them, this request's own too; answers how many others there
    /// were.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_all(&self) -> Result<usize, Error> {
        let others = self.end_others().await?;
        self.session.flush()?;
        Ok(others)
    }

    async fn revoke(&self, which: Revoke) -> Result<usize, Error> {
        let engine = self.exchange.shared();
        let Some(subject) = self.session.subject() else {
            return Ok(0);
        };
        let ended = subjects(engine)?.revoke(&subject, which).await?;
        self.exchange.count_revocation();
        Ok(ended.len())
    }
}

fn subjects(engine: &Shared) -> Result<&dyn Subjects, Error> {
    engine.store.token_capabilities().subjects.ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            "this store keeps no list of a user's sessions",
        )
    })
}

async fn live(engine: &Shared, subject: &Subject) -> Result<Vec<Listed>, Error> {
    let now = engine.clock.now();
    let mut listed = subjects(engine)?.sessions_of(subject).await?;
    listed.retain(|listed| !listed.record.is_expired(now));
    Ok(listed)
}

/// After a login: where the subject has more sessions than `max`, ends those that
/// went unused longest, and never the new one. Answers how many calls that took.
pub(crate) async fn keep_to(
    engine: &Shared,
    max: usize,
    subject: &Subject,
    new: &KeyDigest,
) -> Result<u32, Error> {
    let mut others = live(engine, subject).await?;
    others.retain(|listed| listed.digest != *new);
    others.sort_by_key(|listed| (Reverse(listed.record.last_seen_at), listed.digest));
    let mut calls = 1;
    for excess in others.iter().skip(max - 1) {
        let which = Revoke::One(excess.digest);
        subjects(engine)?.revoke(subject, which).await?;
        calls += 1;
    }
    Ok(calls)
}
