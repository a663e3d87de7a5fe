//! The session that every contender stores, and the keys by which it is asked for.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    sku: String,
    qty: u32,
    price: u64,
}

/// A typical session: six keys, 417 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub user_id: u64,
    pub username: String,
    pub roles: Vec<String>,
    pub csrf: String,
    pub created: u64,
    pub cart: Vec<Item>,
}

impl Profile {
    /// The `n`th session: always the same for the same `n`.
    pub fn new(n: u64) -> Self {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut rng = Rng::new(n);
        let cart = (0..5).map(|_| Item {
            sku: format!("SKU-{:06X}-{:02}", rng.below(1 << 24), rng.below(100)),
            qty: 1 + rng.below(9) as u32,
            price: 100 + rng.below(100_000) as u64,
        });
        Profile {
            cart: cart.collect(),
            user_id: 1_000_000 + n,
            username: format!("user-{n:07}@example.org"),
            roles: ["customer", "newsletter", "beta-tester"]
                .map(String::from)
                .to_vec(),
            csrf: (0..43).map(|_| LETTERS[rng.below(64)] as char).collect(),
            created: 1_760_000_000 + n,
        }
    }

    /// Key by key, for the peers that keep a map of `serde_json::Value`.
    pub fn values(&self) -> impl Iterator<Item = (String, Value)> {
        let Ok(Value::Object(map)) = serde_json::to_value(self) else {
            unreachable!("a struct is an object")
        };
        map.into_iter()
    }

    /// From what stands under each key.
    pub fn from_values(mut get: impl FnMut(&str) -> Value) -> Self {
        fn read<T: DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).unwrap()
        }
        Profile {
            user_id: read(get("user_id")),
            username: read(get("username")),
            roles: read(get("roles")),
            csrf: read(get("csrf")),
            created: read(get("created")),
            cart: read(get("cart")),
        }
    }
}

static POOL: LazyLock<Vec<Profile>> = LazyLock::new(|| (0..1024).map(Profile::new).collect());
static STAMP: AtomicU64 = AtomicU64::new(0);

/// A ready-made session for a login handler.
pub fn next_profile() -> &'static Profile {
    &POOL[STAMP.fetch_add(1, Ordering::Relaxed) as usize % POOL.len()]
}

/// A value never stored before, so that a write is a change.
pub fn next_stamp() -> u64 {
    1_800_000_000 + STAMP.fetch_add(1, Ordering::Relaxed)
}

/// splitmix64: repeatable numbers, not good ones.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x5DEE_CE66_D1CE_5EED)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z as u128 * n as u128) >> 64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
