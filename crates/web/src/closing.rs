//! How a request ends, as an adapter sees it.

use std::{slice, vec};

use cloakroom_core::{Error, ErrorKind};

use crate::headers::{cache_control, no_targeted_caching, vary_on};
use crate::{Cost, HeaderEdit};

/// How a handler's work ended, as far as its session is concerned.
///
/// An HTTP status converts into it: 500 and above is a server error. Where the status
/// does not say it, as with gRPC, whose failed calls are HTTP 200, the adapter says it
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session's changes are written.
    Success,
    /// The changes are dropped, but a rotation and a flush are written: a login or a
    /// logout that has half failed must not leave the old key open.
    ServerError,
    /// There is no response, as where a handler ends in an error that an adapter passes
    /// on. The changes are dropped, and a rotation too, since nothing tells the client its
    /// new token. A flush is written.
    NoResponse,
}

impl From<u16> for Outcome {
    /// From an HTTP status.
    fn from(status: u16) -> Self {
        match status {
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// Not `"cookies"`: those of other applications on the domain are not ours to remove.
const CLEARED_SITE_DATA: &str = "\"cache\", \"storage\"";

/// What to tell the client at the end of a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closing {
    /// The headers that hand out the token or take it away.
    pub(crate) token_headers: Vec<HeaderEdit>,
    /// Whether the response depends on the session.
    pub(crate) accessed: bool,
    /// The request header that it then depends on.
    pub(crate) varies_on: &'static str,
    /// Whether it must not be stored then, not even by the browser.
    pub(crate) no_store: bool,
    /// Whether the browser is told to forget what it keeps of the site.
    pub(crate) clears_site_data: bool,
    /// Why the changes were not written: the response must be replaced by an
    /// error of status [`Closing::status_of`], with the
    /// [header edits](Closing::header_edits) and nothing of the handler's.
    pub failure: Option<Error>,
    /// What the request cost in the store.
    pub cost: Cost,
}

/// What to do to the headers of a response: see [`Closing::header_edits`].
#[derive(Debug, Default)]
pub struct HeaderEdits<'c> {
    targeted: vec::IntoIter<HeaderEdit>,
    vary: Option<HeaderEdit>,
    control: Option<HeaderEdit>,
    clear: Option<HeaderEdit>,
    token: slice::Iter<'c, HeaderEdit>,
}

impl Iterator for HeaderEdits<'_> {
    type Item = HeaderEdit;

    fn next(&mut self) -> Option<HeaderEdit> {
        let next = self.targeted.next().or_else(|| self.vary.take());
        let next = next.or_else(|| self.control.take());
        let next = next.or_else(|| self.clear.take());
        next.or_else(|| self.token.next().cloned())
    }
}

impl Closing {
    pub(crate) fn nothing() -> Self {
        Self {
            token_headers: Vec::new(),
            accessed: false,
            varies_on: "Cookie",
            no_store: false,
            clears_site_data: false,
            failure: None,
            cost: Cost::default(),
        }
    }

    /// The headers that hand out the token or take it away. None where the client
    /// holds what it should.
    #[must_use]
    pub fn token_headers(&self) -> &[HeaderEdit] {
        &self.token_headers
    }

    /// Whether the response depends on the session.
    #[must_use]
    pub fn is_accessed(&self) -> bool {
        self.accessed
    }

    /// What to do to the headers of the response, in this order, even beside a
    /// [failure](Closing::failure): the token, and what keeps a shared cache from
    /// handing one visitor's response to another. `existing` are the headers that the
    /// response has, their names in lower case; a value that is no text may be given as an empty one.
    ///
    /// A handler's own `Cache-Control` is kept as far as it keeps the response out of
    /// shared caches where a token is handed out. What speaks to some caches alone
    /// (`CDN-Cache-Control`, `Surrogate-Control`, `X-Accel-Expires` and their like) says
    /// `no-store` then, and on any response that depends on the session: such caches do
    /// not look at `Vary`.
    ///
    /// ```
    /// use cloakroom_web::Closing;
    ///
    /// fn apply(closing: &Closing, headers: &mut Vec<(String, String)>) {
    ///     let existing = headers.iter();
    ///     let existing = existing.map(|(name, value)| (name.as_str(), value.as_str()));
    ///     for edit in closing.header_edits(existing) {
    ///         if !edit.appends() {
    ///             headers.retain(|(name, _)| name != edit.name());
    ///         }
    ///         headers.push((edit.name().to_owned(), edit.value().to_owned()));
    ///     }
    /// }
    /// ```
    pub fn header_edits<'h>(
        &self,
        existing: impl IntoIterator<Item = (&'h str, &'h str)>,
    ) -> HeaderEdits<'_> {
        let sets_token = !self.token_headers.is_empty();
        if !self.accessed && !sets_token {
            return HeaderEdits::default();
        }
        let (mut vary, mut control) = (Vec::new(), Vec::new());
        let mut targeted = Vec::new();
        for (name, value) in existing {
            match name {
                "vary" => vary.push(value),
                "cache-control" => control.push(value),
                name => {
                    let instead = no_targeted_caching(name).filter(|instead| value != *instead);
                    let edit = |instead| HeaderEdit::set(name.to_owned(), instead);
                    targeted.extend(instead.map(edit));
                }
            }
        }
        let vary = vary_on(self.varies_on, vary.into_iter());
        let control = cache_control(control.into_iter(), sets_token, self.no_store);
        let clear = self.clears_site_data.then_some(CLEARED_SITE_DATA);
        HeaderEdits {
            targeted: targeted.into_iter(),
            vary: vary.map(|value| HeaderEdit::set("vary", value)),
            control: control.map(|value| HeaderEdit::set("cache-control", value)),
            clear: clear.map(|value| HeaderEdit::set("clear-site-data", value)),
            token: self.token_headers.iter(),
        }
    }

    /// The status a session error is answered with: 409 for
    /// [`ErrorKind::Overwritten`] and [`ErrorKind::Gone`], else 500.
    #[must_use]
    pub fn status_of(error: &Error) -> u16 {
        match error.kind() {
            ErrorKind::Overwritten | ErrorKind::Gone => 409,
            _ => 500,
        }
    }
}
