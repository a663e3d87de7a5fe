//! What all handlers share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Accounts;

/// The state of the router.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) keeping: Keeping,
    pub(crate) stopping: Stopping,
}

/// Whether the server has been told to stop: what waits for a session's end ends then too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopping(watch::Sender<bool>);

impl Stopping {
    /// Tells all who wait.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Ends when the server is told to stop; at once, where it has been.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut told = self.0.subscribe();
        // Kept here as well, so that there is always somebody who may tell.
        let sender = self.0.clone();
        async move {
            let _told = told.wait_for(|is_stopping| *is_stopping).await;
            drop(sender);
        }
    }
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
