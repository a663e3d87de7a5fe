//! A handler and its unit tests: a detached session saves into itself, so that a test needs
//! neither a store nor a server.
//!
//! `cargo test -p cloakroom-examples --bin tested_handler`

use axum::Router;
use axum::routing::get;
use cloakroom::Engine;
use cloakroom::axum::{Session, SessionError, SessionLayer};

/// Every tenth visit is celebrated.
async fn visit(session: Session) -> Result<String, SessionError> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    Ok(match (session.subject(), visits % 10) {
        (Some(subject), 0) => format!("Visit {visits}: have a cake, {}!\n", subject.as_str()),
        (None, 0) => format!("Visit {visits}: log in for a cake.\n"),
        _ => format!("Visit {visits}.\n"),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = Router::new()
        .route("/", get(visit))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on panics.

    use super::*;
    use cloakroom::Subject;

    fn session() -> Session {
        cloakroom::session::Session::detached().into()
    }

    #[tokio::test]
    async fn visits_are_counted() {
        let session = session();
        assert_eq!(visit(session.clone()).await.unwrap(), "Visit 1.\n");
        assert_eq!(visit(session.clone()).await.unwrap(), "Visit 2.\n");
        assert_eq!(session.get::<u64>("visits").unwrap(), Some(2));
    }

    #[tokio::test]
    async fn who_is_logged_in_gets_a_cake_on_the_tenth_visit() {
        let session = session();
        session.insert("visits", 9).unwrap();
        assert!(visit(session.clone()).await.unwrap().contains("log in"));
        session.set_subject(Subject::new("ada").unwrap()).unwrap();
        session.insert("visits", 19).unwrap();
        assert!(visit(session.clone()).await.unwrap().contains("cake, ada"));
    }

    #[tokio::test]
    async fn an_entry_of_another_type_is_an_error() {
        let session = session();
        session.insert("visits", "many").unwrap();
        let error = visit(session).await.unwrap_err().into_inner();
        assert_eq!(error.kind(), cloakroom::ErrorKind::Mismatch);
    }
}
