//! The runtime on which connections live.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

/// The runtime on which the store was opened.
///
/// A connection belongs to the runtime that has opened it, and ends with it. Where each
/// worker has a runtime of its own, as on actix-web, a connection that one of them opened
/// would end with it while others wait for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Home(Option<Handle>);

/// How long that runtime may take to show that it runs.
const RUNS_WITHIN: Duration = Duration::from_millis(100);

impl Home {
    pub(crate) fn here() -> Self {
        Self(Handle::try_current().ok())
    }

    /// Opens a connection there. Where that runtime has ended, or nobody drives it, the
    /// connection would never be ready: then it is opened here.
    pub(crate) async fn open<F: Future>(&self, open: F) -> F::Output {
        let home = self.runs_elsewhere().await;
        let mut open = pin!(open);
        poll_fn(|context| {
            let _entered = home.map(Handle::enter);
            open.as_mut().poll(context)
        })
        .await
    }

    async fn runs_elsewhere(&self) -> Option<&Handle> {
        let here = Handle::try_current().ok()?;
        let home = self.0.as_ref().filter(|home| home.id() != here.id())?;
        let runs = timeout(RUNS_WITHIN, home.spawn(async {})).await;
        matches!(runs, Ok(Ok(()))).then_some(home)
    }
}
