//! Keeping a subscription to invalidations open.

use std::convert::Infallible;
use std::time::Duration;

use crate::Error;
use crate::store::{Invalidation, Listener};

/// The pause before the first attempt to open a broken subscription again. It doubles
/// with each attempt, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Who is told what a store announces.
pub trait Subscriber {
    /// The subscription is open: what is written from now on is announced. What was written
    /// before may have been missed.
    fn subscribed(&self);

    /// A node, perhaps this one, has written to a session.
    fn announced(&self, invalidation: &Invalidation);

    /// The subscription could not be opened, or is broken. It is tried again after a pause.
    fn disconnected(&self, error: &Error, retry_in: Duration);
}

/// Subscribes, and subscribes again whenever the subscription breaks, after pauses from 0.1 s
/// to 5 s. It goes on until it is dropped, which ends the subscription.
///
/// `listen` is [`Invalidations::listen`](crate::store::Invalidations::listen) of a store, and
/// `sleep` that of the runtime.
pub async fn stay_subscribed<L, P>(
    listen: impl Fn() -> L,
    sleep: impl Fn(Duration) -> P,
    subscriber: &impl Subscriber,
) -> Infallible
where
    L: Future<Output = Result<Box<dyn Listener>, Error>>,
    P: Future<Output = ()>,
{
    let mut pause = PAUSE_MIN;
    loop {
        let error = match listen().await {
            Ok(mut listener) => {
                subscriber.subscribed();
                pause = PAUSE_MIN;
                loop {
                    match listener.next().await {
                        Ok(invalidation) => subscriber.announced(&invalidation),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        subscriber.disconnected(&error, pause);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
