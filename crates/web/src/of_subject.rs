//! Sessions of a subject without a request of theirs: for a password reset, an
//! administrator, a job.

use std::cmp::Reverse;

use cloakroom_core::engine::TokenStore as _;
use cloakroom_core::store::{EndReason, Ending, KeyDigest, Listed, Revoke};
use cloakroom_core::{Error, Label, Subject, Timestamp};

use crate::carry_out::carry_out;
use crate::shared::Shared;
use crate::{Engine, login_limit};

/// Sessions that [`SubjectSessions::list`](crate::SubjectSessions::list) reads at most.
pub const SESSIONS_LISTED_MAX: usize = 1_000;

/// A session, as its owner reads it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its public id, for a form: the digest of its key, which opens nothing.
    pub id: KeyDigest,
    /// Whether it is the one of this request.
    pub is_current: bool,
    /// When its owner logged in.
    pub created_at: Timestamp,
    /// When it was last used. It may lag by the share of the idle time after which a use
    /// is written: a tenth, or what
    /// [`touch_share_percent`](crate::EngineBuilder::touch_share_percent) says.
    pub last_seen_at: Timestamp,
    /// When it ends, if it is not used again.
    pub expires_at: Timestamp,
    /// What [`Session::set_label`](cloakroom_core::session::Session::set_label) called it.
    pub label: Option<Label>,
}

/// Sessions of a subject, whoever asks. A page of theirs asks
/// [`SubjectSessions`](crate::SubjectSessions), which speaks for whoever is logged in.
///
/// # Errors
/// [`Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where the store keeps no
/// lists (a cookie store: with revocation it ends all sessions of a subject, and does no
/// more), and
/// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where it does not answer.
impl Engine {
    /// The live ones, by their last use, the latest first. Of more than
    /// [`SESSIONS_LISTED_MAX`] these are so many, whichever the store comes to first.
    ///
    /// # Errors
    /// As said above.
    pub async fn sessions_of(&self, subject: &Subject) -> Result<Vec<SessionInfo>, Error> {
        let engine = self.shared();
        let subject = self.subject_digest(subject);
        let listed = login_limit::live(engine, &subject, SESSIONS_LISTED_MAX).await?;
        Ok(infos(engine, listed, None))
    }

    /// Ends all of them, as after a password was reset; answers how many there were. A
    /// cookie store with revocation ends them too, and answers 0: it cannot know how many.
    ///
    /// ```
    /// use cloakroom_core::{Error, Label, Subject, Timestamp};
    /// use cloakroom_web::Engine;
    ///
    /// async fn password_was_reset(engine: &Engine, user_id: &str) -> Result<usize, Error> {
    ///     engine.end_sessions_of(&Subject::new(user_id)?).await
    /// }
    /// ```
    ///
    /// # Errors
    /// As said above.
    pub async fn end_sessions_of(&self, subject: &Subject) -> Result<usize, Error> {
        self.end_all_of(subject, None).await
    }

    /// As [`end_sessions_of`](Self::end_sessions_of), with a note for their owner, which
    /// [`Session::ended_because`](cloakroom_core::session::Session::ended_because) tells.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_sessions_of_with_note(
        &self,
        subject: &Subject,
        note: Label,
    ) -> Result<usize, Error> {
        self.end_all_of(subject, Some(note)).await
    }

    async fn end_all_of(&self, subject: &Subject, note: Option<Label>) -> Result<usize, Error> {
        let (engine, subject) = (self.clone(), subject.clone());
        carry_out(async move {
            let engine = engine.shared();
            let ending = Ending::new(EndReason::AllEnded, engine.clock.now()).with_note(note);
            let ended = engine
                .store
                .end_sessions_of(&engine.site, &subject, Some(&ending));
            let ended = ended.await?;
            engine.several_ended(ended, ending.because, Some(&subject));
            Ok(ended)
        })
        .await
    }

    /// Ends one of them, by its public id; answers whether there was one to end. An id of
    /// another subject's session ends nothing.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_session(&self, subject: &Subject, id: &KeyDigest) -> Result<bool, Error> {
        self.end_one_of(subject, id, None).await
    }

    /// As [`end_session`](Self::end_session), with a note for its owner, which
    /// [`Session::ended_because`](cloakroom_core::session::Session::ended_because) tells.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_session_with_note(
        &self,
        subject: &Subject,
        id: &KeyDigest,
        note: Label,
    ) -> Result<bool, Error> {
        self.end_one_of(subject, id, Some(note)).await
    }

    async fn end_one_of(
        &self,
        subject: &Subject,
        id: &KeyDigest,
        note: Option<Label>,
    ) -> Result<bool, Error> {
        let (engine, named, id) = (self.clone(), subject.clone(), *id);
        let subject = self.subject_digest(subject);
        carry_out(async move {
            let engine = engine.shared();
            let now = engine.clock.now();
            let ending = Ending::new(EndReason::EndedByAdministrator, now).with_note(note);
            let one = Revoke::One(id);
            let ended = engine
                .subjects()?
                .end_sessions(&subject, one, Some(&ending));
            let ended = ended.await?;
            for digest in &ended {
                engine.ended(digest, &(&ending).into(), Some(&named));
            }
            Ok(!ended.is_empty())
        })
        .await
    }
}

/// What their owner reads in a list: the current one first, then by their last use.
pub(crate) fn infos(
    engine: &Shared,
    listed: Vec<Listed>,
    current: Option<KeyDigest>,
) -> Vec<SessionInfo> {
    let infos = listed.into_iter().map(|listed| SessionInfo {
        id: listed.digest,
        is_current: current == Some(listed.digest),
        created_at: listed.record.created_at,
        last_seen_at: listed.record.last_seen_at,
        expires_at: engine.expiry.end_of_unused(&listed.record),
        label: listed.record.label,
    });
    let mut infos: Vec<_> = infos.collect();
    infos.sort_by_key(|info| {
        let by_use = (Reverse(info.last_seen_at), info.id);
        (Reverse(info.is_current), by_use)
    });
    infos
}
