//! How somebody has logged in, and what the session is tied to.

use std::sync::{Arc, MutexGuard};

use super::Session;
use super::state::State;
use crate::{Authentication, Binding, Error, ErrorKind, Login, ProviderSession};

/// Logging in.
impl Session {
    /// How whoever is logged in has proved it, and what this session is tied to, with the
    /// changes of this request; `None` where nobody is logged in, and where nobody knows how.
    #[must_use]
    pub fn login(&self) -> Option<Arc<Login>> {
        let mut state = self.lock();
        state.accessed = true;
        let context = &self.shared.context;
        state.header(&context.expiry, context.now).login
    }

    /// Says that whoever is logged in has just proved again who they are, and how: a
    /// step-up. It moves the session to a new key, counts its absolute lifetime from here, and
    /// keeps a device only where the request has proven it, as
    /// [`set_subject`](Self::set_subject) with the same subject does; after that it
    /// says how the login was proved, which otherwise counts as [`Aal::One`](crate::Aal).
    ///
    /// Where the session was ended or moved while this request ran, it is no login, and begins
    /// no new session: the save fails with [`ErrorKind::Gone`], but for a form that was sent
    /// twice, of which the first has said it already.
    ///
    /// ```
    /// use cloakroom_core::{Aal, Subject};
    ///
    /// # let session = cloakroom_core::session::Session::detached();
    /// session.set_subject(Subject::new("ada")?)?;
    /// session.reauthenticated(Aal::Two)?;
    /// assert_eq!(session.login().map(|login| login.level), Some(Aal::Two));
    /// # Ok::<(), cloakroom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where nobody is logged in, and those that [`Session`]
    /// names for every change.
    pub fn reauthenticated(&self, how: impl Into<Authentication>) -> Result<(), Error> {
        let mut state = self.change_login()?;
        // Of somebody who logs in with this request it belongs to that login.
        state.pending.header.is_step_up |= state.pending.header.subject.is_none();
        state.pending.header.subject = state.subject().cloned();
        state.pending.rotate = !state.pending.flushed;
        let login = &mut state.pending.header.login;
        login.authentication = Some(how.into());
        login.is_device_proven = self.shared.context.is_device_proven;
        state.mark_changed();
        Ok(())
    }

    /// Ties this session to the one of an identity provider that it came from, so that the
    /// provider can end it. That stays until it is replaced, or another subject logs in.
    ///
    /// The engine writes it with the session, which costs two calls to the store more: where
    /// the provider has logged out by then, the session ends as soon as it is written. Where
    /// the store lists no sessions of a subject, as a cookie store, nothing ends it.
    ///
    /// # Errors
    /// As [`reauthenticated`](Self::reauthenticated).
    pub fn set_provider_session(&self, of: ProviderSession) -> Result<(), Error> {
        let mut state = self.change_login()?;
        state.pending.header.login.provider = Some(Box::new(of));
        state.mark_changed();
        Ok(())
    }

    /// Ties the session to a device, or offers it to one. It is recorded as an operation:
    /// an offer takes the place of no other, a device answers the offer that stands, and
    /// whatever other requests write meanwhile stays as well. What does not apply any more
    /// once it is written is dropped without a word: look at [`login`](Self::login) after a
    /// [`save`](Self::save).
    ///
    /// # Errors
    /// As [`reauthenticated`](Self::reauthenticated).
    pub fn bind(&self, binding: Binding) -> Result<(), Error> {
        let mut state = self.change_login()?;
        state.pending.header.login.binding = Some(Box::new(binding));
        state.mark_changed();
        Ok(())
    }

    fn change_login(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.change()?;
        state.accessed = true;
        match state.subject() {
            Some(_) => Ok(state),
            None => Err(Error::new(
                ErrorKind::Misconfigured,
                "nobody is logged in: call set_subject first",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Limits;
    use crate::session::commit::Context;
    use crate::store::{Record, Revision};
    use crate::{Aal, Expiry, Subject, Timestamp};

    const OFFER: Binding = Binding::offered([1; 32], Timestamp::from_millis(100_000));
    const BOUND: Binding = OFFER.bound_to([4; 65]);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    /// What is written of a session that is changed at a second, on the record that it
    /// opened, or on the one that another request has left meanwhile.
    fn written(
        secs: u64,
        opened: &Record,
        fresh: Option<&Record>,
        change: impl FnOnce(&Session),
    ) -> Record {
        written_by(secs, opened, fresh, false, change)
    }

    fn written_by(
        secs: u64,
        opened: &Record,
        fresh: Option<&Record>,
        is_device_proven: bool,
        change: impl FnOnce(&Session),
    ) -> Record {
        let policy = Expiry::default();
        let context = Context::new(at(secs), Limits::default(), policy);
        let context = context.device_proven(is_device_proven);
        let session = Session::open(Some(opened.clone()), context).unwrap();
        change(&session);
        let mut changeset = session.changeset().unwrap();
        if let Some(fresh) = fresh {
            changeset.replay(fresh.clone()).unwrap();
        }
        changeset.record(&policy, at(secs), 0)
    }

    fn log_in(session: &Session, name: &str) {
        session.set_subject(Subject::new(name).unwrap()).unwrap();
    }

    fn of_ada() -> Record {
        let opened = Expiry::default()
            .begin(at(100))
            .at_revision(Revision::FIRST);
        written(100, &opened, None, |session| {
            log_in(session, "ada");
            let of = ProviderSession::new("https://id.example", "08a5").unwrap();
            session.set_provider_session(of).unwrap();
            session.bind(OFFER).unwrap();
        })
    }

    #[test]
    fn a_login_says_when_and_how_and_a_step_up_says_it_again() {
        let record = of_ada();
        let login = record.login.clone().unwrap();
        assert_eq!(
            (login.authenticated_at, login.level),
            (Some(at(100)), Aal::One)
        );
        assert_eq!(
            login.provider.as_deref().map(ProviderSession::sid),
            Some("08a5")
        );
        let stepped_up = written(200, &record, None, |session| {
            session.reauthenticated(Aal::Two).unwrap();
            assert!(session.lock().pending.rotate);
            assert_eq!(session.login().unwrap().level, Aal::Two);
        });
        assert_eq!(stepped_up.subject, record.subject);
        assert_eq!(stepped_up.created_at, at(200));
        let login = stepped_up.login.unwrap();
        assert_eq!(
            (login.authenticated_at, login.level),
            (Some(at(200)), Aal::Two)
        );
        assert_eq!(login.provider, record.login.unwrap().provider, "as its own");
    }

    /// A key that is lost, or another's, must not outlive a login; an offer has had its time.
    #[test]
    fn a_login_keeps_the_device_that_its_request_has_proven_and_no_other() {
        let offered = of_ada();
        let bound = written(101, &offered, None, |session| session.bind(BOUND).unwrap());
        let again = |session: &Session| log_in(session, "ada");
        let step_up = |session: &Session| session.reauthenticated(Aal::Two).unwrap();
        let changes: [&dyn Fn(&Session); 2] = [&again, &step_up];
        for change in changes {
            for (opened, is_proven, stays) in [
                (&bound, true, true),
                (&bound, false, false),
                (&offered, true, false),
                (&offered, false, false),
            ] {
                let after = written_by(200, opened, None, is_proven, change);
                let login = after.login.unwrap();
                assert_eq!(login.binding.as_deref(), Some(&BOUND).filter(|_| stays));
                // What is offered with it takes the place of what has left.
                let another = Binding::offered([2; 32], at(200));
                let after = written_by(200, opened, None, is_proven, |session| {
                    change(session);
                    session.bind(another.clone()).unwrap();
                });
                let stands = if stays { &BOUND } else { &another };
                assert_eq!(after.login.unwrap().binding.as_deref(), Some(stands));
            }
        }
    }

    #[test]
    fn another_subject_keeps_nothing_of_the_login() {
        let login = written(200, &of_ada(), None, |session| log_in(session, "bob")).login;
        let login = login.unwrap();
        assert_eq!(
            (login.authenticated_at, login.level),
            (Some(at(200)), Aal::One)
        );
        assert_eq!((&login.provider, &login.binding), (&None, &None));
    }

    #[test]
    fn what_is_said_of_a_login_needs_one() {
        let session = Session::detached();
        for error in [
            session.reauthenticated(Aal::Two).unwrap_err(),
            session.bind(OFFER).unwrap_err(),
            session
                .set_provider_session(ProviderSession::new("a", "b").unwrap())
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
        }
        assert_eq!(session.login(), None);
    }

    #[test]
    fn a_binding_and_a_value_that_are_written_at_once_are_both_kept() {
        let opened = of_ada();
        let value = |session: &Session| session.insert("theme", "dark").unwrap();
        let device = |session: &Session| session.bind(BOUND).unwrap();
        let first = written(101, &opened, None, value);
        let both = written(101, &opened, Some(&first), device);
        let other_way = written(
            101,
            &opened,
            Some(&written(101, &opened, None, device)),
            value,
        );
        for record in [both, other_way] {
            let context = Context::new(at(102), Limits::default(), Expiry::default());
            let session = Session::open(Some(record.clone()), context);
            let theme = session.unwrap().get::<String>("theme").unwrap();
            assert_eq!(theme.as_deref(), Some("dark"));
            let login = record.login.unwrap();
            assert_eq!(login.binding.as_deref(), Some(&BOUND));
        }
    }

    #[test]
    fn a_device_that_answers_the_offer_to_another_login_binds_nothing() {
        let opened = of_ada();
        let bob = written(101, &opened, None, |session| log_in(session, "bob"));
        let late = written(102, &opened, Some(&bob), |session| {
            session.bind(BOUND).unwrap();
        });
        assert_eq!(late.subject, bob.subject);
        assert_eq!(late.login.unwrap().binding, None);
    }
}
