//! Writes that go on when nobody waits for them any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cloakroom_core::store::BoxFuture;
use tokio::runtime::Handle;

/// A write that ends or moves a session. Where its caller stops waiting, it goes on in a
/// task of its own: the store may carry it out at any time from then on, and only its
/// answer says from when the cache may be asked again.
///
/// Outside a tokio runtime it ends with its caller.
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
        {
            drop(runtime.spawn(write));
        }
    }
}
