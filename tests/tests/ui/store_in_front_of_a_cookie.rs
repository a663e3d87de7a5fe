//! A cache in front of a store that keeps the session in the client's cookie
//! would answer with sessions that the client no longer has.

use cloakroom::{
    Capabilities, Error, LoadedToken, Record, SessionKey, SessionStore, Timestamp, Token,
    TokenStore, Written,
};

struct Cached<S: SessionStore>(S);

struct CookieStore;

impl TokenStore for CookieStore {
    fn is_well_formed(&self, _: &str) -> bool {
        unimplemented()
    }
    async fn load_token(&self, _: &Token) -> Result<Option<LoadedToken>, Error> {
        unimplemented()
    }
    async fn create_token(&self, _: &SessionKey, _: &Record) -> Result<Written, Error> {
        unimplemented()
    }
    async fn update_token(&self, _: &Token, _: &Record) -> Result<Written, Error> {
        unimplemented()
    }
    async fn touch_token(&self, _: &Token, _: &Record) -> Result<Written, Error> {
        unimplemented()
    }
    async fn rotate_token(
        &self,
        _: &Token,
        _: &SessionKey,
        _: &Record,
        _: Timestamp,
    ) -> Result<Written, Error> {
        unimplemented()
    }
    async fn delete_token(&self, _: &Token) -> Result<(), Error> {
        unimplemented()
    }
    fn token_capabilities(&self) -> Capabilities<'_> {
        Capabilities::NONE
    }
}

fn unimplemented<T>() -> T {
    loop {}
}

fn main() {
    let _ = Cached(CookieStore);
}
