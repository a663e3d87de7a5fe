//! Writing what the session has recorded, and what the client is told of it.

use std::sync::atomic::Ordering;

use cloakroom_core::engine::{Changeset, SaveOutcome, Token};
use cloakroom_core::store::{Record, Touch};
use cloakroom_core::{Error, Timestamp};

use super::{Candidate, CookieAction, Inner, Opened};
use crate::Outcome;
use crate::adopt::FormerCookie;
use crate::decide::{Decision, Facts, decide};
use crate::login_limit;
use crate::provider::{Told, end_if_told};
use crate::write::Writer;

impl Inner {
    /// Closes the session at the end of the request if there is nothing to write: no
    /// change, no touch, and no save that is under way.
    pub(super) fn close_unchanged(&self, opened: &Opened, outcome: Outcome) -> bool {
        let Ok(_turn) = opened.saving.try_lock() else {
            return false;
        };
        let decision = opened.session.close_unchanged(|session| {
            let uses = !session.peeks && outcome == Outcome::Success;
            let touch = session.stored.filter(|_| uses);
            let touch = touch.and_then(|record| self.touch_due(record, self.engine.clock.now()));
            let renewal_due = self.is_renewal_due(session.stored.filter(|_| uses));
            let decision = decide(&Facts {
                arrival: opened.arrival_of(session.dead),
                stored: session.stored.is_some(),
                accessed: session.accessed,
                touch_due: touch.is_some(),
                renewal_due,
                ..Facts::default()
            });
            matches!(decision, Decision::Nothing | Decision::Forget).then_some(decision)
        });
        if decision == Some(Decision::Forget) {
            self.forget(opened, false);
        }
        decision.is_some()
    }

    /// The browser's cookie opens nothing: removes it, where the answer may.
    fn forget(&self, opened: &Opened, is_modified: bool) {
        let is_told = self.is_document.load(Ordering::Relaxed)
            && !self.sends_to_login.load(Ordering::Relaxed);
        if is_modified || is_told {
            opened.client().action = CookieAction::Remove;
        }
    }

    fn touch_due(&self, record: &Record, now: Timestamp) -> Option<Touch> {
        let engine = &*self.engine;
        engine
            .expiry
            .touch_due(record, now, engine.touch_share_percent)
    }

    /// Whether this use is the first of the session in another period of
    /// [`renew_key_after`](crate::EngineBuilder::renew_key_after). Each write moves the last
    /// use, so each write of such a use must renew.
    fn is_renewal_due(&self, used: Option<&Record>) -> bool {
        let (Some(record), Some(after)) = (used, self.engine.renew_key_after) else {
            return false;
        };
        let periods_at = |at: Timestamp| {
            let age = at.saturating_since(record.created_at);
            age.as_millis() / after.as_millis().max(1)
        };
        periods_at(self.engine.clock.now()) > periods_at(record.last_seen_at)
    }

    /// Writes what the session has recorded: at the `end` of the request, or early.
    pub(super) async fn commit(&self, opened: &Opened, end: Option<Outcome>) -> Result<(), Error> {
        if end.is_none() {
            self.offer_device(opened, Outcome::Success);
        }
        let turn = opened.saving.lock().await;
        // On the heap, as what is rare below: the future of every request that writes is small.
        let mut changeset = Box::new(match end {
            Some(_) => opened.session.last_changeset()?,
            None => opened.session.changeset()?,
        });
        match end {
            None | Some(Outcome::Success) => {}
            Some(Outcome::ServerError) => changeset.drop_operations(),
            Some(Outcome::NoResponse) => changeset.drop_all_but_flush(),
        }
        let uses = matches!(end, None | Some(Outcome::Success)) && !changeset.peeks();
        let engine = &*self.engine;
        let now = engine.clock.now();
        let touch = changeset
            .stored()
            .filter(|_| uses)
            .and_then(|record| self.touch_due(record, now));
        let uses_or_changes = uses || changeset.is_modified();
        let decision = decide(&Facts {
            arrival: opened.arrival_of(changeset.is_dead()),
            stored: changeset.stored().is_some(),
            accessed: changeset.is_accessed(),
            modified: changeset.is_modified(),
            flushed: changeset.is_flushed(),
            rotate: changeset.wants_rotation(),
            login: changeset.is_login(),
            content: changeset.has_content(),
            touch_due: touch.is_some(),
            renewal_due: self.is_renewal_due(changeset.stored().filter(|_| uses_or_changes)),
        });
        let token = opened.client().token.clone();
        let mut writer = Writer::new(engine, now);
        let (others, adoptable) = match changeset.is_flushed() {
            true => {
                let mut client = opened.client();
                let others = std::mem::take(&mut client.others);
                (others, std::mem::take(&mut client.adoptable))
            }
            false => Default::default(),
        };
        let carried_out = self.carry_out(
            opened,
            decision,
            &mut writer,
            token.as_ref(),
            &mut changeset,
            touch,
        );
        let outcome = Box::pin(carried_out).await;
        let outcome = self.without_offer(opened, &changeset, &mut writer, outcome);
        let (mut outcome, told) = match writer.pointer.is_some() {
            true => Box::pin(self.look_at_provider(opened, &mut writer, outcome)).await,
            false => (outcome, Told::Nothing),
        };
        // After its own.
        let others_ended = match others.is_empty() && adoptable.is_empty() {
            true => Ok(()),
            false => Box::pin(self.end_others(opened, &others, adoptable, &mut writer)).await,
        };
        // A logout that was saved early is none of the end any more. Where another token of it
        // may still stand, the client keeps its cookies, to try again.
        let is_told_now = end.is_some() || changeset.is_modified();
        if decision == Decision::Forget && is_told_now && others_ended.is_ok() {
            self.forget(opened, changeset.is_modified());
        }
        if changeset.is_flushed() {
            opened.client().has_ended = true;
        }
        if writer.is_gone {
            opened.client().successor = CookieAction::Nothing;
        }
        opened.client().device.login_at_moved = writer.login_at_moved.take();
        let login = match &outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } if changeset.is_login() => engine.login(token, record).map(Box::new),
            _ => None,
        };
        engine.committed(decision, &changeset, &outcome, token.as_ref());
        if told == Told::Logout {
            outcome = Box::pin(self.end_as_told(opened, &mut writer, outcome)).await;
        }
        opened.client().cost.add(writer.cost);
        self.tell_client(opened, &outcome, &changeset, now, token.as_ref());
        let is_dropped =
            end.is_some() && engine.drop_late_changes && matches!(outcome, SaveOutcome::Gone);
        let result = match opened.session.settle(*changeset, outcome) {
            Err(_) if is_dropped => Ok(()),
            result => result,
        };
        let result = result.and(others_ended);
        drop(turn);
        // The client part knows what was written by now, so a caller that stops waiting
        // loses the limit alone.
        if let Some(login) = login {
            let (cost, is_ended) = Box::pin(login_limit::keep_to_limit(engine, &login)).await;
            let mut client = opened.client();
            client.cost.add(cost);
            if is_ended {
                client.action = CookieAction::Remove;
                client.token = None;
            }
        }
        result
    }

    /// Ends what the other tokens and the former cookies of the request open: after a logout
    /// nobody's stray cookie keeps a visitor logged in.
    async fn end_others(
        &self,
        opened: &Opened,
        others: &[Token],
        adoptable: Vec<FormerCookie>,
        writer: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let ended = writer.log_out_all(others).await;
        ended.and(self.end_formers(opened, adoptable, writer).await)
    }

    /// Looks whether the provider that a session is tied to has logged out while it was being
    /// written. A login of which that is not known is not handed out: nobody holds its key.
    async fn look_at_provider(
        &self,
        opened: &Opened,
        writer: &mut Writer<'_>,
        outcome: SaveOutcome,
    ) -> (SaveOutcome, Told) {
        let Some(pointer) = &writer.pointer else {
            return (outcome, Told::Nothing);
        };
        let is_stored = matches!(outcome, SaveOutcome::Stored { .. });
        if !is_stored && !matches!(outcome, SaveOutcome::Unknown(_)) {
            return (outcome, Told::Nothing);
        }
        match pointer.look(&self.engine, &mut writer.cost).await {
            Ok(told) => (outcome, told),
            Err(error) if is_stored => (not_handed_out(opened, error), Told::Nothing),
            Err(_) => (outcome, Told::Nothing),
        }
    }

    /// Ends a session that is written, since its provider has logged out. The client gets its
    /// token all the same: with that the next request is told why it opens nothing.
    async fn end_as_told(
        &self,
        opened: &Opened,
        writer: &mut Writer<'_>,
        outcome: SaveOutcome,
    ) -> SaveOutcome {
        let Some(pointer) = &writer.pointer else {
            return outcome;
        };
        match pointer.end(&self.engine, &mut writer.cost).await {
            Ok(()) => outcome,
            Err(error) => not_handed_out(opened, error),
        }
    }

    async fn carry_out(
        &self,
        opened: &Opened,
        decision: Decision,
        writer: &mut Writer<'_>,
        token: Option<&Token>,
        changeset: &mut Changeset,
        touch: Option<Touch>,
    ) -> SaveOutcome {
        match (decision, token) {
            (Decision::Create, _) => writer.create(changeset).await,
            (Decision::Update, Some(token)) => writer.update(token, changeset).await,
            (Decision::Rotate, Some(token)) => self.rotate(opened, writer, token, changeset).await,
            (Decision::Renew, Some(token)) => self.renew(opened, writer, token, changeset).await,
            (Decision::Touch, Some(token)) => writer.touch(token, changeset, touch).await,
            (Decision::Delete, Some(token)) => writer.log_out(token, changeset).await,
            (Decision::Replace, Some(token)) => writer.replace(token, changeset).await,
            (Decision::Refuse, _) => SaveOutcome::Gone,
            // A stored session always has its token.
            (Decision::Forget | Decision::Nothing, _) | (_, None) => SaveOutcome::Unchanged,
        }
    }

    /// Rotates to a new key. The new token is noted as a candidate while the store is
    /// asked, so that the end of the request finds it even if this future is dropped.
    async fn rotate(
        &self,
        opened: &Opened,
        writer: &mut Writer<'_>,
        token: &Token,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        let new = match writer.new_key() {
            Ok(new) => new,
            Err(error) => return SaveOutcome::NotWritten(error),
        };
        opened.client().candidate = Some(Candidate {
            token: new.to_token(),
            is_login: changeset.is_login(),
        });
        let outcome = writer.rotate(token, &new, changeset).await;
        if !matches!(outcome, SaveOutcome::Unknown(_)) {
            opened.client().candidate = None;
        }
        outcome
    }

    /// Gives the session a new key because it has had the present one for long. A request
    /// that only reads does not fail where that cannot be done: a later one does it.
    async fn renew(
        &self,
        opened: &Opened,
        writer: &mut Writer<'_>,
        token: &Token,
        changeset: &mut Changeset,
    ) -> SaveOutcome {
        let error = match self.rotate(opened, writer, token, changeset).await {
            SaveOutcome::Gone if !changeset.is_modified() => {
                writer.is_gone = true;
                return SaveOutcome::Unchanged;
            }
            SaveOutcome::NotWritten(error) | SaveOutcome::Unknown(error)
                if !changeset.is_modified() =>
            {
                error
            }
            outcome => return outcome,
        };
        let candidate = opened.client().candidate.take();
        if let Some(candidate) = candidate
            && let Some(record) = writer.look_for(&candidate.token).await
        {
            let token = Some(candidate.token);
            return SaveOutcome::Stored { token, record };
        }
        self.engine.not_renewed(token, &error);
        SaveOutcome::Unchanged
    }

    /// Loads the candidate of a rotation whose outcome is unknown, and hands its token out
    /// if the rotation did happen.
    pub(super) async fn resolve_candidate(&self, opened: &Opened) {
        let candidate = opened.client().candidate.take();
        if let Some(candidate) = candidate {
            Box::pin(self.hand_out_candidate(opened, candidate)).await;
        }
    }

    async fn hand_out_candidate(&self, opened: &Opened, candidate: Candidate) {
        let Candidate { token, is_login } = candidate;
        let engine = &*self.engine;
        let now = engine.clock.now();
        let mut writer = Writer::new(engine, now);
        let found = writer.look_for(&token).await;
        let found = match found {
            // A session of which it is not known whether its provider has logged out meanwhile
            // is not handed out.
            Some(record) => {
                let ended = end_if_told(engine, &record, &mut writer.cost).await;
                ended.is_ok().then_some(record)
            }
            None => None,
        };
        let mut client = opened.client();
        client.cost.add(writer.cost);
        if let Some(record) = found {
            if is_login {
                engine.logged_in(&token, &record, None);
            }
            let age = engine.cookie_age(&record, now);
            client.action = CookieAction::Set { token, age };
        }
    }

    /// Notes whether a Set-Cookie must be sent. `changeset` knows the record as it stood
    /// before, and `before` is the token that the client holds.
    fn tell_client(
        &self,
        opened: &Opened,
        outcome: &SaveOutcome,
        changeset: &Changeset,
        now: Timestamp,
        before: Option<&Token>,
    ) {
        let mut client = opened.client();
        match outcome {
            SaveOutcome::Stored {
                token: Some(token),
                record,
            } => {
                let holds = |record: &Record| {
                    let ends_with_browser = self.engine.expiry.cookie_ends_with_browser(record);
                    (record.absolute_deadline, ends_with_browser)
                };
                let same_cookie = before == Some(token)
                    && changeset
                        .stored()
                        .is_some_and(|stored| holds(stored) == holds(record));
                if !same_cookie {
                    client.action = CookieAction::Set {
                        token: token.clone(),
                        age: self.engine.cookie_age(record, now),
                    };
                }
                client.token = Some(token.clone());
            }
            SaveOutcome::Deleted => {
                client.action = CookieAction::Remove;
                client.token = None;
            }
            // Where it stands, it does under a key that this client is not told.
            SaveOutcome::Gone | SaveOutcome::Stored { token: None, .. } => {
                client.successor = CookieAction::Nothing;
            }
            SaveOutcome::Unchanged | SaveOutcome::NotWritten(_) | SaveOutcome::Unknown(_) => {}
        }
    }
}

/// Nobody is told the new key of a session that was written.
fn not_handed_out(opened: &Opened, error: Error) -> SaveOutcome {
    opened.client().candidate = None;
    SaveOutcome::Unknown(error)
}
