//! What the log says of former sessions, and what it never holds. A binary of its own: a
//! subscriber of one thread may miss an event that another thread was the first to send.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_adopt::{FoundRecord, Records, express_session, named};
use cloakroom_core::store::BoxFuture;
use cloakroom_core::{Error, Timestamp};
use cloakroom_testkit::{CollectedEvents, ManualClock, MapStore};
use cloakroom_web::Engine;
use tracing::Level;

const COOKIE: &str = "connect.sid=s%3A31Ta4imjQ_dwHnZTp021_Cz-7IlQewky.\
                      PgVm4ZelisbnQ6xhjYztVflOmP1465rJKpefhlhF48c";
const FORGED: &str = "connect.sid=s%3A31Ta4imjQ_dwHnZTp021_Cz-7IlQewky.\
                      PgVm4ZelisbnQ6xhjYztVflOmP1465rJKpefhlhF48d";

/// One record for each key.
struct One(&'static str);

impl Records for One {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<FoundRecord>, Error>> {
        Box::pin(async { Ok(Some(FoundRecord::new(self.0.into()))) })
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn the_log_says_why_a_session_was_not_adopted_and_holds_no_secret() {
    let events = CollectedEvents::begin();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let visit = async |record: &'static str, cookie: &str, times: usize| {
        let source = express_session(One(record), ["former secret"]).subject(named(["user_id"]));
        let builder = Engine::builder(MapStore::default()).clock(clock.clone());
        let engine = builder.adopt(source).build().unwrap();
        for _ in 0..times {
            let exchange = engine.exchange();
            let headers = [cookie.as_bytes()].into_iter();
            exchange.open(headers).await.unwrap();
            exchange.close(200).await;
        }
        clock.advance(Duration::from_secs(60));
        let said = events.take_text(Level::TRACE);
        for secret in ["31Ta4imj", "PgVm4Zel", "former secret", "planted", "hidden"] {
            assert!(!said.contains(secret), "{said}");
        }
        said
    };
    let whole = r#"{"cookie":{"expires":null},"user_id":7,"a":"planted","hidden":[[[]]]}"#;
    let said = visit(whole, FORGED, 50).await;
    let reason = "signed with a secret that is not given here";
    assert_eq!(said.matches(reason).count(), 1, "{said}");
    assert!(said.contains("express-session"), "{said}");
    let said = visit(r#"{"a":"planted"}"#, COOKIE, 3).await;
    assert_eq!(said.matches("has no `cookie`").count(), 1, "{said}");
    let old = r#"{"cookie":{"expires":"1970-01-01T00:00:01Z"},"a":"planted"}"#;
    let said = visit(old, COOKIE, 3).await;
    assert_eq!(said.matches("it has ended or expired").count(), 1, "{said}");
    assert_eq!(visit(whole, COOKIE, 3).await.matches("WARN").count(), 0);
    // 100 levels are more than the limits of the engine allow.
    let deep = format!(
        r#"{{"cookie":{{}},"hidden":{}{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let said = visit(deep.leak(), COOKIE, 1).await;
    assert!(said.contains("entries=1"), "{said}");
}
