//! Where else a user is logged in.

use std::cmp::Reverse;
use std::fmt;

use cloakroom_core::{
    Error, ErrorKind, KeyDigest, Label, Listed, Record, Revoke, Session, SessionKey, Subject,
    Subjects, Timestamp, Token, TokenStore as _,
};

use crate::engine::Shared;
use crate::{Cost, Exchange};

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
    /// Who was logged in at first: a logout in this request ends the others too,
    /// if it is asked to.
    subject: Option<Subject>,
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
        let subject = session.subject();
        Self {
            exchange,
            session,
            subject,
        }
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
        let Some(subject) = self.session.subject().or_else(|| self.subject.clone()) else {
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

/// How many sessions one login ends at most, so that nobody waits for long; the
/// next login goes on.
const ENDED_PER_LOGIN_MAX: usize = 16;

/// A session that has just been written, and whose it is.
pub(crate) struct Login {
    subject: Subject,
    /// Logins of one subject in one order, the same for all who look: of two at
    /// the same time the later may end the earlier, and never the other way.
    place: (Timestamp, KeyDigest),
    max: usize,
}

impl Shared {
    /// A login, where there is a limit to keep to.
    pub(crate) fn login(&self, token: &Token, record: &Record) -> Option<Login> {
        let key = SessionKey::parse(token.expose())?;
        Some(Login {
            subject: record.subject.clone()?,
            place: (record.created_at, key.digest()),
            max: self.sessions_per_subject_max?,
        })
    }
}

/// Where the subject has more sessions than the limit, ends those that went unused
/// longest among the earlier ones. The login stands, whatever becomes of this.
pub(crate) async fn keep_to_limit(engine: &Shared, login: &Login) -> Cost {
    let mut cost = Cost::default();
    if let Err(error) = end_excess(engine, login, &mut cost).await {
        tracing::error!(
            session = %login.place.1.short(),
            error = %error,
            "sessions_per_subject_max could not be kept to"
        );
    }
    cost
}

async fn end_excess(engine: &Shared, login: &Login, cost: &mut Cost) -> Result<(), Error> {
    let mut listed = live(engine, &login.subject).await?;
    cost.list();
    let excess = listed.len().saturating_sub(login.max);
    listed.retain(|listed| (listed.record.created_at, listed.digest) < login.place);
    listed.sort_by_key(|listed| (listed.record.last_seen_at, listed.digest));
    for listed in listed.iter().take(excess.min(ENDED_PER_LOGIN_MAX)) {
        let which = Revoke::One(listed.digest);
        cost.touch();
        subjects(engine)?.revoke(&login.subject, which).await?;
    }
    Ok(())
}
