//! The session as a user of Cloakroom keeps it, a value under each key, and back.

use cloakroom::engine::Context;
use cloakroom::session::Session;
use cloakroom::store::Record;
use cloakroom::{Clock as _, Error, Expiry, Limits, SystemClock, Timestamp};

use crate::profile::Profile;

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// What a login handler does, and the end of its request.
pub fn record(profile: &Profile) -> Record {
    let session = Session::detached();
    fill(&session, profile).unwrap();
    written(&session)
}

pub fn fill(session: &Session, profile: &Profile) -> Result<(), Error> {
    session.insert("user_id", profile.user_id)?;
    session.insert("username", &profile.username)?;
    session.insert("roles", &profile.roles)?;
    session.insert("csrf", &profile.csrf)?;
    session.insert("created", profile.created)?;
    session.insert("cart", &profile.cart)
}

/// All six values, decoded.
pub fn profile(record: Record) -> Profile {
    let session = opened(record);
    Profile {
        user_id: session.get("user_id").unwrap().unwrap(),
        username: session.get("username").unwrap().unwrap(),
        roles: session.get("roles").unwrap().unwrap(),
        csrf: session.get("csrf").unwrap().unwrap(),
        created: session.get("created").unwrap().unwrap(),
        cart: session.get("cart").unwrap().unwrap(),
    }
}

/// The record after a request that set one value.
pub fn touched(record: &Record, stamp: u64) -> Record {
    let session = opened(record.clone());
    session.insert("created", stamp).unwrap();
    written(&session)
}

fn opened(record: Record) -> Session {
    let context = Context::new(now(), Limits::default(), Expiry::default());
    Session::open(Some(record), context).unwrap()
}

fn written(session: &Session) -> Record {
    let changeset = session.changeset().unwrap();
    changeset.record(&Expiry::default(), now(), 10)
}
