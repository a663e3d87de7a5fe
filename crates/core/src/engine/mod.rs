//! For the author of an engine or an adapter: keys, tokens, a store as the engine
//! sees it, and a session's changes on their way there.

mod any_store;
mod key;
mod token;
mod token_store;

pub use crate::session::changeset::{Changeset, SaveOutcome, Unchanged};
pub use crate::session::commit::{Commit, Context, Watch};
pub use crate::session::opening::Standing;
pub use any_store::AnyStore;
pub use key::{Entropy, KEY_BYTES, OsEntropy, SessionKey};
pub use token::{TOKEN_BYTES_MAX, Token};
pub use token_store::{LoadedToken, TokenStore, Written};
