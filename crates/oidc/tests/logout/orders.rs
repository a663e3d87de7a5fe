//! A logout while somebody logs in: whatever the order of their calls to the store, nobody stays
//! logged in.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cloakroom_core::engine::Entropy;
use cloakroom_core::session::Session;
use cloakroom_core::{Aal, Error, Label, ProviderSession, Subject};
use cloakroom_testkit::{Intercept, InterceptedStore, MapStore, Operation, Work};
use cloakroom_web::Exchange;

use crate::site::{ISSUER, TestSite};

/// Before each call to the store it is somebody else's turn.
struct InTurns;

impl Intercept for InTurns {
    fn intercept<'a>(&'a self, _: Operation, work: Work<'a>) -> Work<'a> {
        Box::pin(async move {
            let mut waited = false;
            poll_fn(|_| match std::mem::replace(&mut waited, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            work.await
        })
    }
}

/// Keys that a run repeats, so that it can be led along another order from some step on.
#[derive(Debug)]
struct Counted(AtomicU8);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

type Site = TestSite<InterceptedStore<MapStore, InTurns>>;
type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn step(running: &mut Running<'_>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    running.as_mut().poll(&mut context).is_ready()
}

fn whole<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// All orders of several futures, one after the other: whose turn it was, of how many that were
/// not done, at each of the first steps. Later steps are those of the first that is not done.
struct Orders {
    taken: Vec<(usize, usize)>,
    steps_max: usize,
}

impl Orders {
    fn run(&mut self, all: Vec<Running<'_>>) {
        let mut running = all;
        for step_number in 0.. {
            let count = running.len();
            if count == 0 {
                return;
            }
            let whose = match self.taken.get(step_number) {
                Some((whose, _)) => *whose,
                None if step_number < self.steps_max => {
                    self.taken.push((0, count));
                    0
                }
                None => 0,
            };
            if step(&mut running[whose]) {
                drop(running.remove(whose));
            }
        }
    }

    /// Whether there is another one.
    fn advance(&mut self) -> bool {
        while let Some((whose, count)) = self.taken.pop() {
            if whose + 1 < count {
                self.taken.push((whose + 1, count));
                return true;
            }
        }
        false
    }
}

async fn opened(site: &Site, cookie: &str) -> (Exchange, Session) {
    let exchange = site.engine.exchange();
    let cookie = Some(cookie.as_bytes()).filter(|cookie| !cookie.is_empty());
    let session = exchange.open(cookie.into_iter()).await.unwrap();
    (exchange, session)
}

fn log_in(session: &Session) {
    session.set_subject(Subject::new("ada").unwrap()).unwrap();
    session.set_label(Label::new("phone").unwrap()).unwrap();
    let of = ProviderSession::new(ISSUER, "s1").unwrap();
    session.set_provider_session(of).unwrap();
}

fn step_up(session: &Session) {
    session.reauthenticated(Aal::Two).unwrap();
}

/// Requests of these browsers, each with its cookie, and a logout, in every order of their first
/// steps; answers how many orders there were.
fn every_order(
    keys_from: u8,
    steps_max: usize,
    prepare: impl Fn(&Site) -> Vec<String>,
    handler: impl Fn(&Session),
) -> usize {
    let of = ProviderSession::new(ISSUER, "s1").unwrap();
    let (taken, mut count) = (Vec::new(), 0);
    let mut orders = Orders { taken, steps_max };
    loop {
        let store = InterceptedStore::with(MapStore::default(), InTurns);
        let site: Site = TestSite::over(Arc::new(store), |builder| {
            builder.entropy(Arc::new(Counted(AtomicU8::new(keys_from))))
        });
        let cookies = prepare(&site);
        let requests = cookies.iter().map(|cookie| {
            let (exchange, session) = whole(opened(&site, cookie));
            handler(&session);
            // What is to be written may be gone by then.
            Box::pin(async move { drop(exchange.close(200).await) }) as Running<'_>
        });
        let mut all: Vec<_> = requests.collect();
        let ends = site.engine.end_provider_session(&of);
        all.push(Box::pin(async { assert!(ends.await.is_ok()) }));
        orders.run(all);
        let left = whole(site.browsers("ada"));
        assert!(left.is_empty(), "{left:?} in the order {:?}", orders.taken);
        count += 1;
        if !orders.advance() {
            return count;
        }
    }
}

#[test]
fn a_login_that_is_being_written_ends() {
    let orders = every_order(0, usize::MAX, |_| vec![String::new()], log_in);
    assert!(orders > 50, "{orders}");
}

#[test]
fn a_login_that_moves_the_session_of_a_visitor_ends() {
    let visits = |site: &Site| {
        let cart = async |session: &Session| session.insert("cart", 1).unwrap();
        vec![whole(site.ask("", cart)).unwrap()]
    };
    assert!(every_order(0, usize::MAX, visits, log_in) > 50);
}

#[test]
fn a_session_that_is_lengthened_meanwhile_ends() {
    let logged_in = |site: &Site| {
        let login = async |session: &Session| log_in(session);
        let cookie = whole(site.ask("", login)).unwrap();
        site.clock.advance(Duration::from_secs(60));
        vec![cookie]
    };
    assert!(every_order(0, usize::MAX, logged_in, step_up) > 50);
}

/// Each of two logins may remove the pointer of the other, or that of the session before.
#[test]
fn of_several_logins_at_once_none_is_left() {
    let one_is_logged_in = |site: &Site| {
        let login = async |session: &Session| log_in(session);
        whole(site.ask("", login)).unwrap();
        vec![String::new(), String::new()]
    };
    // Of other keys, other pointers come first.
    for keys_from in 0..4 {
        let orders = every_order(keys_from, 6, one_is_logged_in, log_in);
        assert!(orders > 500, "{orders}");
    }
}
