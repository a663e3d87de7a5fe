//! What all handlers share.

use std::sync::Arc;

use crate::Accounts;

/// The state of the router.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) accounts: Arc<Accounts>,
}
