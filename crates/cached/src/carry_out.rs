//! Writes that go on when nobody waits for them any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use cloakroom_core::store::BoxFuture;
use tokio::runtime::Handle;

/// How many writes may go on at once that nobody waits for, in the whole process: while
/// a store hangs, a client could begin one after the other and hang up.
const CARRIED_MAX: usize = 1_024;

static CARRIED: AtomicUsize = AtomicUsize::new(0);

/// A write that is counted until this is dropped.
struct Carried;

impl Carried {
    fn begin() -> Option<Self> {
        let counted = Self;
        (CARRIED.fetch_add(1, Ordering::Relaxed) < CARRIED_MAX).then_some(counted)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        CARRIED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A write that ends or moves a session. Where its caller stops waiting, it goes on in a
/// task of its own: the store may carry it out at any time from then on, and only its
/// answer says from when the cache may be asked again.
///
/// Outside a tokio runtime, and behind 1,024 others, it ends with its caller.
pub(crate) struct CarryOut<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> CarryOut<T> {
    pub(crate) fn new(write: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(write)))
    }
}

impl<T: Send + 'static> Future for CarryOut<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let write = self.0.as_mut().expect("no future is polled after its end");
        let answer = ready!(write.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for CarryOut<T> {
    fn drop(&mut self) {
        if let Some(write) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
            && let Some(carried) = Carried::begin()
        {
            drop(runtime.spawn(async move {
                let _carried = carried;
                write.await
            }));
        }
    }
}
