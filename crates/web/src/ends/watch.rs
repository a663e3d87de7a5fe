//! What a session keeps of its engine when its request is over.

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cloakroom_core::Error;
use cloakroom_core::engine::{Token, TokenStore as _, Watch};
use cloakroom_core::session::Ended;
use cloakroom_core::store::{BoxFuture, EndReason, KeyDigest, Record};

use super::End;
use super::asking::{keep_asking, look};
use crate::shared::Shared;

/// A session's engine, and its token there.
pub(crate) struct Kept {
    engine: Arc<Shared>,
    token: Token,
    /// Each follows the session to other keys while somebody waits for it.
    ends: Mutex<Vec<Weak<End>>>,
}

impl Kept {
    pub(crate) fn new(engine: Arc<Shared>, token: Token) -> Self {
        Self {
            engine,
            token,
            ends: Mutex::default(),
        }
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Weak<End>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the session is, as far as it is known here.
    fn at(&self) -> Option<KeyDigest> {
        match self.ends().iter().find_map(Weak::upgrade) {
            Some(end) => Some(end.at()),
            None => self.engine.store.digest_of(&self.token),
        }
    }

    /// The token to ask the store by, where no digest says where the session is.
    fn token_to_ask(&self) -> Option<&Token> {
        let capabilities = self.engine.store.token_capabilities();
        capabilities.client_side.is_some().then_some(&self.token)
    }
}

impl Watch for Kept {
    fn ended(&self, record: &Record) -> BoxFuture<'static, Ended> {
        let Some(at) = self.at() else {
            return Box::pin(ready(Ended::new(EndReason::Unknown)));
        };
        let engine = self.engine.clone();
        let token = self.token_to_ask().cloned();
        let end = engine.ends.wait(at, record, &engine.expiry, token);
        let mut ends = self.ends();
        ends.retain(|end| end.strong_count() > 0);
        ends.push(Arc::downgrade(&end));
        drop(ends);
        let waiter = Waiter { engine, end };
        Box::pin(async move { waiter.ended().await })
    }

    fn is_alive(&self) -> BoxFuture<'static, Result<bool, Error>> {
        let (at, engine) = (self.at(), self.engine.clone());
        let token = self.token_to_ask().cloned();
        Box::pin(async move {
            let Some(at) = at else {
                return Ok(false);
            };
            let answer = look(&engine, &at, token.as_ref()).await?;
            Ok(answer.found.is_ok())
        })
    }
}

/// One that waits; dropping it frees its entry.
struct Waiter {
    engine: Arc<Shared>,
    end: Arc<End>,
}

impl Waiter {
    async fn ended(&self) -> Ended {
        loop {
            if let Some(ended) = self.end.ended.get() {
                return ended.clone();
            }
            keep_asking(&self.engine);
            // What has happened since is kept until here.
            self.end.changed.notified().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.engine.ends.forget(&self.end);
    }
}
