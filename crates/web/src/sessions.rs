//! The sessions of the user who is logged in: where else, and ending them.

use std::fmt;

use cloakroom_core::session::Session;
use cloakroom_core::store::{EndReason, Ending, KeyDigest, Revoke, SubjectDigest};
use cloakroom_core::{Error, Label, Subject};

use crate::carry_out::carry_out;
use crate::of_subject::{SESSIONS_LISTED_MAX, SessionInfo, infos};
use crate::{Exchange, login_limit};

/// The sessions of whoever is logged in with this request's session: "where am I
/// logged in", "log out everywhere else".
///
/// It speaks for the subject of this session alone: an id of somebody else's
/// session does nothing. A page for operators asks the store itself, by
/// [`Capabilities::subjects`](cloakroom_core::store::Capabilities::subjects).
///
/// What ends a session is carried out even if its future is dropped, where it runs on
/// tokio.
///
/// # Errors
/// Each method that asks the store fails with [`cloakroom_core::ErrorKind::Misconfigured`] where the store keeps no
/// lists (a cookie store), and with [`cloakroom_core::ErrorKind::Unavailable`] where it does not
/// answer.
pub struct SubjectSessions {
    exchange: Exchange,
    session: Session,
    /// Whose session it was at the beginning of the request, and its label, so that
    /// `end_others` still knows them after a logout in this request.
    subject: Option<Subject>,
    label: Option<Label>,
}

impl fmt::Debug for SubjectSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectSessions").finish_non_exhaustive()
    }
}

impl SubjectSessions {
    /// The sessions of whoever is logged in with this session, which this exchange has
    /// [opened](Exchange::open).
    #[must_use]
    pub fn new(exchange: Exchange, session: Session) -> Self {
        Self {
            subject: session.subject(),
            label: session.label(),
            exchange,
            session,
        }
    }

    /// Whether the store keeps lists at all.
    #[must_use]
    pub fn can_list(&self) -> bool {
        self.exchange.shared().subjects().is_ok()
    }

    /// The live ones: this request's first, then by their last use, the latest
    /// first. Empty where nobody is logged in.
    ///
    /// A subject may have more sessions than a page can show: then these are
    /// [`SESSIONS_LISTED_MAX`] of them, whichever the store comes to first.
    /// [`end_others`](Self::end_others) ends the rest too.
    ///
    /// # Errors
    /// As said above.
    pub async fn list(&self) -> Result<Vec<SessionInfo>, Error> {
        let engine = self.exchange.shared();
        let Some(subject) = self.session.subject() else {
            return Ok(Vec::new());
        };
        let subject = SubjectDigest::new(&engine.site, &subject);
        let listed = login_limit::live(engine, &subject, SESSIONS_LISTED_MAX).await?;
        self.exchange.count_list();
        Ok(infos(engine, listed, self.exchange.digest()))
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
        let ended = self.end_elsewhere(Revoke::One(*id)).await?;
        Ok(ended > 0)
    }

    /// Ends all but this request's own; answers how many.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_others(&self) -> Result<usize, Error> {
        match self.exchange.digest() {
            Some(current) => self.end_elsewhere(Revoke::AllBut(current)).await,
            None => self.end_elsewhere(Revoke::All).await,
        }
    }

    /// Ends all of them, this request's own too; answers how many others there
    /// were.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_all(&self) -> Result<usize, Error> {
        // First its own: kept past the response, this ends nothing.
        self.session.flush()?;
        self.end_others().await
    }

    /// Each of them is told the label of this session.
    async fn end_elsewhere(&self, which: Revoke) -> Result<usize, Error> {
        let named = self.session.subject().or_else(|| self.subject.clone());
        let Some(named) = named else {
            return Ok(0);
        };
        let label = self.session.label().or_else(|| self.label.clone());
        let exchange = self.exchange.clone();
        carry_out(async move {
            let engine = exchange.shared();
            let subject = SubjectDigest::new(&engine.site, &named);
            let now = engine.clock.now();
            let ending = Ending::new(EndReason::LoggedOutElsewhere, now).with_note(label);
            let ended = engine
                .subjects()?
                .end_sessions(&subject, which, Some(&ending));
            let ended = ended.await?;
            exchange.count_revocation();
            for digest in &ended {
                engine.ended(digest, &(&ending).into(), Some(&named));
            }
            Ok(ended.len())
        })
        .await
    }
}
