//! Opening the session of a request: which of its tokens opens one.

use std::sync::Weak;
use std::time::Duration;

use cloakroom_core::engine::{Context, LoadedToken, Token, TokenStore as _};
use cloakroom_core::session::Session;
use cloakroom_core::store::{Record, Stored};
use cloakroom_core::{Error, ErrorKind, Timestamp};

use super::{CookieAction, Inner, Opened};
use crate::decide::Arrival;
use crate::{ClientState, Presented};

impl Inner {
    /// Tries the presented tokens in their order until one opens a session. A dead cookie
    /// may stand before a live one: a site that has changed its cookie's path or domain
    /// gets both.
    pub(super) async fn load(&self, presented: Presented) -> Result<Opened, Error> {
        let engine = &*self.engine;
        if presented.state != ClientState::default() {
            self.client().state = presented.state;
        }
        if !presented.formers.is_empty() {
            self.client().formers = presented.formers;
        }
        let now = engine.clock.now();
        let mut arrival = match (presented.count, &presented.token) {
            (0, _) => Arrival::Anonymous,
            (_, None) if presented.former_tokens.is_empty() => Arrival::Malformed,
            _ => Arrival::Missing,
        };
        let own = usize::from(presented.token.is_some()) + presented.others.len();
        let tokens = presented.token.into_iter().chain(presented.others);
        let tokens = tokens.chain(presented.former_tokens);
        let mut tokens = tokens.map(|token| token.of_site(&engine.site)).enumerate();
        let mut passed = Vec::new();
        while let Some((at, token)) = tokens.next() {
            let loaded = match self.load_token(&token).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::UnknownKey => {
                    if let Some(unlogged) = engine.unknown_keys.log_at(now) {
                        tracing::warn!(%error, unlogged, "a token names a key that this server does not have; another server may have it");
                    }
                    if arrival == Arrival::Missing {
                        arrival = Arrival::OfUnknownKey;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            match loaded.stored {
                Stored::Record(record) if !engine.expiry.is_expired(&record, now) => {
                    let age = engine.cookie_age(&record, now);
                    match self.begin(Some(record), Arrival::Stored, now) {
                        Ok(opened) => {
                            if at >= own {
                                let token = token.clone();
                                self.client().successor = CookieAction::Set { token, age };
                            }
                            passed.extend(tokens.map(|(_, token)| token));
                            self.hold(token, passed, loaded.reissue, age);
                            return Ok(opened);
                        }
                        Err(error) => self.unreadable(&token, &error),
                    }
                }
                Stored::Rotated { until, .. } if until > now => {
                    arrival = Arrival::Rotated;
                    passed.push(token);
                }
                Stored::Record(_) | Stored::Rotated { .. } => {}
            }
        }
        // A logout under an old token ends the session where it has moved.
        let mut client = self.client();
        let mut passed = passed.into_iter();
        client.token = passed.next();
        client.others = passed.collect();
        drop(client);
        self.begin(None, arrival, now)
    }

    async fn load_token(&self, token: &Token) -> Result<Option<LoadedToken>, Error> {
        let loaded = match self.engine.store.load_token(token).await {
            Ok(loaded) => loaded,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge) => {
                self.unreadable(token, &error);
                None
            }
            Err(error) => return Err(error),
        };
        self.client().cost.load(&loaded);
        Ok(loaded)
    }

    /// Notes the token that has opened the session, and the others beside it.
    fn hold(
        &self,
        token: Token,
        others: Vec<Token>,
        reissue: Option<Token>,
        age: Option<Duration>,
    ) {
        let mut client = self.client();
        client.others = others;
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

    fn begin(
        &self,
        stored: Option<Record>,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<Opened, Error> {
        let commit: Weak<Inner> = self.me.clone();
        let context = Context::new(now, self.engine.limits, self.engine.expiry)
            .of_site(&self.engine.site)
            .committed_by(commit);
        let session = Session::open(stored, context)?;
        Ok(Opened { session, arrival })
    }

    fn unreadable(&self, token: &Token, error: &Error) {
        tracing::error!(
            session = %self.engine.short(token),
            error = %error,
            "the stored session cannot be read; a new one begins"
        );
    }
}
