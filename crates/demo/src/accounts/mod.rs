//! Who may log in: names, ids and password hashes.

mod file;
mod hashing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloakroom::engine::{Entropy as _, OsEntropy};
use cloakroom_disk::make_private_folder;
use tokio::sync::Semaphore;

use self::file::Kept;
use crate::DemoError;

/// Characters of the longest user name.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes of the shortest password.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Bytes of the longest password; hashing reads all of them.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Accounts that one folder keeps: each registration writes all of them.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Passwords hashed at the same time: each takes 19 MiB and a processor.
const HASHES_AT_ONCE_MAX: usize = 2;
/// Requests that wait for their turn; those beyond are told to come back.
const HASHES_WAITING_MAX: usize = 64;

/// The accounts of one folder, in its file `accounts.json`. Cheap to clone; all
/// clones are the same accounts.
///
/// One process at a time may use a folder: the file is read once and written
/// whole. Passwords are kept as argon2id hashes only.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

struct Inner {
    file: PathBuf,
    known: Mutex<BTreeMap<String, Kept>>,
    /// What a password is checked against where there is no such user, so that
    /// the answer takes as long.
    decoy: String,
}

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What sessions call them: it says nothing and never changes.
    pub id: String,
    /// What they call themselves.
    pub name: String,
}

/// Why there is no account now. What it prints is meant for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountError {
    /// The name is empty, too long, or has characters that cannot be seen.
    Name,
    /// The password is too short or too long.
    Password,
    /// Somebody else has the name.
    Taken,
    /// There are [`ACCOUNTS_MAX`] accounts already.
    Full,
    /// Too many passwords wait to be checked.
    Busy,
    /// The file could not be written, or the system gave no randomness.
    Failed,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "The user name must be 1 to {NAME_CHARS_MAX} characters long, without control \
                 characters."
            ),
            Self::Password => write!(
                f,
                "The password must be {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes long."
            ),
            Self::Taken => f.write_str("This name is taken. Choose another."),
            Self::Full => write!(
                f,
                "This demo is full: it keeps {ACCOUNTS_MAX} accounts at most."
            ),
            Self::Busy => {
                f.write_str("Too many people are logging in at once. Try again in a moment.")
            }
            Self::Failed => f.write_str("The account could not be saved. Try again."),
        }
    }
}

impl std::error::Error for AccountError {}

impl Accounts {
    /// Reads a folder's accounts. A folder that is not there is made, for its
    /// owner alone.
    ///
    /// # Errors
    /// [`DemoError::Folder`] where it cannot be used,
    /// [`DemoError::Accounts`] where its `accounts.json` cannot be read or is
    /// damaged; the file is left as it is then.
    pub fn open(folder: &Path) -> Result<Self, DemoError> {
        make_private_folder(folder).map_err(|source| DemoError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
        let file = folder.join("accounts.json");
        let known = Mutex::new(file::load(&file)?);
        let decoy = random_hex()
            .and_then(|password| hashing::hash(&password))
            .ok_or(DemoError::Randomness)?;
        Ok(Self {
            inner: Arc::new(Inner { file, known, decoy }),
            places: Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX + HASHES_WAITING_MAX)),
            turns: Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX)),
        })
    }

    /// Makes an account, on disk when this returns. Spaces around the name are
    /// dropped.
    ///
    /// # Errors
    /// An [`AccountError`] to show to the user.
    pub async fn register(&self, name: &str, password: &str) -> Result<Account, AccountError> {
        let name = name.trim().to_owned();
        let chars = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&chars) || name.chars().any(char::is_control) {
            return Err(AccountError::Name);
        }
        if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
            return Err(AccountError::Password);
        }
        let password = password.to_owned();
        self.in_turn(move |inner| {
            inner.room_for(&inner.known(), &name)?;
            let id = random_hex().ok_or(AccountError::Failed)?;
            let password = hashing::hash(&password).ok_or(AccountError::Failed)?;
            inner.keep(name, Kept { id, password })
        })
        .await
    }

    /// The account of this name and password. A wrong password and an unknown
    /// name are one answer, and take as long.
    ///
    /// # Errors
    /// [`AccountError::Busy`].
    pub async fn check(&self, name: &str, password: &str) -> Result<Option<Account>, AccountError> {
        let name = name.trim().to_owned();
        self.check_where(password, move |known, _| *known == name)
            .await
    }

    /// Whether this is the password of the account with this id.
    ///
    /// # Errors
    /// [`AccountError::Busy`].
    pub async fn check_id(&self, id: &str, password: &str) -> Result<bool, AccountError> {
        let id = id.to_owned();
        let account = self.check_where(password, move |_, kept| kept.id == id);
        Ok(account.await?.is_some())
    }

    async fn check_where(
        &self,
        password: &str,
        is_meant: impl Fn(&String, &Kept) -> bool + Send + 'static,
    ) -> Result<Option<Account>, AccountError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(None);
        }
        let password = password.to_owned();
        self.in_turn(move |inner| {
            let meant = inner
                .known()
                .iter()
                .find(|(name, kept)| is_meant(name, kept))
                .map(|(name, kept)| (name.clone(), kept.clone()));
            let hash = meant
                .as_ref()
                .map_or(&inner.decoy, |(_, kept)| &kept.password);
            let is_right = hashing::verify(&password, hash);
            Ok(meant
                .filter(|_| is_right)
                .map(|(name, Kept { id, .. })| Account { id, name }))
        })
        .await
    }

    /// Runs work that hashes on a thread of its own, when its turn comes.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let busy = |_| AccountError::Busy;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| AccountError::Busy)?;
        let inner = Arc::clone(&self.inner);
        // A client that hangs up drops this future, not the hashing: the turn
        // goes along with the work, or the bound would not bind.
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&inner);
            drop((turn, place));
            result
        });
        done.await.unwrap_or(Err(AccountError::Failed))
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room_for(&self, known: &BTreeMap<String, Kept>, name: &str) -> Result<(), AccountError> {
        if known.contains_key(name) {
            return Err(AccountError::Taken);
        }
        if known.len() >= ACCOUNTS_MAX {
            return Err(AccountError::Full);
        }
        Ok(())
    }

    /// Keeps an account in the file, then in memory. The lock is held
    /// throughout: of two registrations the later file holds both.
    fn keep(&self, name: String, kept: Kept) -> Result<Account, AccountError> {
        let mut known = self.known();
        self.room_for(&known, &name)?;
        let account = Account {
            id: kept.id.clone(),
            name: name.clone(),
        };
        known.insert(name, kept);
        if let Err(error) = file::save(&self.file, &known) {
            known.remove(&account.name);
            tracing::error!(error = %error, "accounts.json could not be written");
            return Err(AccountError::Failed);
        }
        Ok(account)
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("file", &self.inner.file)
            .field("accounts", &self.inner.known().len())
            .finish_non_exhaustive()
    }
}

/// 128 random bits as text.
fn random_hex() -> Option<String> {
    let mut bytes = [0_u8; 16];
    OsEntropy.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
