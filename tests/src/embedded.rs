//! The stores that keep sessions on the disk of this machine, and random choices that
//! two processes can repeat.

use std::fmt;
use std::path::{Path, PathBuf};

use cloakroom::AnyStore;

/// A kind of store that keeps its sessions in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// A file for each session.
    File,
    /// A redb database.
    Redb,
    /// A sled database.
    Sled,
    /// A SQLite database.
    Sqlite,
}

impl fmt::Display for Embedded {
    /// The scheme of its URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Sqlite => "sqlite",
        })
    }
}

impl Embedded {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Redb, Self::Sled, Self::Sqlite];

    /// The kind of store that a URL with this scheme opens.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn of_scheme(scheme: &str) -> Self {
        let found = Self::ALL.into_iter().find(|one| one.to_string() == scheme);
        found.expect("a scheme of a store on the disk")
    }

    /// Its path in a folder of the test.
    #[must_use]
    pub fn path_in(self, folder: &Path) -> PathBuf {
        folder.join(self.to_string())
    }

    /// Opens it as an application does, by its URL.
    ///
    /// # Panics
    /// Where it does not open.
    pub async fn open(self, folder: &Path) -> AnyStore {
        self.open_with(folder, "").await
    }

    /// As [`open`](Self::open), with options for the URL.
    ///
    /// # Panics
    /// Where it does not open.
    pub async fn open_with(self, folder: &Path, options: &str) -> AnyStore {
        let url = format!("{self}:{}{options}", self.path_in(folder).display());
        let opened = cloakroom::open(&url).await;
        opened.unwrap_or_else(|error| panic!("{url}: {error:?}"))
    }
}

/// Random choices that a seed repeats: splitmix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the end, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A random one of these.
    ///
    /// # Panics
    /// Where there is none.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }

    /// So many random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.any().to_le_bytes());
        words.flatten().take(count).collect()
    }
}
