//! What the former sites and ours have in common.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of the former sites' cookies.
#[must_use]
pub fn key() -> [u8; 64] {
    std::array::from_fn(|at| at as u8)
}

/// Values of many shapes, which all libraries keep.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Visit {
    pub user: u64,
    pub name: String,
    pub cart: Vec<(String, u32)>,
    pub balance: i64,
    pub ratio: f64,
    pub referrer: Option<String>,
    pub seen: bool,
}

impl Visit {
    /// What is expected of a user.
    #[must_use]
    pub fn of(user: u64) -> Self {
        Self {
            user,
            name: format!("User {user}, \"Äda\""),
            cart: vec![("tea".into(), 2), ("milk".into(), 300)],
            balance: -1 - i64::try_from(user).unwrap_or(0),
            ratio: 0.25,
            referrer: None,
            seen: true,
        }
    }
}

impl fmt::Display for Visit {
    /// The user, where all else is as expected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self == Self::of(self.user) {
            true => write!(f, "user {}", self.user),
            false => write!(f, "another visit: {self:?}"),
        }
    }
}
