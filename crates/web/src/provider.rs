//! Sessions that came from a session at an identity provider, and end with it.
//!
//! A provider that tells of a logout names its session, the subject, or both. The header of
//! each of our sessions says which of the provider's it came from, and the store lists by
//! subject; so what is missing is whose a provider's session is. A **pointer** says it: a
//! small record under a digest of the provider's two names, at a site that no token reaches,
//! so that it opens nothing, and is listed and counted nowhere as a session.
//!
//! No store has an index by provider for it: the list of a subject is short, and a logout is
//! rare.

use std::time::Duration;

use cloakroom_core::engine::{SessionKey, TokenStore as _};
use cloakroom_core::session::{Limits, Session, Value};
use cloakroom_core::store::{Data, EndReason, Ending, ListPage, Record, Revoke, Stored, Subjects};
use cloakroom_core::{Error, ErrorKind, Label, ProviderSession, Site, Subject, Timestamp};

use crate::Engine;
use crate::adopt::bytes_of;
use crate::carry_out::carry_out;
use crate::shared::Shared;

/// How long a pointer stands where no lifetime bounds a session.
const POINTER_AGE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How often a subject's sessions are listed: one that moves to another key between two pages
/// is found by the next pass.
const PASSES_MAX: usize = 8;

/// Where a pointer may stand. A place whose pointer has expired holds a tombstone for a day, in
/// which nothing can be created.
const PLACES_MAX: u8 = 4;

/// How often another request may be found to have been faster.
const ATTEMPTS_MAX: u32 = 4;

const SUBJECT: &str = "subject";

/// Sessions of an identity provider: OpenID Connect's `sid`.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] where the store keeps no lists, as a cookie store, and
/// [`ErrorKind::Unavailable`] where it does not answer.
impl Engine {
    /// Notes in a session which session of an identity provider it came from, and in the
    /// store whose that is, so that [`end_provider_session`](Self::end_provider_session)
    /// finds it. Call it in the handler that logs in, after
    /// [`set_subject`](Session::set_subject) and
    /// [`set_expiry`](Session::set_expiry). It costs a load and a write.
    ///
    /// # Errors
    /// As said above, and [`ErrorKind::Misconfigured`] where nobody is logged in.
    pub async fn tie_to_provider(
        &self,
        session: &Session,
        of: &ProviderSession,
    ) -> Result<(), Error> {
        let engine = self.shared();
        engine.subjects()?;
        session.set_provider_session(of.clone())?;
        let subject = session.subject().ok_or(ErrorKind::Misconfigured)?;
        let now = engine.clock.now();
        let age = engine.expiry.absolute().unwrap_or(POINTER_AGE);
        let until = now.saturating_add(age).max(session.expiry_date());
        for _ in 0..ATTEMPTS_MAX {
            match point(engine, of, &subject, now, until).await {
                // Another login of the same session was faster.
                Err(error) if is_race(&error) => {}
                done => return done,
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "a login from an identity provider is being noted by other requests again and again",
        ))
    }

    /// Whose that session of an identity provider is, as
    /// [`tie_to_provider`](Self::tie_to_provider) has noted it; `None` where no login came
    /// from it, or it is long over.
    ///
    /// # Errors
    /// As said above.
    pub async fn subject_of_provider(
        &self,
        of: &ProviderSession,
    ) -> Result<Option<Subject>, Error> {
        let engine = self.shared();
        let now = engine.clock.now();
        for place in 0..PLACES_MAX {
            match load(engine, &key(engine, of, place)?).await? {
                None => return Ok(None),
                Some(Stored::Record(pointer)) if !pointer.is_expired(now) => {
                    return Ok(subject_in(&pointer));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Ends the sessions of a subject that came from that session of an identity provider,
    /// and no other; answers how many there were. Who comes back with one is told
    /// [`EndReason::LoggedOutElsewhere`], and the note.
    ///
    /// # Errors
    /// As said above. Those that were ended before it stay ended.
    pub async fn end_provider_session(
        &self,
        subject: &Subject,
        of: &ProviderSession,
        note: Option<Label>,
    ) -> Result<usize, Error> {
        let of = of.clone();
        let is_meant = move |record: &Record| {
            let login = record.login.as_deref();
            login.and_then(|login| login.provider.as_deref()) == Some(&of)
        };
        self.end_elsewhere(subject, is_meant, note).await
    }

    /// Ends all sessions of a subject whom an identity provider has logged out, wherever they
    /// came from; answers how many there were. Who comes back is told as with
    /// [`end_provider_session`](Self::end_provider_session).
    ///
    /// # Errors
    /// As said above. Those that were ended before it stay ended.
    pub async fn end_provider_subject(
        &self,
        subject: &Subject,
        note: Option<Label>,
    ) -> Result<usize, Error> {
        self.end_elsewhere(subject, |_| true, note).await
    }

    async fn end_elsewhere(
        &self,
        subject: &Subject,
        is_meant: impl Fn(&Record) -> bool + Send + Sync + 'static,
        note: Option<Label>,
    ) -> Result<usize, Error> {
        let (this, subject) = (self.clone(), subject.clone());
        carry_out(async move {
            let mut all_ended = 0;
            for _ in 0..PASSES_MAX {
                let ended = end_those_meant(&this, &subject, &is_meant, note.as_ref()).await?;
                all_ended += ended;
                if ended == 0 {
                    return Ok(all_ended);
                }
            }
            Err(Error::new(
                ErrorKind::Unavailable,
                format!("{all_ended} sessions were ended, and others keep beginning"),
            ))
        })
        .await
    }
}

/// Lists the sessions of a subject once, and ends those meant; answers how many.
async fn end_those_meant(
    this: &Engine,
    named: &Subject,
    is_meant: impl Fn(&Record) -> bool,
    note: Option<&Label>,
) -> Result<usize, Error> {
    let engine = this.shared();
    let subjects: &dyn Subjects = engine.subjects()?;
    let subject = this.subject_digest(named);
    let now = engine.clock.now();
    let ending = Ending::new(EndReason::LoggedOutElsewhere, now).with_note(note.cloned());
    let (mut ended, mut next) = (0, None);
    loop {
        let ListPage {
            sessions,
            next: after,
            ..
        } = subjects.list_sessions(&subject, next.as_ref()).await?;
        for listed in sessions {
            if !is_meant(&listed.record) || engine.expiry.is_expired(&listed.record, now) {
                continue;
            }
            let one = Revoke::One(listed.digest);
            for digest in subjects.end_sessions(&subject, one, Some(&ending)).await? {
                engine.ended(&digest, &(&ending).into(), Some(named));
                ended += 1;
            }
        }
        next = after;
        if next.is_none() {
            return Ok(ended);
        }
    }
}

/// Lets a provider's session point to a subject.
async fn point(
    engine: &Shared,
    of: &ProviderSession,
    subject: &Subject,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), Error> {
    for place in 0..PLACES_MAX {
        let key = key(engine, of, place)?;
        let stored = load(engine, &key).await?;
        let (mut pointer, is_new) = match stored {
            None => (Record::new(now, until), true),
            Some(Stored::Record(pointer)) => (pointer, false),
            Some(_) => continue,
        };
        pointer.site = site(engine)?;
        pointer.expires_at = pointer.expires_at.max(until);
        let subject = Value::Bytes(subject.as_str().as_bytes().to_vec());
        pointer.data = Data::from_values([(SUBJECT, subject)], &Limits::default())?;
        let store = &engine.store;
        let write = async {
            match is_new {
                true => store.create_token(&key, &pointer).await,
                false => store.update_token(&key.to_token(), &pointer).await,
            }
        };
        engine.written_by(Some(&pointer), write).await?;
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "a session of an identity provider was used anew too often: log in again tomorrow",
    ))
}

fn is_race(error: &Error) -> bool {
    use ErrorKind::{Conflict, Exists, Gone};
    matches!(error.kind(), Exists | Conflict | Gone)
}

async fn load(engine: &Shared, key: &SessionKey) -> Result<Option<Stored>, Error> {
    let loaded = engine.load(&key.to_token()).await?;
    Ok(loaded.map(|loaded| loaded.stored))
}

fn subject_in(pointer: &Record) -> Option<Subject> {
    let bytes = bytes_of(pointer, SUBJECT)?;
    Subject::new(String::from_utf8(bytes).ok()?).ok()
}

/// Beside the engine's own site: no token that a client presents opens what stands there.
fn site(engine: &Shared) -> Result<Site, Error> {
    Site::new(&format!("{}/provider", engine.site.as_str()))
}

/// The key of a pointer. Both names are the provider's, so neither may run into the other.
fn key(engine: &Shared, of: &ProviderSession, place: u8) -> Result<SessionKey, Error> {
    let (issuer, sid) = (of.issuer().as_bytes(), of.sid().as_bytes());
    let issuer_bytes = (issuer.len() as u64).to_be_bytes();
    let both = [&[place][..], &issuer_bytes, issuer, sid].concat();
    Ok(SessionKey::derive("provider/session", &both).of_site(&site(engine)?))
}
