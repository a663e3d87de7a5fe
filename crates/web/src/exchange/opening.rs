//! Opening the session of a request: which of its tokens opens one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cloakroom_core::engine::{Context, LoadedToken, Token};
use cloakroom_core::session::{Ended, Session};
use cloakroom_core::store::{EndReason, Record, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use super::device::Judgement;
use super::{Client, CookieAction, DeviceClient, Inner, Opened};
use crate::adopt::part;
use crate::decide::Arrival;
use crate::{Cost, Presented};

impl Inner {
    /// Tries the presented tokens in their order until one opens a session. A dead cookie
    /// may stand before a live one: a site that has changed its cookie's path or domain
    /// gets both.
    pub(super) async fn load(self: &Arc<Self>, presented: Presented) -> Result<Box<Opened>, Error> {
        let engine = &*self.engine;
        let mut client = Client {
            state: presented.state,
            formers: presented.formers,
            adoptable: presented.adoptable,
            device: DeviceClient::shown(presented.bound),
            ..Client::default()
        };
        let now = engine.clock.now();
        let mut arrival = match (presented.count, &presented.token) {
            (0, _) => Arrival::Anonymous,
            (_, None) if presented.former_tokens.is_empty() => Arrival::Malformed,
            _ => Arrival::Missing,
        };
        let own = usize::from(presented.token.is_some()) + presented.others.len();
        let tokens = presented.token.into_iter().chain(presented.others);
        let tokens = tokens.chain(presented.former_tokens);
        if arrival == Arrival::Malformed {
            engine.malformed();
        }
        let mut tokens = tokens.map(|token| token.of_site(&engine.site)).enumerate();
        let (mut passed, mut of_unknown_keys) = (Vec::new(), Vec::new());
        let mut ended = None;
        while let Some((at, token)) = tokens.next() {
            let loaded = match self.load_token(&token, &mut client.cost).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => {
                    engine.not_found(&token);
                    ended.get_or_insert_with(|| Ended::new(EndReason::Unknown));
                    continue;
                }
                Err(error) if is_damaged(&error) => {
                    engine.unreadable(&token, &error);
                    ended = Some(Ended::new(EndReason::Damaged));
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::UnknownKey => {
                    ended = Some(Ended::new(EndReason::KeyUnknown));
                    engine.of_unknown_key(&token, &error, now);
                    if arrival == Arrival::Missing {
                        arrival = Arrival::OfUnknownKey;
                    }
                    of_unknown_keys.push(token);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match loaded.stored {
                Stored::Record(record) if !engine.expiry.is_expired(&record, now) => {
                    match self.judge_device(&token, &record, &mut client, now).await? {
                        Judgement::Opens => {}
                        Judgement::Refused => {
                            ended = Some(Ended::new(EndReason::BindingFailed));
                            arrival = Arrival::Unproven;
                            passed.push(token);
                            continue;
                        }
                        Judgement::Ended => {
                            ended = Some(Ended::new(EndReason::BindingFailed));
                            continue;
                        }
                    }
                    let parted = part(engine, &token, &record, now, &mut client.cost).await;
                    let record = parted.unwrap_or(record);
                    let age = engine.cookie_age(&record, now);
                    let is_proven = client.device.is_proven();
                    match self.session(Some(record), now, None, is_proven) {
                        Ok(session) => {
                            engine.opened(&token, &session);
                            if at >= own {
                                let token = token.clone();
                                client.successor = CookieAction::Set { token, age };
                            }
                            passed.extend(of_unknown_keys);
                            passed.extend(tokens.map(|(_, token)| token));
                            client.others = passed;
                            self.hold(&mut client, token, loaded.reissue, age);
                            return Ok(Opened::new(session, Arrival::Stored, client));
                        }
                        Err(error) => {
                            engine.unreadable(&token, &error);
                            ended = Some(Ended::new(EndReason::Damaged));
                        }
                    }
                }
                Stored::Record(record) => {
                    let because = engine.expiry.ended_unused(&record);
                    engine.refused_after(&token, because.because);
                    ended = Some(because);
                }
                Stored::Rotated { until, .. } => {
                    engine.refused_after(&token, EndReason::Rotated);
                    ended = Some(Ended::new(EndReason::Rotated));
                    if until > now {
                        arrival = Arrival::Rotated;
                        passed.push(token);
                    }
                }
                Stored::Ended(tombstone) if tombstone.until > now => {
                    engine.refused_after(&token, tombstone.because);
                    ended = Some(tombstone.into());
                }
                Stored::Ended(_) => {
                    engine.refused_after(&token, EndReason::Unknown);
                    ended.get_or_insert_with(|| Ended::new(EndReason::Unknown));
                }
            }
        }
        // Where a token of ours has moved, a login in another request has just set the next.
        if !matches!(arrival, Arrival::Rotated | Arrival::Unproven)
            && !client.adoptable.is_empty()
            && let Some(session) = self
                .open_former(&mut client, (&mut arrival, &mut ended), &mut passed, now)
                .await?
        {
            client.others.extend(of_unknown_keys);
            return Ok(Opened::new(session, Arrival::Stored, client));
        }
        // A logout under an old token ends the session where it has moved, and one under a
        // token of an unknown key what another server would open.
        let mut passed = passed.into_iter();
        client.token = passed.next();
        client.others = passed.chain(of_unknown_keys).collect();
        Ok(Opened::new(
            self.session(None, now, ended, false)?,
            arrival,
            client,
        ))
    }

    async fn load_token(
        &self,
        token: &Token,
        cost: &mut Cost,
    ) -> Result<Option<LoadedToken>, Error> {
        let loaded = self.engine.load(token).await;
        match &loaded {
            Ok(loaded) => cost.load(loaded),
            Err(error) if is_damaged(error) => cost.load(&None),
            Err(_) => {}
        }
        loaded
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
