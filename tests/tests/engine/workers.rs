//! Workers with a runtime each, as actix-web has them: one that ends passes its turn on.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cloakroom::engine::Exchange;
use cloakroom::session::Session;
use cloakroom::{CookiePolicy, Engine, Subject};
use cloakroom_testkit::{Fault, FaultyStore, MapStore};
use cloakroom_tests::in_process::header;
use tokio::sync::oneshot;
use tokio::time::timeout;

async fn opened(engine: &Engine, cookie: &str) -> (Exchange, Session) {
    let exchange = engine.exchange();
    let session = exchange.open([cookie.as_bytes()].into_iter()).await;
    (exchange, session.unwrap())
}

/// A save that the store never answers, and its turn in the queue of the session, end with
/// the worker that has begun it: a plain one, and one in a task of its own.
#[tokio::test]
async fn a_worker_that_ends_while_it_saves_lets_the_next_one_save() {
    for logs_in in [false, true] {
        let store = std::sync::Arc::new(FaultyStore::new(MapStore::default()));
        let engine = Engine::builder(store.clone()).cookie(CookiePolicy::loopback_http());
        let engine = engine.build().unwrap();
        let exchange = engine.exchange();
        let session = exchange.open(std::iter::empty()).await.unwrap();
        session.insert("n", 0).unwrap();
        let cookie = header(&exchange.close(200).await, "set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap();

        let (ended, ends) = oneshot::channel::<()>();
        let (hangs, hung) = mpsc::channel();
        let (waiting, first) = opened(&engine, cookie).await;
        let (next, second) = opened(&engine, cookie).await;
        match logs_in {
            true => first.set_subject(Subject::new("ada").unwrap()).unwrap(),
            false => first.insert("n", 1).unwrap(),
        }
        second.insert("n", 2).unwrap();
        store.fail_always(Some(Fault::Hang));
        let asked = store.operations();
        let worker = thread::spawn({
            let store = store.clone();
            move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build().unwrap().block_on(async {
                    tokio::spawn(async move { waiting.close(200).await });
                    while store.operations() == asked {
                        tokio::task::yield_now().await;
                    }
                    hangs.send(()).unwrap();
                    let _ = ends.await;
                });
            }
        });
        hung.recv().unwrap();
        store.fail_always(None);
        let mut save = Box::pin(next.close(200));
        let waits = timeout(Duration::from_millis(50), &mut save).await;
        assert!(waits.is_err(), "it waits for its turn");
        drop(ended);
        worker.join().unwrap();
        let saved = timeout(Duration::from_secs(5), save).await;
        let saved = saved.expect("the turn is passed on");
        assert!(saved.failure.is_none(), "{saved:?}");
        let (_, session) = opened(&engine, cookie).await;
        assert_eq!(session.get("n").unwrap(), Some(2));
    }
}
