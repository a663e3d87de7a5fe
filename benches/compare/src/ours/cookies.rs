//! Sessions sealed in the cookie itself.

use cloakroom::cookie::{CookieStore, KeyRing};
use cloakroom::engine::{OsEntropy, SessionKey, Token, TokenStore as _};
use cloakroom::store::Stored;
use futures_util::FutureExt as _;

use super::session::{profile, record};
use crate::contender::Sealer;
use crate::profile::Profile;

/// The name that the engine's default policy gives the cookie.
const NAME: &str = "__Host-session";

pub fn store(signed: bool) -> CookieStore {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let builder = CookieStore::builder(NAME, &ring);
    let builder = if signed { builder.signed() } else { builder };
    builder.build().unwrap()
}

/// From the typed session to the token as it stands in the cookie, under a key drawn
/// before, and back.
pub struct Cookies {
    store: CookieStore,
    key: SessionKey,
}

impl Cookies {
    pub fn new(signed: bool) -> Self {
        let key = SessionKey::generate(&OsEntropy).unwrap();
        let store = store(signed);
        Cookies { store, key }
    }
}

impl Sealer for Cookies {
    fn seal(&self, profile: &Profile) -> String {
        let created = self
            .store
            .create_token(&self.key, &record(profile))
            .now_or_never();
        let written = created.expect("it waits for nothing").unwrap();
        written
            .token
            .expect("a new session has a token")
            .expose()
            .to_owned()
    }
    fn open(&self, value: &str) -> Profile {
        let loaded = self.store.load_token(&Token::new(value)).now_or_never();
        let loaded = loaded.expect("it waits for nothing").unwrap();
        let record = loaded
            .map(|loaded| loaded.stored)
            .and_then(Stored::into_record);
        profile(record.expect("a session of this store"))
    }
}
