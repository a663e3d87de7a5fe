//! Why a cookie opens, or why not: for the tool of an operator.

use cloakroom_core::Error;
use cloakroom_core::engine::{Token, TokenStore as _};
use cloakroom_core::store::{KeyDigest, Record};
use cloakroom_keyring::KeyId;

use crate::CookieStore;
use crate::frame::{Found, Sealer};

/// Whether a token opens a session, or the first reason why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It opens.
    Opens,
    /// It has not the shape of a sealed session in this store's mode.
    NoToken,
    /// It names a key that is not in the ring: another server may have it, or somebody has
    /// made the token up.
    UnknownKey,
    /// It was not sealed under the key that it names, for this cookie and in this mode: it
    /// was changed, or is of another cookie.
    NotAuthentic,
    /// It holds a session of another site.
    OtherSite,
    /// Its session began, or logged in, under a key that has left the ring since.
    BegunUnderUnknownKey,
    /// A deadline is past.
    Expired,
    /// All sessions of its subject from before a certain moment have been ended.
    Revoked,
}

/// What a token was found to be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspected {
    /// Whether it opens.
    pub verdict: Verdict,
    /// The id of the key that it names; `None` of what is no token.
    pub sealed_under: Option<KeyId>,
    /// The id of the key under which the session began or logged in last; `None` where the
    /// token cannot be read.
    pub begun_under: Option<KeyId>,
    /// The digest that its session has in events; `None` where the token cannot be read.
    pub digest: Option<KeyDigest>,
    /// The session in it; `None` where it cannot be read.
    pub record: Option<Record>,
}

impl CookieStore {
    /// What a token is and why it opens or not, for a tool: unlike
    /// [`load_token`](cloakroom_core::engine::TokenStore::load_token) it reads what has
    /// expired or was revoked as well, and counts nothing.
    ///
    /// ```
    /// use cloakroom_cookie::{CookieStore, KeyRing, Verdict};
    /// use cloakroom_core::engine::{OsEntropy, Token};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let ring = KeyRing::generate(&OsEntropy)?;
    /// let store = CookieStore::builder("__Host-session", &ring).build()?;
    /// let inspected = store.inspect(&Token::new("no cookie of ours")).await?;
    /// assert_eq!(inspected.verdict, Verdict::NoToken);
    /// # Ok::<(), cloakroom_core::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](cloakroom_core::ErrorKind::Unavailable) where a configured
    /// [`Revocation`](crate::Revocation) does not answer;
    /// [`Unsupported`](cloakroom_core::ErrorKind::Unsupported) or
    /// [`Corrupt`](cloakroom_core::ErrorKind::Corrupt) where an authentic token was sealed
    /// by a newer build, or holds no session.
    pub async fn inspect(&self, token: &Token) -> Result<Inspected, Error> {
        let mut inspected = Inspected {
            verdict: Verdict::NoToken,
            sealed_under: None,
            begun_under: None,
            digest: None,
            record: None,
        };
        if !self.is_well_formed(token.expose()) {
            return Ok(inspected);
        }
        inspected.sealed_under = Sealer::named_key(token.expose());
        let envelope = match self.find(token)? {
            Found::Foreign => {
                inspected.verdict = Verdict::NotAuthentic;
                return Ok(inspected);
            }
            Found::OfUnknownKey(_) => {
                inspected.verdict = Verdict::UnknownKey;
                return Ok(inspected);
            }
            Found::Authentic(opened) => opened.envelope,
        };
        inspected.verdict = if envelope.record.site != *token.site() {
            Verdict::OtherSite
        } else if self.sealer.position(&envelope.begun_under).is_none() {
            Verdict::BegunUnderUnknownKey
        } else if envelope.record.is_expired(self.clock.now()) {
            Verdict::Expired
        } else if self.is_revoked(&envelope).await? {
            Verdict::Revoked
        } else {
            Verdict::Opens
        };
        inspected.begun_under = Some(envelope.begun_under);
        inspected.digest = Some(envelope.digest());
        inspected.record = Some(envelope.record);
        Ok(inspected)
    }
}
