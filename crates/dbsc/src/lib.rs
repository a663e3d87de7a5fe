//! Device Bound Session Credentials: a copied session cookie is worthless within minutes.
//!
//! After a login, the browser makes a key pair that does not leave the device, and the session's
//! record keeps the public key. From then on the browser holds a second, short-lived *bound
//! cookie*, and gets the next one by signing a challenge. Who copies the cookies has not the
//! key, so what they copied opens the session no longer than the bound cookie lives. (In a
//! cookie store that is true of what was copied after the device had answered.) There is
//! no script, and a browser that does not know the protocol ignores its headers. Chromium
//! browsers know it.
//!
//! ```
//! use cloakroom_core::Error;
//! use cloakroom_core::store::SessionStore;
//! use cloakroom_dbsc::Dbsc;
//! use cloakroom_web::Engine;
//!
//! fn engine(store: impl SessionStore) -> Result<Engine, Error> {
//!     Engine::builder(store).device_bound(Dbsc::observe()).build()
//! }
//! ```
//!
//! Then mount the adapter's `device_endpoint` at [`Dbsc::PATH`], for POST, inside its session
//! layer and outside what asks for a login or a token against CSRF: the browser sends an empty
//! body from the site's own origin, and no token.
//!
//! **In the book:** [Sessions bound to a device](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/dbsc.md).
//!
//! # Levels
//!
//! A request **proves** its device by a bound cookie that is valid. Where a bound session's
//! request does not:
//!
//! | level | without a word | where the browser says why it has not refreshed | another key signs a refresh | no device has answered the offer in time |
//! |---|---|---|---|---|
//! | [`observe`](Dbsc::observe) | goes on | goes on | goes on | goes on |
//! | [`prefer`](Dbsc::prefer) | is refused | goes on | the session ends | goes on: the browser may not know the protocol |
//! | [`require`](Dbsc::require) | is refused | is refused | the session ends | the session ends |
//!
//! *Refused* means that the session is not opened in this request: nobody is logged in,
//! `Session::ended_because` says `binding_failed`, a change other than a login is a 409, and the
//! browser keeps its cookies, so that its next request can prove the device. *Ends* means that
//! the record is gone, with the reason `binding_failed`. An extractor `Bound` of the adapter
//! refuses, at every level, whatever has not proven its device: put it before a page that
//! changes a password or moves money.
//!
//! **What a browser says of a refresh that it has not done, a thief can say as well.** At
//! `prefer` it is believed: that it could not (`Secure-Session-Skipped`), so that an outage of the
//! endpoint logs nobody out, and that another site has led it to this page (`Sec-Fetch-Site`),
//! for which browsers do not refresh. A thief who knows to say so then reaches what `Bound` does
//! not guard. `require` believes neither, and an outage of the endpoint is one of the site. A
//! browser that has followed a link of another site to a page that refuses it is made to ask for
//! it again by itself, and refreshes for that.
//!
//! # Offers
//!
//! Each login offers its session to the browser, and so does the first page of a session from
//! before, or that was adopted. An offer is open as long as a bound cookie lives, and is repeated
//! with each page for so long; whoever has the session cookie can answer it. After that the session
//! stays as it is until the next login or step-up, which offers it again. A login or step-up from
//! a request that has not proven the device drops it and offers the session to another one, so
//! that neither a lost key nor another's stays; from a proven one, the device stays.
//!
//! # What it costs, and what it keeps
//!
//! The record holds a random secret and the public key, 98 bytes, in its header (until the device
//! has answered, when it was offered instead of the key): a write of
//! another request loses neither, and to end the session ends the binding. Challenges and bound
//! cookies are an instant and a MAC under that secret, so a refresh is one load and no write, and
//! no other request costs more I/O. Without memory of the challenges that were used, who has
//! seen a signed one can use it again within its life, four times that of the bound cookie; that
//! buys one bound cookie each time, and nothing once it is over. It works on every store. In a
//! cookie store the binding lies in the sealed cookie, and what such a store cannot do, it cannot
//! do here. The later of two responses wins. It ends no session: not even where a logout ends all
//! of a user's. And each copy of a cookie is a session of its own: one from before the device had
//! answered stays unbound to its own deadline, unless a device is required.
//!
//! A rotation keeps the binding, and a login of another subject drops it. A bearer token is not
//! bound: that would be DPoP, which is not built.
//!
//! The endpoint answers for the session that the browser names, whichever of its cookies comes
//! first, and says that one is over only by what the store holds, past a near cache: a browser
//! drops its key for it. Where a store may lag and cannot be asked again, it answers 503.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod fields;
mod proof;
mod stamp;

use std::borrow::Cow;
use std::time::Duration;

use cloakroom_core::{Binding, Timestamp};
use cloakroom_web::{
    BoundCookie, DeviceAnswer, DeviceBinding, DeviceOffer, DeviceRequest, DeviceSession,
    DeviceVerdict, ShownDevice,
};

use crate::stamp::{Judged, Purpose, judge, stamp};

/// The policy of sessions that are bound to devices, for
/// [`EngineBuilder::device_bound`](cloakroom_web::EngineBuilder::device_bound).
#[derive(Clone, Debug)]
pub struct Dbsc {
    level: Level,
    path: Cow<'static, str>,
    cookie_life: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Observe,
    Prefer,
    Require,
}

/// How many lives of a bound cookie a challenge is valid for: it is answered when that cookie
/// ends, and one that was handed out before the last is answered where two refreshes race.
const CHALLENGE_LIVES: u32 = 4;

/// The longest that a bound cookie is accepted after the browser has dropped it: a request may
/// be under way.
const LEEWAY_MAX: Duration = Duration::from_secs(30);

impl Dbsc {
    /// The path of the endpoint where none is chosen.
    pub const PATH: &'static str = "/device-session";

    /// Binds sessions, tells what happens by events and metrics, and refuses nothing. Begin
    /// with this one.
    #[must_use]
    pub fn observe() -> Self {
        Self::new(Level::Observe)
    }

    /// Refuses requests for a bound session that do not prove its device, unless the browser
    /// says that it could not refresh, or that another site has led it here. Sessions that no
    /// device has answered for go on.
    #[must_use]
    pub fn prefer() -> Self {
        Self::new(Level::Prefer)
    }

    /// Refuses every request for a bound session that does not prove its device, and ends a
    /// session that no device has answered for within the life of a bound cookie from its offer
    /// on. Nobody stays logged in with a browser that does not know the protocol.
    #[must_use]
    pub fn require() -> Self {
        Self::new(Level::Require)
    }

    fn new(level: Level) -> Self {
        Self {
            level,
            path: Cow::Borrowed(Self::PATH),
            cookie_life: Duration::from_secs(300),
        }
    }

    /// The path at which the adapter's endpoint is mounted, as the browser sees it. The engine
    /// refuses, when it is built, one that does not begin with `/`, holds anything but plain
    /// ASCII, or lies outside the path of the session cookie. Default [`PATH`](Self::PATH).
    #[must_use]
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
        self
    }

    /// How long a bound cookie is valid, and with it how long a copy of it opens the session.
    /// The browser signs once in each such time while the site is used, and Chromium six times in
    /// nine minutes at most: take two minutes at least. Default 5 minutes.
    #[must_use]
    pub fn cookie_life(mut self, life: Duration) -> Self {
        self.cookie_life = life;
        self
    }

    /// When what begins at an instant and lives as long as a bound cookie is over.
    fn end_of_life(&self, from: Timestamp) -> Timestamp {
        let leeway = LEEWAY_MAX.min(self.cookie_life / 10);
        from.saturating_add(self.cookie_life).saturating_add(leeway)
    }

    fn bound(&self, binding: &Binding, now: Timestamp) -> String {
        stamp(binding, Purpose::Cookie, self.end_of_life(now))
    }

    fn challenge(&self, binding: &Binding, now: Timestamp) -> String {
        let life = self.cookie_life.saturating_mul(CHALLENGE_LIVES);
        stamp(binding, Purpose::Refresh, now.saturating_add(life))
    }

    /// Until when a device may answer an offer; `None` where none may.
    ///
    /// Whoever has the session cookie can answer it, so it is open no longer than a copied
    /// bound cookie is good.
    fn open_until(&self, binding: &Binding, now: Timestamp) -> Option<Timestamp> {
        let until = self.end_of_life(binding.offered_at()?);
        (now < until).then_some(until)
    }
}

/// The first of the bound cookies that is valid, or why none is.
fn shown_cookie(
    binding: &Binding,
    cookies: &[Vec<u8>],
    now: Timestamp,
) -> Result<(), &'static str> {
    let mut why = "missing";
    for cookie in cookies {
        why = match judge(binding, Purpose::Cookie, cookie, now) {
            Judged::Valid => return Ok(()),
            Judged::Expired => "expired",
            Judged::Forged => "forged",
        };
    }
    Err(why)
}

impl DeviceBinding for Dbsc {
    fn path(&self) -> &str {
        &self.path
    }

    fn cookie_life(&self) -> Duration {
        self.cookie_life
    }

    fn judge(&self, binding: &Binding, shown: &ShownDevice<'_>, now: Timestamp) -> DeviceVerdict {
        let why = match shown_cookie(binding, shown.cookies, now) {
            Ok(()) if binding.key().is_some() => return DeviceVerdict::Proven,
            Ok(()) => return DeviceVerdict::Unbound,
            Err(why) => why,
        };
        if binding.key().is_none() {
            let is_over = self.open_until(binding, now).is_none();
            return match self.level {
                Level::Require if is_over => DeviceVerdict::Ended("never_bound"),
                _ => DeviceVerdict::Unbound,
            };
        }
        let elsewhere = shown.is_from_elsewhere.then_some("cross_site");
        let excuse = shown.skipped.map(|skipped| skipped.as_str()).or(elsewhere);
        match (self.level, excuse) {
            (Level::Observe | Level::Prefer, Some(excuse)) => DeviceVerdict::Tolerated(excuse),
            (Level::Observe, None) => DeviceVerdict::Tolerated(why),
            (Level::Prefer, None) => DeviceVerdict::Refused(why),
            (Level::Require, excuse) => DeviceVerdict::Refused(excuse.unwrap_or(why)),
        }
    }

    fn offer(&self, binding: &Binding, now: Timestamp) -> Option<DeviceOffer> {
        let until = self.open_until(binding, now)?;
        let challenge = stamp(binding, Purpose::Registration, until);
        Some(DeviceOffer {
            registration: fields::registration(&self.path, &challenge),
            bound: self.bound(binding, now),
        })
    }

    fn answer_unread(&self, request: &DeviceRequest<'_>) -> Option<DeviceAnswer> {
        answer::unread(request)
    }

    fn is_asked_for(&self, request: &DeviceRequest<'_>, binding: &Binding) -> bool {
        answer::is_asked_for(request, binding)
    }

    fn answer(
        &self,
        request: &DeviceRequest<'_>,
        session: DeviceSession<'_>,
        cookie: &BoundCookie,
        now: Timestamp,
    ) -> DeviceAnswer {
        self.answer_read(request, session, cookie, now)
    }
}
