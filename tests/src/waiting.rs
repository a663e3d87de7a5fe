//! Visitors of an engine who log in, go on with a socket, and wait for the end of their session.

use std::time::Duration;

use cloakroom::engine::{Exchange, SubjectSessions};
use cloakroom::session::{Ended, Session};
use cloakroom::store::BoxFuture;
use cloakroom::{Engine, Subject};
use tokio::time::timeout;

use crate::in_process::headers;

/// How long a test waits for what should come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A visitor of one node. The token goes from node to node with them.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The node that they visit.
    pub engine: Engine,
    /// What their browser holds.
    pub token: String,
}

impl Visitor {
    /// A visitor who logs in.
    pub async fn log_in(engine: &Engine, name: &str) -> Self {
        let mut visitor = Self {
            engine: engine.clone(),
            token: String::new(),
        };
        let subject = Subject::new(name).expect("a name");
        visitor
            .visit(async |session| session.set_subject(subject).expect("a login"))
            .await;
        visitor
    }

    /// The same visitor at another node.
    #[must_use]
    pub fn at(&self, engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            token: self.token.clone(),
        }
    }

    /// The request of a visitor.
    ///
    /// # Panics
    /// Where the store does not answer.
    pub async fn open(&self) -> (Exchange, Session) {
        let exchange = self.engine.exchange();
        let token = self.engine.token(self.token.clone());
        let session = exchange.open_token(token).await.expect("an open store");
        (exchange, session)
    }

    /// A request whose handler answers 200. The visitor keeps the token that it is told.
    pub async fn visit<T>(&mut self, handle: impl AsyncFnOnce(Session) -> T) -> T {
        let (exchange, session) = self.open().await;
        let answer = handle(session).await;
        self.close(exchange).await;
        answer
    }

    /// A request to the page of their sessions.
    pub async fn visit_sessions<T>(&mut self, handle: impl AsyncFnOnce(SubjectSessions) -> T) -> T {
        let (exchange, session) = self.open().await;
        let answer = handle(SubjectSessions::new(exchange.clone(), session)).await;
        self.close(exchange).await;
        answer
    }

    /// The end of a request. The visitor keeps the token that it is told.
    ///
    /// # Panics
    /// Where the session is not saved.
    pub async fn close(&mut self, exchange: Exchange) {
        let closing = exchange.close(200).await;
        assert!(closing.failure.is_none(), "{:?}", closing.failure);
        for set in headers(&closing, "set-cookie") {
            let (pair, _) = set.split_once(';').unwrap_or((&set, ""));
            let (_, token) = pair.split_once('=').expect("a cookie is a pair");
            token.clone_into(&mut self.token);
        }
    }

    /// Opens a socket, which waits for the end of the session.
    pub async fn wait(&mut self) -> BoxFuture<'static, Ended> {
        self.visit(async |session| session.ended()).await
    }

    /// Logs out.
    pub async fn log_out(&mut self) {
        self.visit(async |session| session.flush().expect("a logout"))
            .await;
    }
}

/// How a session has ended that is about to.
///
/// # Panics
/// Where it does not end.
pub async fn soon(ended: BoxFuture<'static, Ended>) -> Ended {
    timeout(PATIENCE, ended)
        .await
        .expect("the session has ended")
}

/// Whether it goes on for this while.
pub async fn goes_on(ended: &mut BoxFuture<'static, Ended>, during: Duration) -> bool {
    timeout(during, ended).await.is_err()
}
