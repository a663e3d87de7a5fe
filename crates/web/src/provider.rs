//! Sessions that came from a session at an identity provider, and end with it.
//!
//! A provider that tells of a logout names its session, the subject, or both. The header of
//! each of our sessions says which of the provider's it is tied to, and the store lists by
//! subject; so what is missing is whose a provider session is. A **pointer** says it: a small
//! record under a random key, at an internal site that no token reaches. Its subject is a
//! digest of the provider session, so that the store's own list finds all pointers of that;
//! its label is the digest of a subject of ours, and never the name, by which whoever erases a
//! user would not find it.
//!
//! Whoever writes a session that is tied, and by that write begins the tie or lets it live
//! longer, writes the pointer **before**. So a stored session has a pointer that lives as long.
//!
//! # A logout while somebody logs in
//!
//! A logout leaves a **logout mark**, which is a pointer to nobody, then lists the pointers, and
//! ends the sessions of whom they name. A login writes its pointer, then its session, and then
//! lists the pointers. If there is a logout mark among them, it ends what it has begun. One of
//! the two always sees the other: a login whose list has no logout mark has begun that list
//! before the logout mark was answered, so pointer and session stood when the logout began to
//! list them.
//!
//! # One pointer for a subject
//!
//! A login that has found no logout mark removes the pointers of its subject that come before
//! its own in the order of their deadlines and digests. The last of that order is never
//! removed, and lives at least as long as any. A logout that lists meanwhile sees it: whoever
//! removes a pointer has written a later one, and has begun its list, before the logout mark
//! was answered.

use std::collections::BTreeSet;
use std::time::Duration;

use cloakroom_core::engine::{SessionKey, TokenStore as _};
use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, ListPage, Listed, Record, Revoke, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind, Label, ProviderSession, Subject, Timestamp};

use crate::carry_out::carry_out;
use crate::shared::Shared;
use crate::{Cost, Engine};

/// How long a logout mark stands: so long a site may take to finish a login, from what
/// the provider has answered until the session is written.
const LOGOUT_MARK_AGE: Duration = Duration::from_secs(60 * 60);

/// By how much a pointer outlives a session that no absolute deadline bounds, so that not
/// each use has to write one.
const SLIDE_STEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often a subject's sessions are listed: one that moves to another key between two pages
/// is found by the next pass.
const PASSES_MAX: usize = 8;

/// Sessions of an identity provider: OpenID Connect's `sid`. A session is tied to one by
/// [`Session::set_provider_session`](cloakroom_core::session::Session::set_provider_session).
///
/// # Errors
/// [`ErrorKind::Misconfigured`] where the store keeps no lists, as a cookie store, and
/// [`ErrorKind::Unavailable`] where it does not answer. Sessions that were ended before it stay
/// ended.
impl Engine {
    /// Ends the sessions that are tied to that session of an identity provider, and no other;
    /// answers how many there were. Who comes back with one is told
    /// [`EndReason::LoggedOutElsewhere`], and the provider's name as the note.
    ///
    /// A login that is tied to it and being written, or is written within the next hour, ends
    /// as well, as soon as it is written.
    ///
    /// # Errors
    /// As said above.
    pub async fn end_provider_session(&self, of: &ProviderSession) -> Result<usize, Error> {
        let (this, of) = (self.clone(), of.clone());
        carry_out(async move {
            let engine = this.shared();
            engine.subjects()?;
            let until = engine.clock.now().saturating_add(LOGOUT_MARK_AGE);
            write_pointer(engine, &of, None, until).await?;
            let pointers = pointers_of(engine, &of).await?;
            let subjects = pointers
                .iter()
                .filter_map(|pointer| subject_in(&pointer.record));
            let mut ended = 0;
            for subject in subjects.collect::<BTreeSet<_>>() {
                ended += end_tied(engine, &subject, &of).await?;
            }
            Ok(ended)
        })
        .await
    }

    /// Ends all sessions of a subject whom an identity provider has logged out, wherever they
    /// came from; answers how many there were. Who comes back is told as with
    /// [`end_provider_session`](Self::end_provider_session).
    ///
    /// # Errors
    /// As said above.
    pub async fn end_provider_subject(
        &self,
        subject: &Subject,
        note: Option<Label>,
    ) -> Result<usize, Error> {
        let (this, subject) = (self.clone(), self.subject_digest(subject));
        carry_out(
            async move { end_elsewhere(this.shared(), &subject, |_| true, note.as_ref()).await },
        )
        .await
    }
}

/// What a record is tied to, and how long the pointer to its subject must live.
#[derive(Debug)]
pub(crate) struct Tie {
    of: ProviderSession,
    subject: SubjectDigest,
    until: Timestamp,
}

impl Tie {
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let of = record.login.as_deref()?.provider.as_deref()?.clone();
        Some(Self {
            of,
            subject: record.subject_digest()?,
            until: lives_until(record),
        })
    }

    fn is_as(&self, other: &Self) -> bool {
        (&self.of, &self.subject) == (&other.of, &other.subject)
    }
}

/// A pointer that was written for a session that is about to be.
#[derive(Debug)]
pub(crate) struct Pointer {
    tie: Tie,
    digest: KeyDigest,
    /// Whether its session was tied otherwise before, or not at all.
    begins: bool,
}

/// What the provider was found to have told by the time that a session was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Logout,
}

impl Pointer {
    /// Writes the pointer that a `record` needs which is about to take the place of what is
    /// `stored`; `None` where it needs none. `written` is the one of an earlier attempt.
    pub(crate) async fn written(
        engine: &Shared,
        written: Option<Self>,
        stored: Option<&Record>,
        record: &Record,
        cost: &mut Cost,
    ) -> Result<Option<Self>, Error> {
        let Some(tie) = Tie::of(record).filter(|_| engine.subjects().is_ok()) else {
            return Ok(None);
        };
        let before = stored.and_then(Tie::of).filter(|before| before.is_as(&tie));
        let covers = |one: &Tie| one.is_as(&tie) && one.until >= tie.until;
        if before.as_ref().is_some_and(covers) {
            return Ok(None);
        }
        if let Some(mut written) = written
            && covers(&written.tie)
        {
            written.begins |= before.is_none();
            return Ok(Some(written));
        }
        cost.touch();
        let digest = write_pointer(engine, &tie.of, Some(&tie.subject), tie.until).await?;
        Ok(Some(Self {
            tie,
            digest,
            begins: before.is_none(),
        }))
    }

    /// Looks, when its session is written, whether the provider has logged out meanwhile.
    /// Where it has not, what this pointer makes needless is removed.
    ///
    /// # Errors
    /// Where the store does not answer. For a session that was tied before, nothing is
    /// missed by that: a logout had its pointer already.
    pub(crate) async fn look(&self, engine: &Shared, cost: &mut Cost) -> Result<Told, Error> {
        let looked = self.look_and_tidy(engine, cost).await;
        match self.begins {
            true => looked,
            false => Ok(looked.unwrap_or(Told::Nothing)),
        }
    }

    async fn look_and_tidy(&self, engine: &Shared, cost: &mut Cost) -> Result<Told, Error> {
        cost.list();
        let pointers = pointers_of(engine, &self.tie.of).await?;
        if pointers.iter().any(is_logout_mark) {
            return Ok(Told::Logout);
        }
        let (subjects, all) = (engine.subjects()?, pointers_subject(engine, &self.tie.of)?);
        let own = (self.tie.until, self.digest);
        for pointer in &pointers {
            let is_of_subject = subject_in(&pointer.record) == Some(self.tie.subject);
            if is_of_subject && (pointer.record.expires_at, pointer.digest) < own {
                cost.touch();
                let one = Revoke::One(pointer.digest);
                // One that stays does no harm, and a later pointer removes it.
                let _ = subjects.end_sessions(&all, one, None).await;
            }
        }
        Ok(Told::Nothing)
    }

    /// Ends the session, and whatever else of its subject is tied as it is.
    pub(crate) async fn end(&self, engine: &Shared, cost: &mut Cost) -> Result<(), Error> {
        cost.touch();
        end_tied(engine, &self.tie.subject, &self.tie.of).await?;
        Ok(())
    }
}

/// As [`Pointer::look`] and [`Pointer::end`], for a session that was found to be written.
pub(crate) async fn end_if_told(
    engine: &Shared,
    record: &Record,
    cost: &mut Cost,
) -> Result<(), Error> {
    let Some(tie) = Tie::of(record).filter(|_| engine.subjects().is_ok()) else {
        return Ok(());
    };
    cost.list();
    let pointers = pointers_of(engine, &tie.of).await?;
    if pointers.iter().any(is_logout_mark) {
        end_tied(engine, &tie.subject, &tie.of).await?;
    }
    Ok(())
}

/// How long a session may live that is not written again, but for its uses. Without an
/// absolute deadline each use lengthens it, and it is the end of a step of its life.
fn lives_until(record: &Record) -> Timestamp {
    record.absolute_deadline.unwrap_or_else(|| {
        let life = record.expires_at.saturating_since(record.created_at);
        let steps = life.as_secs() / SLIDE_STEP.as_secs() + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let end = SLIDE_STEP.saturating_mul(steps);
        record.created_at.saturating_add(end)
    })
}

async fn end_tied(
    engine: &Shared,
    subject: &SubjectDigest,
    of: &ProviderSession,
) -> Result<usize, Error> {
    let is_meant = |record: &Record| {
        let login = record.login.as_deref();
        login.and_then(|login| login.provider.as_deref()) == Some(of)
    };
    let note = Label::new(of.issuer()).ok();
    end_elsewhere(engine, subject, is_meant, note.as_ref()).await
}

async fn end_elsewhere(
    engine: &Shared,
    subject: &SubjectDigest,
    is_meant: impl Fn(&Record) -> bool,
    note: Option<&Label>,
) -> Result<usize, Error> {
    let mut all_ended = 0;
    for _ in 0..PASSES_MAX {
        let ended = end_those_meant(engine, subject, &is_meant, note).await?;
        all_ended += ended;
        if ended == 0 {
            return Ok(all_ended);
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("{all_ended} sessions were ended, and others keep beginning"),
    ))
}

/// Lists the sessions of a subject once, and ends those meant; answers how many.
async fn end_those_meant(
    engine: &Shared,
    subject: &SubjectDigest,
    is_meant: impl Fn(&Record) -> bool,
    note: Option<&Label>,
) -> Result<usize, Error> {
    let subjects = engine.subjects()?;
    let now = engine.clock.now();
    let ending = Ending::new(EndReason::LoggedOutElsewhere, now).with_note(note.cloned());
    let (mut ended, mut next) = (0, None);
    loop {
        let ListPage {
            sessions,
            next: after,
            ..
        } = subjects.list_sessions(subject, next.as_ref()).await?;
        for listed in sessions {
            if !is_meant(&listed.record) || engine.expiry.is_expired(&listed.record, now) {
                continue;
            }
            let one = Revoke::One(listed.digest);
            for digest in subjects.end_sessions(subject, one, Some(&ending)).await? {
                let whose = listed.record.subject.as_ref();
                engine.ended(&digest, &(&ending).into(), whose);
                ended += 1;
            }
        }
        next = after;
        if next.is_none() {
            return Ok(ended);
        }
    }
}

/// The pointers of a provider session, and its logout marks.
async fn pointers_of(engine: &Shared, of: &ProviderSession) -> Result<Vec<Listed>, Error> {
    let now = engine.clock.now();
    let subject = pointers_subject(engine, of)?;
    let mut pointers = engine.subjects()?.sessions_of(&subject, usize::MAX).await?;
    pointers.retain(|pointer| !pointer.record.is_expired(now));
    Ok(pointers)
}

fn pointers_subject(engine: &Shared, of: &ProviderSession) -> Result<SubjectDigest, Error> {
    let site = engine.site.internal("provider")?;
    Ok(SubjectDigest::new(&site, &name_of(of)?))
}

/// A provider session as the subject of its pointers.
fn name_of(of: &ProviderSession) -> Result<Subject, Error> {
    // Both names are the provider's, so neither may run into the other.
    let (issuer, sid) = (of.issuer().as_bytes(), of.sid().as_bytes());
    let both = [&(issuer.len() as u64).to_be_bytes(), issuer, sid].concat();
    let digest = SessionKey::derive("provider/session", &both).digest();
    Subject::new(digest.to_hex())
}

/// Writes a pointer to a subject, or a logout mark; answers where it stands.
async fn write_pointer(
    engine: &Shared,
    of: &ProviderSession,
    to: Option<&SubjectDigest>,
    until: Timestamp,
) -> Result<KeyDigest, Error> {
    let site = engine.site.internal("provider")?;
    let key = SessionKey::generate(&*engine.entropy)?.of_site(&site);
    let mut pointer = Record::new(engine.clock.now(), until);
    pointer.site = site;
    pointer.subject = Some(name_of(of)?);
    pointer.label = to.map(|to| Label::new(to.to_hex())).transpose()?;
    let create = engine.store.create_token(&key, &pointer);
    engine.written_by(Some(&pointer), create).await?;
    Ok(key.digest())
}

fn is_logout_mark(pointer: &Listed) -> bool {
    pointer.record.label.is_none()
}

fn subject_in(pointer: &Record) -> Option<SubjectDigest> {
    SubjectDigest::from_hex(pointer.label.as_ref()?.as_str())
}
