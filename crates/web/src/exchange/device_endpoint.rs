//! The endpoint at which browsers register and refresh their devices.
//!
//! A browser drops its key where it is told that its session is over. So nothing says that but
//! what the store itself holds: what a cache or a middleware of this request has found may be
//! from before a registration at another server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cloakroom_core::engine::{Token, TokenStore as _};
use cloakroom_core::store::Stored;
use cloakroom_core::{Binding, Error, ErrorKind, Login, Subject, Timestamp};

use super::opening::is_damaged;
use super::{CookieAction, Exchange, Opened};
use crate::device::Devices;
use crate::{Cost, DeviceAnswer, DeviceDeed, DeviceRequest, DeviceSession, HeaderEdit, Presented};

/// What the endpoint of devices responds.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeviceResponse {
    /// The status.
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
    /// Headers, beside those of the [`Closing`](crate::Closing).
    pub headers: Vec<HeaderEdit>,
}

/// Where the session is that a request of the endpoint speaks of.
enum Asked {
    /// The first of these tokens, and the only one, opens it.
    Opens(Box<Presented>),
    Nowhere,
    /// This server cannot know.
    Unknown,
}

/// The session of a request of the endpoint.
struct Found {
    token: Token,
    subject: Option<Subject>,
    login: Option<Arc<Login>>,
}

impl Found {
    fn of(opened: &Opened) -> Option<Self> {
        let token = opened.client().token.clone()?;
        let standing = opened.session.standing();
        Some(Self {
            token,
            subject: standing.subject,
            login: standing.login,
        })
    }

    fn binding(&self) -> Option<&Binding> {
        binding_of(self.login.as_ref())
    }
}

fn binding_of(login: Option<&Arc<Login>>) -> Option<&Binding> {
    login?.binding.as_deref()
}

impl Exchange {
    /// Answers a request of the endpoint at which browsers register and refresh their devices.
    /// `headers` are those of [`open`](Self::open). A refresh loads the session once and writes
    /// nothing. Close the exchange afterwards, as for any request.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Session::save`](cloakroom_core::session::Session::save):
    /// the browser tries again after a status of 500 and above.
    /// [`ErrorKind::Misconfigured`] where the engine binds no sessions to devices.
    pub async fn answer_device<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        request: DeviceRequest<'_>,
    ) -> Result<DeviceResponse, Error> {
        let devices = self.devices()?;
        if let Some(answer) = devices.binding.answer_unread(&request) {
            return Ok(respond(devices, answer));
        }
        let headers: Vec<&[u8]> = headers.collect();
        self.inner.device.is_endpoint.store(true, Ordering::Relaxed);
        self.open(headers.iter().copied()).await?;
        if let Some(found) = self.found()?
            && let Some(binding) = found.binding()
            && devices.binding.is_asked_for(&request, binding)
        {
            return self.answer_of(&found, &request).await;
        }
        // It is another session of this browser's, or one that a middleware has been refused,
        // or one of which this server knows too little.
        let presented = self.inner.engine.presented(headers.into_iter());
        let mut cost = Cost::default();
        let asked = self.find_asked(devices, &request, presented, &mut cost);
        let asked = asked.await;
        self.count(|own| own.add(cost));
        let of = match asked? {
            Asked::Opens(presented) => return self.answer_beside(*presented, &request).await,
            Asked::Nowhere => DeviceSession::Over,
            Asked::Unknown => DeviceSession::Unknown,
        };
        let now = self.inner.engine.clock.now();
        let answer = devices.binding.answer(&request, of, &devices.cookie, now);
        Ok(respond(devices, answer))
    }

    /// The session that is open.
    fn found(&self) -> Result<Option<Found>, Error> {
        let opened = self.inner.opened.get().ok_or(ErrorKind::Closed)?;
        // A refresh is no use of the session: requests that wait for it are.
        opened.session.peek();
        Ok(Found::of(opened))
    }

    /// Looks among all that a request presents, past every cache.
    async fn find_asked(
        &self,
        devices: &Devices,
        request: &DeviceRequest<'_>,
        presented: Presented,
        cost: &mut Cost,
    ) -> Result<Asked, Error> {
        let engine = &self.inner.engine;
        let store = &engine.store;
        let can = store.token_capabilities();
        let now = engine.clock.now();
        let may_be_stale = can.near_cache.is_none() && can.staleness_max > Duration::ZERO;
        let mut is_unknown = may_be_stale;
        let all = presented.token.iter().chain(&presented.others);
        for token in all.chain(&presented.former_tokens) {
            let of_site = token.clone().of_site(&engine.site);
            if let (Some(cache), Some(digest)) = (can.near_cache, store.digest_of(&of_site)) {
                cache.forget(&digest);
            }
            let loaded = match engine.load(&of_site).await {
                Ok(loaded) => loaded,
                Err(error) if error.kind() == ErrorKind::UnknownKey => {
                    is_unknown = true;
                    continue;
                }
                Err(error) if is_damaged(&error) => continue,
                Err(error) => return Err(error),
            };
            cost.load(&loaded);
            match loaded.map(|loaded| loaded.stored) {
                Some(Stored::Record(record)) if !engine.expiry.is_expired(&record, now) => {
                    let binding = binding_of(record.login.as_ref());
                    if binding.is_some_and(|it| devices.binding.is_asked_for(request, it)) {
                        let token = Some(token.clone());
                        return Ok(Asked::Opens(Box::new(Presented {
                            count: 1,
                            token,
                            state: presented.state,
                            bound: presented.bound,
                            ..Presented::default()
                        })));
                    }
                }
                Some(Stored::Rotated { until, .. }) => is_unknown |= until > now,
                _ => {}
            }
        }
        Ok(match is_unknown {
            true => Asked::Unknown,
            false => Asked::Nowhere,
        })
    }

    /// Answers for a session beside the one that this request has opened.
    async fn answer_beside(
        &self,
        presented: Presented,
        request: &DeviceRequest<'_>,
    ) -> Result<DeviceResponse, Error> {
        let beside = Self::new(self.inner.engine.clone());
        let noted = &beside.inner.device;
        noted.is_endpoint.store(true, Ordering::Relaxed);
        beside.open_presented(|| presented).await?;
        let Some(found) = beside.found()? else {
            return Err(ErrorKind::Closed.into());
        };
        let mut response = beside.answer_of(&found, request).await?;
        let closing = Box::pin(beside.close(response.status)).await;
        self.count(|own| own.add(closing.cost));
        response.headers.extend_from_slice(closing.token_headers());
        closing.failure.map_or(Ok(response), Err)
    }

    /// Answers for the session that is open.
    async fn answer_of(
        &self,
        found: &Found,
        request: &DeviceRequest<'_>,
    ) -> Result<DeviceResponse, Error> {
        let devices = self.devices()?;
        let now = self.inner.engine.clock.now();
        let of = found
            .binding()
            .map_or(DeviceSession::Unknown, DeviceSession::Open);
        let mut answer = devices.binding.answer(request, of, &devices.cookie, now);
        self.carry_out_deed(found, &mut answer, now).await?;
        Ok(respond(devices, answer))
    }

    async fn carry_out_deed(
        &self,
        found: &Found,
        answer: &mut DeviceAnswer,
        now: Timestamp,
    ) -> Result<(), Error> {
        let engine = &self.inner.engine;
        let opened = self.inner.opened.get().ok_or(ErrorKind::Closed)?;
        match &answer.deed {
            DeviceDeed::Nothing => {}
            DeviceDeed::Refreshed => engine.device_refreshed(&found.token),
            DeviceDeed::Bind(bound) => {
                opened.session.bind(bound.clone())?;
                opened.session.save().await?;
                let at_moved = opened.client().device.login_at_moved.take();
                let standing = at_moved.or_else(|| opened.session.standing().login);
                if binding_of(standing.as_ref()) != Some(bound) {
                    // Another device was first.
                    *answer = DeviceAnswer {
                        status: 400,
                        ..DeviceAnswer::default()
                    };
                    return Ok(());
                }
                engine.device_bound(&found.token, found.subject.as_ref());
            }
            DeviceDeed::WrongKey { ends } => {
                let ends = *ends;
                engine.device_unproven(&found.token, "wrong_key", ends, now);
                if ends {
                    let (token, subject) = (&found.token, found.subject.as_ref());
                    self.inner.end_unproven(token, subject, now).await?;
                    let mut client = opened.client();
                    client.action = CookieAction::Remove;
                    client.token = None;
                }
            }
        }
        Ok(())
    }
}

fn respond(devices: &Devices, answer: DeviceAnswer) -> DeviceResponse {
    let mut headers = vec![
        HeaderEdit::set("cache-control", "no-store"),
        HeaderEdit::set("content-security-policy", "frame-ancestors 'none'"),
        HeaderEdit::set("cross-origin-resource-policy", "same-origin"),
        HeaderEdit::set("x-content-type-options", "nosniff"),
    ];
    if !answer.body.is_empty() {
        headers.push(HeaderEdit::set("content-type", "application/json"));
    }
    let challenge = answer.challenge;
    headers.extend(challenge.map(|text| HeaderEdit::set("secure-session-challenge", text)));
    headers.extend(answer.bound.map(|value| devices.set(&value)));
    DeviceResponse {
        status: answer.status,
        body: answer.body,
        headers,
    }
}
