//! The device of a request: judging it, offering a session to it, answering it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::engine::{Changeset, SaveOutcome, Token};
use cloakroom_core::session::Ended;
use cloakroom_core::store::{EndReason, Ending, Record};
use cloakroom_core::{Binding, Error, ErrorKind, Login, Subject, Timestamp};

use super::{Client, CookieAction, Exchange, Inner, Opened};
use crate::carry_out::carry_out;
use crate::decide::Arrival;
use crate::device::Devices;
use crate::write::Writer;
use crate::{
    DeviceAnswer, DeviceDeed, DeviceRequest, DeviceSession, DeviceVerdict, HeaderEdit, Outcome,
    ShownDevice, Skipped,
};

/// What the device of a request has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceProof {
    /// The session is bound to none.
    #[default]
    Unbound,
    /// The session is bound, and this request has not proven its device.
    Unproven,
    /// The request comes from the device that the session is bound to.
    Proven,
}

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

/// What a request's headers say of its device, beside its cookies.
#[derive(Debug, Default)]
pub(super) struct Noted {
    skipped: Mutex<Option<Skipped>>,
    /// Whether it is one of the endpoint, where a device proves itself by other means.
    is_endpoint: AtomicBool,
}

/// What is known of the device of a client.
#[derive(Default)]
pub(super) struct DeviceClient {
    /// The values of its bound cookies; `None` where no headers were looked at, as for a job.
    shown: Option<Vec<Vec<u8>>>,
    proof: DeviceProof,
    /// The session that was not opened because its device was not proven.
    unproven: Option<(Token, Record)>,
    offer: Option<Offer>,
    /// As [`Writer::login_at_moved`], of the last save.
    pub(super) login_at_moved: Option<Arc<Login>>,
}

struct Offer {
    binding: Binding,
    has_failed: bool,
}

impl DeviceClient {
    pub(super) fn shown(shown: Option<Vec<Vec<u8>>>) -> Self {
        Self {
            shown,
            ..Self::default()
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proof == DeviceProof::Proven
    }

    fn holds_cookie(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| !shown.is_empty())
    }
}

/// What the device of a request makes of its session.
pub(super) enum Judgement {
    Opens,
    Refused,
    Ended,
}

impl Exchange {
    /// Whether an adapter should [note](Self::note_skipped) more headers than those that
    /// carry the token.
    #[must_use]
    pub fn is_device_bound(&self) -> bool {
        self.inner.engine.devices.is_some()
    }

    /// Notes the request's `Secure-Session-Skipped` header, by which a browser says that it
    /// could not refresh its bound cookie.
    pub fn note_skipped(&self, header: Option<&[u8]>) {
        *self.inner.skipped() = header.map(Skipped::read);
    }

    /// What the device of this request has shown, where its session was opened.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the engine binds no sessions to devices.
    pub fn device_proof(&self) -> Result<DeviceProof, Error> {
        self.devices()?;
        let opened = self.inner.opened.get();
        Ok(opened.map_or_else(DeviceProof::default, |opened| opened.client().device.proof))
    }

    fn devices(&self) -> Result<&Devices, Error> {
        self.inner.engine.devices.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "this engine binds no session to a device: build it with device_bound",
            )
        })
    }

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
        self.inner.device.is_endpoint.store(true, Ordering::Relaxed);
        let session = self.open(headers).await?;
        let Some(opened) = self.inner.opened.get() else {
            return Err(ErrorKind::Closed.into());
        };
        // A refresh is no use of the session: requests that wait for it are.
        session.peek();
        let now = self.inner.engine.clock.now();
        let found = Found::of(opened);
        let binding = found.as_ref().and_then(|found| found.binding());
        let of = match binding {
            Some(binding) => DeviceSession::Open(binding),
            None if matches!(opened.arrival, Arrival::Rotated | Arrival::OfUnknownKey) => {
                DeviceSession::Unknown
            }
            None => DeviceSession::Over,
        };
        let binding = &devices.binding;
        let mut answer = binding.answer(&request, of, &devices.cookie, now);
        if let Some(found) = &found {
            self.carry_out_deed(opened, found, &mut answer, now).await?;
        }
        Ok(respond(devices, answer))
    }

    async fn carry_out_deed(
        &self,
        opened: &Opened,
        found: &Found,
        answer: &mut DeviceAnswer,
        now: Timestamp,
    ) -> Result<(), Error> {
        let engine = &self.inner.engine;
        match &answer.deed {
            DeviceDeed::Nothing => {}
            DeviceDeed::Refreshed => engine.device_refreshed(&found.token),
            DeviceDeed::Bind(bound) => {
                opened.session.bind(bound.clone())?;
                opened.session.save().await?;
                let at_moved = opened.client().device.login_at_moved.take();
                let standing = at_moved.or_else(|| opened.session.standing().login);
                let stands = standing.as_ref().and_then(|login| login.binding.as_deref());
                if stands != Some(bound) {
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

/// The session that the endpoint speaks of, opened or not.
struct Found {
    token: Token,
    subject: Option<Subject>,
    login: Option<Arc<Login>>,
}

impl Found {
    fn of(opened: &Opened) -> Option<Self> {
        let mut client = opened.client();
        if let Some((token, record)) = client.device.unproven.take() {
            return Some(Self {
                token,
                subject: record.subject,
                login: record.login,
            });
        }
        let token = client.token.clone()?;
        drop(client);
        let standing = opened.session.standing();
        Some(Self {
            token,
            subject: standing.subject,
            login: standing.login,
        })
    }

    fn binding(&self) -> Option<&Binding> {
        self.login.as_ref()?.binding.as_deref()
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

impl Inner {
    fn skipped(&self) -> MutexGuard<'_, Option<Skipped>> {
        let skipped = self.device.skipped.lock();
        skipped.unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges the device of a session that would open otherwise.
    pub(super) async fn judge_device(
        &self,
        token: &Token,
        record: &Record,
        client: &mut Client,
        now: Timestamp,
    ) -> Result<Judgement, Error> {
        // What was found of a token before this one says nothing of it.
        client.device.proof = DeviceProof::Unbound;
        let login = record.login.as_ref();
        let binding = login.and_then(|login| login.binding.as_deref());
        let (Some(devices), Some(binding)) = (&self.engine.devices, binding) else {
            return Ok(Judgement::Opens);
        };
        let Some(shown) = &client.device.shown else {
            return Ok(Judgement::Opens);
        };
        if self.device.is_endpoint.load(Ordering::Relaxed) {
            return Ok(Judgement::Opens);
        }
        let skipped = *self.skipped();
        let shown = ShownDevice {
            cookies: shown,
            skipped,
        };
        let engine = &self.engine;
        let (proof, judgement) = match devices.binding.judge(binding, &shown, now) {
            DeviceVerdict::Proven => (DeviceProof::Proven, Judgement::Opens),
            DeviceVerdict::Unbound => (DeviceProof::Unbound, Judgement::Opens),
            DeviceVerdict::Tolerated(why) => {
                engine.device_unproven(token, why, false, now);
                (DeviceProof::Unproven, Judgement::Opens)
            }
            DeviceVerdict::Refused(why) => {
                engine.device_unproven(token, why, true, now);
                engine.refused_after(token, EndReason::BindingFailed);
                client.device.unproven = Some((token.clone(), record.clone()));
                (DeviceProof::Unproven, Judgement::Refused)
            }
            DeviceVerdict::Ended(why) => {
                engine.device_unproven(token, why, true, now);
                self.end_unproven(token, record.subject.as_ref(), now)
                    .await?;
                (DeviceProof::Unproven, Judgement::Ended)
            }
        };
        client.device.proof = proof;
        Ok(judgement)
    }

    /// Ends a session because of its device, also where the client hangs up meanwhile.
    async fn end_unproven(
        &self,
        token: &Token,
        subject: Option<&Subject>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (engine, ended) = (self.engine.clone(), token.clone());
        let ending = Ending::new(EndReason::BindingFailed, now);
        let told = Ended::from(&ending);
        let end = async move {
            let mut writer = Writer::new(&engine, now);
            writer.end_token(&ended, &ending).await
        };
        carry_out(end).await?;
        self.engine.ended(token, &told, subject);
        Ok(())
    }

    /// Records an offer to a device, where the session of somebody who is logged in has none:
    /// with a login it takes no write of its own.
    pub(super) fn offer_device(&self, opened: &Opened, outcome: Outcome) {
        if self.engine.devices.is_none() || outcome != Outcome::Success {
            return;
        }
        let is_endpoint = self.device.is_endpoint.load(Ordering::Relaxed);
        let has_failed = |offer: &Offer| offer.has_failed;
        if is_endpoint
            || opened
                .client()
                .device
                .offer
                .as_ref()
                .is_some_and(has_failed)
        {
            return;
        }
        let standing = opened.session.standing();
        let is_offered = standing.login.is_some_and(|login| login.binding.is_some());
        if standing.subject.is_none() || standing.peeks || is_offered {
            return;
        }
        let mut secret = [0; Binding::SECRET_BYTES];
        if self.engine.entropy.fill(&mut secret).is_err() {
            // The next request finds it, or fails by it.
            return;
        }
        let binding = Binding::offered(secret, self.engine.clock.now());
        if opened.session.bind(binding.clone()).is_ok() {
            opened.client().device.offer = Some(Offer {
                binding,
                has_failed: false,
            });
        }
    }

    /// What became of a write, where it was that of an offer alone: a request that only reads
    /// must not fail by it, and what it writes afterwards must not either.
    pub(super) fn without_offer(
        &self,
        opened: &Opened,
        changeset: &Changeset,
        writer: &mut Writer<'_>,
        outcome: SaveOutcome,
    ) -> SaveOutcome {
        let mut client = opened.client();
        let token = client.token.clone();
        let Some(offer) = client.device.offer.as_mut() else {
            return outcome;
        };
        if !changeset.is_binding_alone() {
            return outcome;
        }
        let error = match outcome {
            SaveOutcome::NotWritten(error) | SaveOutcome::Unknown(error) => error,
            SaveOutcome::Gone => {
                writer.is_gone = true;
                ErrorKind::Gone.into()
            }
            outcome => return outcome,
        };
        offer.has_failed = true;
        if let Some(token) = token {
            self.engine.device_not_offered(&token, &error);
        }
        SaveOutcome::Unchanged
    }

    /// What a response says of devices: an offer, or the end of the bound cookie. It may offer
    /// again, in the answer to a page, what was offered a short time ago and no device has
    /// answered yet.
    pub(super) fn device_headers(
        &self,
        opened: &Opened,
        client: &Client,
        may_offer_again: bool,
    ) -> Vec<HeaderEdit> {
        let Some(devices) = &self.engine.devices else {
            return Vec::new();
        };
        let own = client.device.offer.as_ref();
        let login = opened.session.standing().login;
        let offered = login.as_ref().and_then(|login| login.binding.as_deref());
        let is_over = self.device.is_endpoint.load(Ordering::Relaxed)
            || own.is_some_and(|offer| offer.has_failed)
            || matches!(client.action, CookieAction::Remove);
        let offered = offered.filter(|offered| offered.key().is_none() && !is_over);
        let Some(offered) = offered else {
            let is_stale = client.has_ended && client.device.holds_cookie();
            return is_stale.then(|| devices.removal()).into_iter().collect();
        };
        let is_first = own.is_some_and(|offer| offer.binding == *offered);
        if !is_first && !may_offer_again {
            return Vec::new();
        }
        let now = self.engine.clock.now();
        let Some(offer) = devices.binding.offer(offered, now) else {
            return Vec::new();
        };
        let registration = HeaderEdit::set("secure-session-registration", offer.registration);
        // Until the device has answered, this stands for its proof: requests that are under
        // way when it answers have no other.
        let bound = is_first.then(|| devices.set(&offer.bound));
        [registration].into_iter().chain(bound).collect()
    }
}
