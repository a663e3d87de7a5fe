//! The device of a request: judging it, offering a session to it, answering it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom_core::engine::{Changeset, SaveOutcome, Token};
use cloakroom_core::session::Ended;
use cloakroom_core::store::{EndReason, Ending, Record};
use cloakroom_core::{Binding, Error, ErrorKind, Login, Subject, Timestamp};

use super::{Client, CookieAction, Exchange, Inner, Opened};
use crate::carry_out::carry_out;
use crate::device::Devices;
use crate::write::Writer;
use crate::{DeviceVerdict, HeaderEdit, Outcome, ShownDevice, Skipped};

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

/// What a request says that may explain why its device is not proven: its line, and headers as
/// they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceHints<'r> {
    /// The method.
    pub method: &'r str,
    /// The query of what it asks for, if it has one.
    pub query: Option<&'r str>,
    /// `Secure-Session-Skipped`.
    pub skipped: Option<&'r [u8]>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'r [u8]>,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: Option<&'r [u8]>,
    /// `Sec-Fetch-Dest`.
    pub fetch_dest: Option<&'r [u8]>,
}

impl DeviceHints<'_> {
    /// Whether another site has led the browser to a page.
    fn is_from_elsewhere(&self) -> bool {
        let is = |header: Option<&[u8]>, value: &str| {
            header.is_some_and(|text| text.eq_ignore_ascii_case(value.as_bytes()))
        };
        self.method == "GET"
            && is(self.fetch_mode, "navigate")
            && is(self.fetch_dest, "document")
            && (is(self.fetch_site, "cross-site") || is(self.fetch_site, "same-site"))
    }

    /// The value of a `Refresh` header that makes the browser ask for the same page again.
    ///
    /// It names the query, so that a browser that was sent to a fragment of the page does not
    /// go to that fragment instead; and not the path, which a router may have cut.
    fn refresh(&self) -> String {
        format!("0;url=?{}", self.query.unwrap_or_default())
    }
}

/// What a request says of its device, beside its cookies.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Most requests say nothing.
    hints: OnceLock<Box<Hints>>,
    /// Whether it is one of the endpoint, where a device proves itself by other means.
    pub(super) is_endpoint: AtomicBool,
}

#[derive(Debug)]
struct Hints {
    skipped: Option<Skipped>,
    /// Where another site has led the browser here: what makes it ask again by itself.
    refresh: Option<String>,
}

/// What is known of the device of a client.
#[derive(Default)]
pub(super) struct DeviceClient {
    /// The values of its bound cookies; `None` where no headers were looked at, as for a job.
    shown: Option<Vec<Vec<u8>>>,
    proof: DeviceProof,
    offer: Option<Box<Offer>>,
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
    Ends,
}

impl Exchange {
    /// Whether an adapter should [note](Self::note_device) what the request says of its
    /// device.
    #[must_use]
    pub fn is_device_bound(&self) -> bool {
        self.inner.engine.devices.is_some()
    }

    /// Notes why the browser may not have proven its device, before the session is opened.
    pub fn note_device(&self, hints: DeviceHints<'_>) {
        let skipped = hints.skipped.map(Skipped::read);
        let refresh = hints.is_from_elsewhere().then(|| hints.refresh());
        if skipped.is_some() || refresh.is_some() {
            let noted = &self.inner.device.hints;
            noted.get_or_init(|| Box::new(Hints { skipped, refresh }));
        }
    }

    /// What an adapter answers in place of a refusal to a browser that another site has led
    /// here, and that has not proven the device of its session: it does not refresh for such a
    /// request. These headers, and a status of 200, make it ask again by itself, and the site
    /// sees that request come from its own page. `None` where the refusal stands.
    #[must_use]
    pub fn reload(&self) -> Option<[HeaderEdit; 3]> {
        let opened = self.inner.opened.get()?;
        let refresh = self.inner.device.hints.get()?.refresh.clone()?;
        let is_unproven = opened.client().device.proof == DeviceProof::Unproven;
        is_unproven.then(|| {
            [
                HeaderEdit::set("refresh", refresh),
                HeaderEdit::set("cache-control", "no-store"),
                HeaderEdit::set("content-type", "text/html"),
            ]
        })
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

    pub(super) fn devices(&self) -> Result<&Devices, Error> {
        self.inner.engine.devices.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "this engine binds no session to a device: build it with device_bound",
            )
        })
    }
}

impl Inner {
    /// Judges the device of a session that would open otherwise. One that it
    /// [ends](Judgement::Ends), the caller does end.
    pub(super) fn judge_device(
        &self,
        token: &Token,
        record: &Record,
        client: &mut Client,
        now: Timestamp,
    ) -> Judgement {
        // What was found of a token before this one says nothing of it.
        client.device.proof = DeviceProof::Unbound;
        let login = record.login.as_ref();
        let binding = login.and_then(|login| login.binding.as_deref());
        let (Some(devices), Some(binding)) = (&self.engine.devices, binding) else {
            return Judgement::Opens;
        };
        let Some(shown) = &client.device.shown else {
            return Judgement::Opens;
        };
        if self.device.is_endpoint.load(Ordering::Relaxed) {
            return Judgement::Opens;
        }
        let hints = self.device.hints.get();
        let shown = ShownDevice {
            cookies: shown,
            skipped: hints.and_then(|hints| hints.skipped),
            is_from_elsewhere: hints.is_some_and(|hints| hints.refresh.is_some()),
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
                (DeviceProof::Unproven, Judgement::Refused)
            }
            DeviceVerdict::Ended(why) => {
                engine.device_unproven(token, why, true, now);
                (DeviceProof::Unproven, Judgement::Ends)
            }
        };
        client.device.proof = proof;
        judgement
    }

    /// Ends a session because of its device, also where the client hangs up meanwhile.
    pub(super) async fn end_unproven(
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
        let offer_has_failed = match &opened.client().device.offer {
            Some(offer) => offer.has_failed,
            None => false,
        };
        if is_endpoint || offer_has_failed {
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
            opened.client().device.offer = Some(Box::new(Offer {
                binding,
                has_failed: false,
            }));
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
