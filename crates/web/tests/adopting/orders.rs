//! Crashes at any point, and requests at once in any order.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::world::*;

/// The server is killed, or an operation fails, at each operation of store and source.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_logs_nobody_out_and_leaves_nothing_behind() {
    let mut crashes = 0;
    for fault in [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Refuse,
        Fault::LoseAnswer,
    ] {
        for operation in 0.. {
            let world = World::new();
            let at = format!("{fault:?} at {operation}");
            world.plan.set(Some((operation, fault)));
            let killed = world.engine();
            let first = visit(&killed, FORMER);
            let first = tokio::time::timeout(Duration::from_secs(9), first).await;
            let happened = world.plan.operations.load(Ordering::SeqCst) > operation;
            world.plan.set(None);
            // Where an answer was sent, the visitor may have got it or not.
            let mut cookies = vec![FORMER.to_owned()];
            if let Ok(Ok((who, headers))) = &first {
                assert!(is_ada(who), "{at}");
                cookies.push(set(headers).expect("our cookie is handed out"));
            }
            for cookie in &cookies {
                let engine = world.engine();
                let (who, headers) = visit(&engine, cookie).await.unwrap();
                assert!(is_ada(&who), "{at}: logged out");
                assert_eq!(world.former_records(), 0, "{at}");
                if cookie == FORMER {
                    let ours = set(&headers).expect("our cookie is handed out");
                    assert!(is_ada(&visit(&engine, &ours).await.unwrap().0), "{at}");
                }
            }
            // A session that nobody holds a key to may be left by a kill.
            let sessions = world.sessions_of_ada().await;
            assert!((1..=2).contains(&sessions), "{at}: {sessions}");
            let engine = world.engine();
            log_out(&engine, FORMER).await.unwrap();
            for cookie in &cookies {
                let (who, _) = visit(&engine, cookie).await.unwrap();
                assert_eq!(who, None, "{at}: came back");
            }
            if !happened {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 20, "{crashes}");
}

/// Polls two futures in the order of the bits, then to their end.
fn interleave<A, B>(order: u32, a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let mut context = Context::from_waker(Waker::noop());
    let (mut of_a, mut of_b) = (None, None);
    fn step<T>(
        future: Pin<&mut impl Future<Output = T>>,
        answer: &mut Option<T>,
        context: &mut Context<'_>,
    ) {
        if answer.is_none()
            && let Poll::Ready(ready) = future.poll(context)
        {
            *answer = Some(ready);
        }
    }
    for turn in 0..u32::BITS {
        match order >> turn & 1 {
            0 => step(a.as_mut(), &mut of_a, &mut context),
            _ => step(b.as_mut(), &mut of_b, &mut context),
        }
    }
    for _ in 0..64 {
        step(a.as_mut(), &mut of_a, &mut context);
        step(b.as_mut(), &mut of_b, &mut context);
    }
    (of_a.unwrap(), of_b.unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    interleave(0, future, async {}).0
}

#[test]
fn two_requests_at_once_adopt_once_in_every_order() {
    for order in 0..1 << 12 {
        let world = World::new();
        let engine = world.engine();
        let (a, b) = interleave(order, visit(&engine, FORMER), visit(&engine, FORMER));
        let [a, b] = [a, b].map(|answer| {
            let (who, headers) = answer.unwrap();
            assert!(is_ada(&who), "order {order:b}: logged out");
            set(&headers).unwrap()
        });
        assert_eq!(a, b, "order {order:b}");
        assert_eq!(run(world.sessions_of_ada()), 1, "order {order:b}");
        assert_eq!(world.former_records(), 0, "order {order:b}");
    }
}

/// One request adopts and is slow; another one adopts and logs out.
#[test]
fn a_session_that_was_ended_does_not_come_back_in_any_order() {
    for order in 0..1 << 13 {
        let world = World::new();
        let engine = world.engine();
        let (late, ended) = interleave(order, visit(&engine, FORMER), log_out(&engine, FORMER));
        ended.unwrap();
        let mut cookies = vec![FORMER.to_owned()];
        cookies.extend(set(&late.unwrap().1));
        for cookie in cookies {
            let (who, _) = run(visit(&engine, &cookie)).unwrap();
            assert_eq!(who, None, "order {order:b}");
        }
        assert_eq!(run(world.sessions_of_ada()), 0, "order {order:b}");
        assert_eq!(world.former_records(), 0, "order {order:b}");
    }
}

#[tokio::test(start_paused = true)]
async fn parting_that_fails_at_any_point_fails_no_request_and_is_made_up_for() {
    for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::CrashAfter] {
        for operation in 1..4 {
            let world = World::new();
            let engine = world.engine();
            let (_, headers) = visit(&engine, FORMER).await.unwrap();
            let ours = set(&headers).unwrap();
            world.pass(60);
            world.plan.set(Some((operation, fault)));
            let visited = tokio::time::timeout(Duration::from_secs(9), visit(&engine, &ours)).await;
            if fault != Fault::CrashAfter {
                assert!(is_ada(&visited.unwrap().unwrap().0));
            }
            world.plan.set(None);
            for _ in 0..2 {
                assert!(is_ada(&visit(&engine, &ours).await.unwrap().0));
            }
            assert_eq!(visit(&engine, FORMER).await.unwrap().0, None);
        }
    }
}
