//! What all handlers share.

use std::sync::Arc;

use crate::Accounts;

/// The state of the router.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) keeping: Keeping,
}

/// Where sessions lie. What is true of a session in a store is not all true of one in
/// a cookie, and the pages say which they speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// In a store; the cookie is a key to it.
    Store,
    /// In the cookie itself; the server keeps nothing, and can take nothing back.
    Cookie,
}
