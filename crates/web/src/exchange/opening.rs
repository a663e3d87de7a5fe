//! Opening the session of a request: which of its tokens opens one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cloakroom_core::engine::{Context, LoadedToken, Token};
use cloakroom_core::session::{Ended, Session};
use cloakroom_core::store::{EndReason, Record, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use super::device::Judgement;
use super::{Client, CookieAction, DeviceClient, Inner, Opened};
use crate::Presented;
use crate::adopt::{is_to_part, part};
use crate::decide::Arrival;

/// How far the opening of a session has come: what the tokens that were tried have led to.
struct Opening {
    client: Client,
    arrival: Arrival,
    /// Tokens that opened nothing, of which a logout ends what they lead to.
    passed: Vec<Token>,
    of_unknown_keys: Vec<Token>,
    ended: Option<Ended>,
    /// What the token that is being tried leads to, and what is to take its place.
    record: Option<Record>,
    reissue: Option<Token>,
}

/// What is to be done with a token that was looked up.
enum Next {
    /// It opens nothing.
    PassOver,
    /// It leads to a session that is to be ended because of its device.
    EndByDevice,
    Open,
}

impl Inner {
    /// Tries the presented tokens in their order until one opens a session. A dead cookie
    /// may stand before a live one: a site that has changed its cookie's path or domain
    /// gets both.
    pub(super) fn load(
        self: &Arc<Self>,
        presented: Presented,
    ) -> impl Future<Output = Result<Box<Opened>, Error>> + Send {
        let engine = &*self.engine;
        let arrival = match (presented.count, &presented.token) {
            (0, _) => Arrival::Anonymous,
            (_, None) if presented.former_tokens.is_empty() => Arrival::Malformed,
            _ => Arrival::Missing,
        };
        let own = usize::from(presented.token.is_some()) + presented.others.len();
        let tokens = presented.token.into_iter().chain(presented.others);
        let tokens = tokens.chain(presented.former_tokens);
        let mut tokens = tokens.map(|token| token.of_site(&engine.site)).enumerate();
        let mut opening = Opening {
            client: Client {
                state: presented.state,
                formers: presented.formers,
                adoptable: presented.adoptable,
                device: DeviceClient::shown(presented.bound),
                ..Client::default()
            },
            arrival,
            passed: Vec::new(),
            of_unknown_keys: Vec::new(),
            ended: None,
            record: None,
            reissue: None,
        };
        // The future is kept small, which every request that uses its session pays for: what is
        // rare has one of its own.
        async move {
            let now = engine.clock.now();
            if opening.arrival == Arrival::Malformed {
                engine.malformed();
            }
            while let Some((at, token)) = tokens.next() {
                let loaded = engine.load(&token).await;
                match self.find(&token, loaded, &mut opening, now)? {
                    Next::PassOver => continue,
                    Next::EndByDevice => {
                        Box::pin(self.end_by_device(&token, &mut opening, now)).await?;
                        continue;
                    }
                    Next::Open => {}
                }
                if let Some(record) = &mut opening.record
                    && is_to_part(engine, record, now)
                {
                    Box::pin(part(engine, &token, record, &mut opening.client.cost)).await;
                }
                let age = opening.record.as_ref();
                let age = age.and_then(|record| engine.cookie_age(record, now));
                let is_proven = opening.client.device.is_proven();
                let session = match self.session(opening.record.take(), now, None, is_proven) {
                    Ok(session) => session,
                    Err(error) => {
                        engine.unreadable(&token, &error);
                        opening.ended = Some(Ended::new(EndReason::Damaged));
                        continue;
                    }
                };
                engine.opened(&token, &session);
                opening.passed.append(&mut opening.of_unknown_keys);
                opening.passed.extend(tokens.map(|(_, token)| token));
                let client = &mut opening.client;
                if at >= own {
                    let token = token.clone();
                    client.successor = CookieAction::Set { token, age };
                }
                client.others = opening.passed;
                self.hold(client, token, opening.reissue, age);
                return Ok(Opened::new(session, Arrival::Stored, opening.client));
            }
            // Where a token of ours has moved, a login in another request has just set the next.
            if !matches!(opening.arrival, Arrival::Rotated | Arrival::Unproven)
                && !opening.client.adoptable.is_empty()
            {
                let former = Box::pin(self.open_former(
                    &mut opening.client,
                    (&mut opening.arrival, &mut opening.ended),
                    &mut opening.passed,
                    now,
                ));
                if let Some(session) = former.await? {
                    opening.client.others.append(&mut opening.of_unknown_keys);
                    return Ok(Opened::new(session, Arrival::Stored, opening.client));
                }
            }
            self.begin(opening, now)
        }
    }

    /// A new session, where no token opens one.
    fn begin(self: &Arc<Self>, mut opening: Opening, now: Timestamp) -> Result<Box<Opened>, Error> {
        // A logout under an old token ends the session where it has moved, and one under a
        // token of an unknown key what another server would open.
        let mut passed = opening.passed.into_iter();
        opening.client.token = passed.next();
        opening.client.others = passed.chain(opening.of_unknown_keys).collect();
        let session = self.session(None, now, opening.ended, false)?;
        Ok(Opened::new(session, opening.arrival, opening.client))
    }

    async fn end_by_device(
        &self,
        token: &Token,
        opening: &mut Opening,
        now: Timestamp,
    ) -> Result<(), Error> {
        let record = opening.record.take();
        let subject = record.and_then(|record| record.subject);
        self.end_unproven(token, subject.as_ref(), now).await
    }

    /// What to do with a token, by what the store has answered.
    ///
    /// # Errors
    /// Those of the store that fail the request.
    fn find(
        &self,
        token: &Token,
        loaded: Result<Option<LoadedToken>, Error>,
        opening: &mut Opening,
        now: Timestamp,
    ) -> Result<Next, Error> {
        let engine = &*self.engine;
        let ended = &mut opening.ended;
        match &loaded {
            Ok(loaded) => opening.client.cost.load(loaded),
            Err(error) if is_damaged(error) => opening.client.cost.load(&None),
            Err(_) => {}
        }
        let loaded = match loaded {
            Ok(Some(loaded)) => loaded,
            Ok(None) => {
                engine.not_found(token);
                ended.get_or_insert_with(|| Ended::new(EndReason::Unknown));
                return Ok(Next::PassOver);
            }
            Err(error) if is_damaged(&error) => {
                engine.unreadable(token, &error);
                *ended = Some(Ended::new(EndReason::Damaged));
                return Ok(Next::PassOver);
            }
            Err(error) if error.kind() == ErrorKind::UnknownKey => {
                *ended = Some(Ended::new(EndReason::KeyUnknown));
                engine.of_unknown_key(token, &error, now);
                if opening.arrival == Arrival::Missing {
                    opening.arrival = Arrival::OfUnknownKey;
                }
                opening.of_unknown_keys.push(token.clone());
                return Ok(Next::PassOver);
            }
            Err(error) => return Err(error),
        };
        match loaded.stored {
            Stored::Record(record) if !engine.expiry.is_expired(&record, now) => {
                match self.judge_device(token, &record, &mut opening.client, now) {
                    Judgement::Opens => {
                        opening.reissue = loaded.reissue;
                        opening.record = Some(record);
                        return Ok(Next::Open);
                    }
                    Judgement::Refused => {
                        *ended = Some(Ended::new(EndReason::BindingFailed));
                        opening.arrival = Arrival::Unproven;
                        opening.passed.push(token.clone());
                    }
                    Judgement::Ends => {
                        *ended = Some(Ended::new(EndReason::BindingFailed));
                        opening.record = Some(record);
                        return Ok(Next::EndByDevice);
                    }
                }
            }
            Stored::Record(record) => {
                let because = engine.expiry.ended_unused(&record);
                engine.refused_after(token, because.because);
                *ended = Some(because);
            }
            Stored::Rotated { until, .. } => {
                engine.refused_after(token, EndReason::Rotated);
                *ended = Some(Ended::new(EndReason::Rotated));
                if until > now {
                    opening.arrival = Arrival::Rotated;
                    opening.passed.push(token.clone());
                }
            }
            Stored::Ended(tombstone) if tombstone.until > now => {
                engine.refused_after(token, tombstone.because);
                *ended = Some(tombstone.into());
            }
            Stored::Ended(_) => {
                engine.refused_after(token, EndReason::Unknown);
                ended.get_or_insert_with(|| Ended::new(EndReason::Unknown));
            }
        }
        Ok(Next::PassOver)
    }

    /// Notes the token that has opened the session.
    fn hold(
        &self,
        client: &mut Client,
        token: Token,
        reissue: Option<Token>,
        age: Option<Duration>,
    ) {
        // A token that was sealed under a wider limit stays readable, but it cannot be
        // sent again.
        let fits = |token: &Token| self.engine.transport.check_length(token).is_ok();
        match reissue.filter(fits) {
            Some(fresh) => {
                client.token = Some(fresh.clone());
                client.action = CookieAction::Set { token: fresh, age };
            }
            None => client.token = Some(token),
        }
    }

    pub(super) fn session(
        self: &Arc<Self>,
        stored: Option<Record>,
        now: Timestamp,
        ended: Option<Ended>,
        is_device_proven: bool,
    ) -> Result<Session, Error> {
        let commit: Weak<Inner> = Arc::downgrade(self);
        let context = Context::new(now, self.engine.limits, self.engine.expiry)
            .of_site(&self.engine.site)
            .after(ended)
            .device_proven(is_device_proven)
            .committed_by(commit);
        Session::open(stored, context)
    }
}

/// Whether what stands there cannot be read, and never will be.
pub(super) fn is_damaged(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge)
}
