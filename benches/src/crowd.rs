//! Many sessions of which one is asked for at a time.

use cloakroom::engine::{SessionKey, Token, TokenStore};
use cloakroom::store::KeyDigest;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use crate::record;

/// Whether times are taken; as a test, a bench only shows that it runs.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The keys of many sessions, and whose turn it is.
#[derive(Debug)]
pub struct Crowd {
    keys: Vec<SessionKey>,
    digests: Vec<KeyDigest>,
    tokens: Vec<Token>,
    at: usize,
}

impl Crowd {
    /// 10,000 of them.
    #[must_use]
    pub fn new() -> Self {
        let count = if is_measured() { 10_000 } else { 100 };
        let keys: Vec<SessionKey> = (0..count).map(key).collect();
        Self {
            digests: keys.iter().map(SessionKey::digest).collect(),
            tokens: keys.iter().map(SessionKey::to_token).collect(),
            keys,
            at: 0,
        }
    }

    /// What a store keeps of their keys.
    #[must_use]
    pub fn digests(&self) -> &[KeyDigest] {
        &self.digests
    }

    /// Puts the typical session under each key.
    ///
    /// # Panics
    /// Where the store refuses one.
    pub fn enter<S: TokenStore>(&self, runtime: &Runtime, store: &S) {
        let record = record();
        runtime.block_on(async {
            for some in self.keys.chunks(256) {
                let creates = some.iter().map(|key| store.create_token(key, &record));
                for created in join_all(creates).await {
                    created.expect("a new key");
                }
            }
        });
    }

    /// The number of the next one.
    pub fn turn(&mut self) -> usize {
        self.at = (self.at + 1) % self.keys.len();
        self.at
    }

    /// The digest of the next one's key.
    pub fn digest(&mut self) -> &KeyDigest {
        let at = self.turn();
        &self.digests[at]
    }

    /// The token of the next one's key.
    pub fn token(&mut self) -> &Token {
        let at = self.turn();
        &self.tokens[at]
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}

/// The digest of the key of this number.
#[must_use]
pub fn digest(number: u64) -> KeyDigest {
    key(number).digest()
}

/// The same keys in each run. Their digests are as good as random.
fn key(number: u64) -> SessionKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionKey::from_bytes(bytes)
}
