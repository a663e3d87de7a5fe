//! One session in a cookie, ours and the `cookie` crate's: from what a handler
//! has to the `Set-Cookie` value, and from the `Cookie` header back.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{ClientState, OsEntropy, SessionKey, Token, TokenStore};
use cloakroom::session::Session;
use cloakroom::store::{Record, Revision};
use cloakroom::{CookiePolicy, Error};
use cloakroom_testkit::{ManualClock, key};
use cookie::{Cookie, CookieJar, Key, SameSite};

use crate::{NOW, at_once, context};

const NAME: &str = "__Host-session";
const AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The `name=value` that a browser sends back of a `Set-Cookie` value.
fn sent_back(set: &str) -> String {
    set.split_once(';').map_or(set, |(pair, _)| pair).to_owned()
}

/// The cookie store of one mode, under the default cookie policy.
#[derive(Debug)]
pub struct Ours {
    store: CookieStore,
    policy: CookiePolicy,
    key: SessionKey,
}

impl Ours {
    /// Encrypted.
    ///
    /// # Panics
    /// Where there is no randomness.
    #[must_use]
    pub fn encrypted() -> Self {
        Self::new(false)
    }

    /// Signed.
    ///
    /// # Panics
    /// Where there is no randomness.
    #[must_use]
    pub fn signed() -> Self {
        Self::new(true)
    }

    fn new(signed: bool) -> Self {
        let ring = KeyRing::generate(&OsEntropy).expect("randomness");
        let mut builder = CookieStore::builder(NAME, &ring).clock(Arc::new(ManualClock::at(NOW)));
        if signed {
            builder = builder.signed();
        }
        Self {
            store: builder.build().expect("the defaults"),
            policy: CookiePolicy::default(),
            key: key(),
        }
    }

    /// The `Set-Cookie` value of a new session.
    ///
    /// # Panics
    /// Where it does not fit into a cookie.
    #[must_use]
    pub fn set(&self, record: &Record) -> String {
        let written = at_once(self.store.create_token(&self.key, record)).expect("sealed");
        let token = written.token.expect("a new session comes with its token");
        only(self.policy.set(&token, Some(AGE), ClientState::default()))
    }

    /// The same of a session that came by the header and was changed.
    ///
    /// # Panics
    /// Where it was not ours.
    #[must_use]
    pub fn set_again(&self, header: &str, record: &Record) -> String {
        let record = record.at_revision(Revision::FIRST);
        let token = self.found(header);
        let written = at_once(self.store.update_token(&token, &record)).expect("sealed");
        let token = written.token.expect("a changed session has another token");
        only(self.policy.set(&token, Some(AGE), ClientState::default()))
    }

    /// The `Cookie` header that answers it.
    #[must_use]
    pub fn header(&self, record: &Record) -> String {
        sent_back(&self.set(record))
    }

    fn found(&self, header: &str) -> Token {
        let presented = self.policy.find([header.as_bytes()].into_iter(), |token| {
            self.store.is_well_formed(token)
        });
        presented.token.expect("a token of this store")
    }

    /// The session of a `Cookie` header.
    ///
    /// # Panics
    /// Where it is not ours.
    #[must_use]
    pub fn open(&self, header: &str) -> Session {
        let token = self.found(header);
        let loaded = at_once(self.store.load_token(&token)).expect("opened");
        let record = loaded.and_then(|loaded| loaded.stored.into_record());
        Session::open(record, context()).expect("whole")
    }
}

/// Which of the `cookie` crate's jars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jar {
    /// Encrypted, by AES-256-GCM.
    Private,
    /// Signed, by HMAC-SHA256.
    Signed,
}

/// The `cookie` crate's jar, with the same attributes around it.
#[derive(Debug)]
pub struct Theirs {
    jar: Jar,
    key: Key,
}

impl Theirs {
    /// With a key of its own.
    #[must_use]
    pub fn new(jar: Jar) -> Self {
        let key = Key::generate();
        Self { jar, key }
    }

    /// The `Set-Cookie` value of a text.
    ///
    /// # Panics
    /// Never: the jar holds what was put into it.
    #[must_use]
    pub fn set(&self, text: String) -> String {
        let secs = cookie::time::Duration::seconds(AGE.as_secs() as i64);
        let cookie = Cookie::build((NAME, text))
            .path("/")
            .max_age(secs)
            .secure(true)
            .http_only(true)
            .same_site(SameSite::Lax);
        let mut jar = CookieJar::new();
        match self.jar {
            Jar::Private => jar.private_mut(&self.key).add(cookie),
            Jar::Signed => jar.signed_mut(&self.key).add(cookie),
        }
        let cookie = jar.get(NAME).expect("just put there");
        // As axum-extra sends it: what a cookie cannot hold is percent-encoded.
        cookie.encoded().to_string()
    }

    /// The `Cookie` header that answers it.
    #[must_use]
    pub fn header(&self, text: &str) -> String {
        sent_back(&self.set(text.to_owned()))
    }

    /// The text of a `Cookie` header.
    ///
    /// # Panics
    /// Where the jar does not open it.
    #[must_use]
    pub fn open(&self, header: &str) -> String {
        let mut jar = CookieJar::new();
        for cookie in Cookie::split_parse_encoded(header.to_owned()) {
            jar.add_original(cookie.expect("well formed"));
        }
        let cookie = match self.jar {
            Jar::Private => jar.private(&self.key).get(NAME),
            Jar::Signed => jar.signed(&self.key).get(NAME),
        };
        cookie.expect("of this jar").value().to_owned()
    }
}

/// The one `Set-Cookie` value of a token that fits.
fn only(set: Result<Vec<String>, Error>) -> String {
    let mut values = set.expect("it fits");
    values.pop().expect("there is one")
}
