//! async-session, in memory. It has no middleware of its own for W4. What it gives out shares its data with the store: a load
//! copies nothing, and others see a change before it is saved.

use std::time::Duration;

use async_session::{MemoryStore, Session, SessionStore as _};

use crate::contender::{Contender, Entry};
use crate::profile::Profile;

const TWO_WEEKS: Duration = Duration::from_secs(14 * 86_400);

struct Memory(MemoryStore);

impl Contender for Memory {
    type Key = String;
    type Rec = Session;

    fn encode(&self, profile: &Profile) -> Session {
        let mut session = Session::new();
        session.insert("user_id", profile.user_id).unwrap();
        session.insert("username", &profile.username).unwrap();
        session.insert("roles", &profile.roles).unwrap();
        session.insert("csrf", &profile.csrf).unwrap();
        session.insert("created", profile.created).unwrap();
        session.insert("cart", &profile.cart).unwrap();
        session.expire_in(TWO_WEEKS);
        session
    }
    fn decode(&self, rec: Session) -> Profile {
        Profile {
            user_id: rec.get("user_id").unwrap(),
            username: rec.get("username").unwrap(),
            roles: rec.get("roles").unwrap(),
            csrf: rec.get("csrf").unwrap(),
            created: rec.get("created").unwrap(),
            cart: rec.get("cart").unwrap(),
        }
    }
    fn touch(&self, rec: &mut Session, stamp: u64) {
        rec.insert("created", stamp).unwrap();
    }
    async fn create(&self, mut rec: Session) -> String {
        rec.regenerate();
        self.0
            .store_session(rec)
            .await
            .unwrap()
            .expect("a new cookie")
    }
    async fn load(&self, key: &String) -> Option<Session> {
        self.0.load_session(key.clone()).await.unwrap()
    }
    async fn save(&self, _: &String, rec: Session) {
        self.0.store_session(rec).await.unwrap();
    }
}

pub const ENTRIES: &[Entry] = &[("async-session 3 memory", |run| {
    run.store(async || Memory(MemoryStore::new()));
})];
