//! Sessions that rotate, also while somebody ends or spares them.

use std::time::Duration;

use cloakroom_core::store::{KeyDigest, Revoke, SessionStore as _, Stored};
use cloakroom_core::{ErrorKind, Subject};
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, listed_as, sample};
use futures_util::future::join_all;

use super::{ending, kind, later};

/// Rotations one after the other while the subject is revoked: what stood then is
/// ended, wherever it has moved. They slow down, so that they are not at their last
/// one where whoever ends them is held up.
pub(crate) async fn revokes_what_moves(store: &SqlStore) {
    let subjects = store.capabilities().subjects.unwrap();
    let ending = ending();
    for round in 0..20 {
        let ending = Some(&ending).filter(|_| round % 2 == 0);
        let subject = Subject::new(format!("moving {round}")).unwrap();
        let sessions = (0..4).map(|_| async {
            let at = key().digest();
            let mut record = sample("moves");
            record.subject = Some(subject.clone());
            record.revision = store.create(&at, &record).await.unwrap();
            (at, record)
        });
        let sessions = join_all(sessions).await;
        let begun = &tokio::sync::Notify::new();
        let moves = join_all(sessions.into_iter().map(|(mut at, mut record)| async move {
            for step in 0..40 {
                let new = key().digest();
                match store.rotate(&at, &new, &record, later(60)).await {
                    Ok(revision) => record.revision = revision,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
                        return;
                    }
                }
                at = new;
                if step == 2 {
                    begun.notify_one();
                }
                tokio::time::sleep(Duration::from_millis(5 + step)).await;
            }
            panic!("it was never ended");
        }));
        let revoke = async {
            begun.notified().await;
            let whose = listed_as(&subject);
            let ended = subjects.end_sessions(&whose, Revoke::All, ending);
            ended.await.unwrap()
        };
        let (_, ended) = tokio::join!(moves, revoke);
        assert_eq!(ended.len(), 4, "each once");
        assert_eq!(
            subjects
                .sessions_of(&listed_as(&subject), usize::MAX)
                .await
                .unwrap(),
            []
        );
    }
}

/// "Log out everywhere else" while the one that is spared moves: it is never ended.
pub(crate) async fn spares_what_moves(store: &SqlStore) {
    let subjects = store.capabilities().subjects.unwrap();
    let subject = Subject::new("spared").unwrap();
    let ending = ending();
    for round in 0..20 {
        let ending = Some(&ending).filter(|_| round % 2 == 0);
        let mut record = sample("spared");
        record.subject = Some(subject.clone());
        let kept = key().digest();
        let revision = store.create(&kept, &record).await.unwrap();
        for _ in 0..3 {
            store.create(&key().digest(), &record).await.unwrap();
        }
        record.revision = revision;
        let moves = async {
            let mut at = kept;
            for _ in 0..15 {
                let new = key().digest();
                let moved = store.rotate(&at, &new, &record, later(60)).await;
                record.revision = moved.expect("it is spared");
                at = new;
            }
            at
        };
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let whose = listed_as(&subject);
            let ended = subjects.end_sessions(&whose, Revoke::AllBut(kept), ending);
            ended.await
        };
        let (at, ended) = tokio::join!(moves, revoke);
        assert_eq!(ended.unwrap().len(), 3);
        let listed = subjects
            .sessions_of(&listed_as(&subject), usize::MAX)
            .await
            .unwrap();
        assert_eq!(
            listed.iter().map(|one| one.digest).collect::<Vec<_>>(),
            [at]
        );
        store.delete(&at).await.unwrap();
    }
}

/// A logout with the old key, while the session moves on and on, and ever slower.
pub(crate) async fn ends_what_moves(store: &SqlStore) {
    let ending = ending();
    for round in 0..20 {
        let ending = Some(&ending).filter(|_| round % 2 == 0);
        let first = key().digest();
        let mut record = sample("moves");
        record.revision = store.create(&first, &record).await.unwrap();
        let moves = async {
            let mut at = first;
            for step in 0..30 {
                let new = key().digest();
                match store.rotate(&at, &new, &record, later(60)).await {
                    Ok(revision) => record.revision = revision,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
                        return;
                    }
                }
                at = new;
                tokio::time::sleep(Duration::from_millis(1 + 2 * step)).await;
            }
            panic!("it was never ended");
        };
        let end = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            store.end(&first, ending).await.unwrap();
        };
        tokio::join!(moves, end);
    }
}

/// Marks that lead round in a circle, as a damaged store may hold them.
pub(crate) async fn tells_marks_in_a_circle(store: &SqlStore) {
    let import = store.capabilities().import.unwrap();
    let [one, other] = [(); 2].map(|()| key().digest());
    for (at, to) in [(one, other), (other, one)] {
        let until = later(60);
        let mark = Stored::Rotated { to, until };
        assert!(import.import(&at, &mark).await.unwrap());
    }
    assert_eq!(kind(store.delete(&one).await), ErrorKind::Unavailable);
}
