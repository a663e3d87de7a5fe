//! Sessions of another library, adopted as their visitors come.

mod handover;
mod source;

use std::fmt;
use std::sync::Arc;

use cloakroom_core::engine::{AnyStore, SessionKey, Token, TokenStore as _};
use cloakroom_core::{Error, ErrorKind, Site};

use crate::{HeaderEdit, Transport};

pub(crate) use handover::{Adopted, adopt, is_to_part, part};
pub use source::{FormerId, FormerSession, FormerSessions};

/// How many cookies of one source are looked at in a request: a browser may hold several
/// of one name, for several paths and domains.
const COOKIES_TRIED_MAX: usize = 4;

/// The sources of an engine, in the order in which they are tried.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    sources: Vec<Arc<dyn FormerSessions>>,
    /// Where the engine notes what was adopted: beside its own site, so that no token that
    /// a client presents opens such a note.
    site: Site,
}

/// A cookie of a source, not looked at yet.
#[derive(Clone, Debug)]
pub(crate) struct FormerCookie {
    pub(crate) source: usize,
    pub(crate) value: Token,
}

impl Sources {
    pub(crate) fn push(&mut self, source: impl FormerSessions) {
        self.sources.push(Arc::new(source));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Arc<dyn FormerSessions>> {
        self.sources.get(at)
    }

    pub(crate) fn of_site(&mut self, site: &Site) -> Result<(), Error> {
        if !self.is_empty() {
            self.site = site.internal("adopted")?;
        }
        Ok(())
    }

    /// Keeps the cookies of the sources that stand in a `Cookie` header. Nothing is
    /// allocated where there is none.
    pub(crate) fn look(&self, header: &[u8], bytes_max: usize, found: &mut Vec<FormerCookie>) {
        if self.is_empty() {
            return;
        }
        for pair in header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            for (source, former) in self.sources.iter().enumerate() {
                let rest = pair.strip_prefix(former.cookie().name().as_bytes());
                let Some(value) = rest.and_then(|rest| rest.strip_prefix(b"=")) else {
                    continue;
                };
                let Ok(value) = std::str::from_utf8(value) else {
                    continue;
                };
                let count = found.iter().filter(|cookie| cookie.source == source);
                if value.len() <= bytes_max && count.count() < COOKIES_TRIED_MAX {
                    let value = Token::new(value.trim_matches('"'));
                    found.push(FormerCookie { source, value });
                }
            }
        }
    }

    /// The headers that remove the cookies of these sources.
    pub(crate) fn removals(&self, sources: &[usize]) -> Vec<HeaderEdit> {
        let sources = sources.iter().filter_map(|at| self.get(*at));
        let removals = sources.flat_map(|source| source.cookie().removal(Default::default()));
        removals
            .map(|text| HeaderEdit::append_secret("set-cookie", text))
            .collect()
    }

    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the sources cannot work with that engine.
    pub(crate) fn check(&self, transport: &Transport, store: &AnyStore) -> Result<(), Error> {
        let refuse = |why| Err(Error::new(ErrorKind::Misconfigured, why));
        if self.is_empty() {
            return Ok(());
        }
        let Transport::Cookie(policy) = transport else {
            return refuse("adopt needs a cookie policy: the sessions of a bearer token have none");
        };
        let key = SessionKey::from_bytes([0; 32]).to_token();
        if !store.is_well_formed(key.expose()) {
            return refuse(
                "adopt needs a store on the server: a cookie store keeps no note of what was \
                 adopted, so a crash would log the visitor out, and an ended session would \
                 come back",
            );
        }
        for (at, source) in self.sources.iter().enumerate() {
            if self.sources[..at]
                .iter()
                .any(|earlier| earlier.name() == source.name())
            {
                return refuse("two sources to adopt from have one name: give each its own");
            }
            if policy.uses_name(source.cookie().name()) {
                return refuse(
                    "the session cookie needs another name than the one to adopt from: no \
                     request says which of two cookies of one name it carries",
                );
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sources.iter().map(|source| source.name());
        f.debug_list().entries(names).finish()
    }
}
