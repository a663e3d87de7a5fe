//! Letting others run on the thread, on whatever runtime.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the runtime run its other tasks.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match std::mem::replace(&mut has_yielded, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
