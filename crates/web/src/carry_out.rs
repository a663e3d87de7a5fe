//! Work that goes on when nobody waits for it any more.

use cloakroom_core::{Error, ErrorKind};
use tokio::runtime::Handle;

/// Ends or moves a session. A server drops the future of a client that hangs up, so the
/// work is done in a task of its own; outside a tokio runtime it ends with its caller.
pub(crate) async fn carry_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let Ok(runtime) = Handle::try_current() else {
        return work.await;
    };
    runtime.spawn(work).await.unwrap_or_else(|panic| {
        let message = "the task that ended or moved the session has ended before it was done";
        Err(Error::new(ErrorKind::Unavailable, message).with_source(panic))
    })
}
