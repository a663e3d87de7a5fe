//! A cache in front of a store that keeps the session in the client's cookie
//! would answer with sessions that the client no longer has.

use std::time::Duration;

use cloakroom::cookie::CookieStore;
use cloakroom::stores::Cached;

fn in_front(store: CookieStore) {
    let _ = Cached::with_staleness_max(store, Duration::MAX);
}

fn main() {}
