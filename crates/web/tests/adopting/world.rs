//! The double of a former site and of ours, in which any operation can fail.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use cloakroom_core::session::Value;
use cloakroom_core::store::{BoxFuture, SubjectDigest, Subjects as _};
use cloakroom_core::{Error, ErrorKind, SessionExpiry, Site, Subject, Timestamp};
use cloakroom_testkit::{InterceptedStore, ManualClock, MapStore, Operation, Work};
use cloakroom_web::{
    Closing, CookiePolicy, Engine, EngineBuilder, Exchange, FormerId, FormerSession,
    FormerSessions, Prefix,
};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_000_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const BRIEF: Duration = Duration::from_secs(300);
pub(crate) const REMOVED: &str = "sid=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax";

/// What goes wrong at one operation of the store or the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    CrashBefore,
    CrashAfter,
    Refuse,
    LoseAnswer,
    /// What stands there cannot be read, for this reason.
    Unreadable(ErrorKind),
}

/// Counts the operations of store and source together.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) operations: AtomicUsize,
    pub(crate) fault: Mutex<Option<(usize, Fault)>>,
}

impl Plan {
    pub(crate) fn set(&self, fault: Option<(usize, Fault)>) {
        self.operations.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) async fn step<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let operation = self.operations.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        let fault = fault.filter(|(at, _)| *at == operation);
        let failed = Err(Error::new(ErrorKind::Unavailable, "planned fault"));
        // One pause for each operation: another request may run in between.
        pause().await;
        match fault.map(|(_, fault)| fault) {
            None => work.await,
            Some(Fault::CrashBefore) => std::future::pending().await,
            Some(Fault::CrashAfter) => {
                let _ = work.await;
                std::future::pending().await
            }
            Some(Fault::Refuse) => failed,
            Some(Fault::Unreadable(kind)) => Err(kind.into()),
            Some(Fault::LoseAnswer) => {
                let _ = work.await;
                failed
            }
        }
    }
}

pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The former site: its records lie in memory.
pub(crate) struct Former {
    pub(crate) records: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) cookie: CookiePolicy,
}

impl FormerSessions for Former {
    fn name(&self) -> &str {
        "former"
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.cookie
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        value.starts_with("id-").then(|| FormerId::new(value))
    }

    fn load<'a>(
        &'a self,
        id: &'a FormerId,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(self.plan.step(async move {
            if id.expose() == "id-damaged" {
                return Err(ErrorKind::Corrupt.into());
            }
            let records = self.records.lock().unwrap();
            let Some(expires_at) = records.get(id.expose()) else {
                return Ok(None);
            };
            let mut session = FormerSession::new(*expires_at);
            session.subject = Some(Subject::new("ada").unwrap());
            if id.expose() == "id-brief" {
                session.expiry = SessionExpiry::Idle(BRIEF);
            }
            session.entries = vec![
                ("n".into(), Value::UInt(1)),
                ("x".repeat(300), Value::UInt(2)),
            ];
            Ok(Some(session))
        }))
    }

    fn delete<'a>(&'a self, id: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.plan.step(async move {
            self.records.lock().unwrap().remove(id.expose());
            Ok(())
        }))
    }
}

/// Both sites' stores, which outlive a crash of the server.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) records: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    pub(crate) store: Arc<MapStore>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    /// A visitor who is logged in on the former site.
    pub(crate) fn new() -> Self {
        let records = BTreeMap::from([("id-ada".to_owned(), START.saturating_add(HOUR))]);
        Self {
            records: Arc::new(Mutex::new(records)),
            store: Arc::default(),
            plan: Arc::default(),
            clock: Arc::new(ManualClock::at(START)),
        }
    }

    pub(crate) fn builder(&self) -> EngineBuilder {
        let plan = self.plan.clone();
        let store =
            InterceptedStore::from_fn(self.store.clone(), move |_: Operation, work: Work<'_>| {
                intercepted(plan.clone(), work)
            });
        let cookie = CookiePolicy::builder().prefix(Prefix::None).name("sid");
        Engine::builder(store)
            .clock(self.clock.clone())
            .adopt(Former {
                records: self.records.clone(),
                plan: self.plan.clone(),
                cookie: cookie.build().unwrap(),
            })
    }

    pub(crate) fn engine(&self) -> Engine {
        self.builder().build().unwrap()
    }

    pub(crate) fn former_records(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    pub(crate) async fn sessions_of_ada(&self) -> usize {
        let site = Site::new("__Host-session").unwrap();
        let ada = SubjectDigest::new(&site, &Subject::new("ada").unwrap());
        let page = self.store.list_sessions(&ada, None).await;
        page.unwrap().sessions.len()
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

pub(crate) fn intercepted<'a>(plan: Arc<Plan>, work: Work<'a>) -> Work<'a> {
    Box::pin(async move { plan.step(work).await })
}

pub(crate) const FORMER: &str = "sid=id-ada";

pub(crate) async fn open(engine: &Engine, cookies: &str) -> Result<Exchange, Error> {
    let exchange = engine.exchange();
    exchange.open([cookies.as_bytes()].into_iter()).await?;
    Ok(exchange)
}

pub(crate) fn subject(exchange: &Exchange) -> Option<String> {
    let subject = exchange.session().unwrap().subject()?;
    Some(subject.as_str().to_owned())
}

pub(crate) fn headers(closing: &Closing) -> Vec<String> {
    assert!(closing.failure.is_none(), "{:?}", closing.failure);
    let headers = closing.token_headers().iter();
    headers.map(|header| header.value().to_owned()).collect()
}

/// The cookie that an answer sets.
pub(crate) fn set(headers: &[String]) -> Option<String> {
    let set = headers
        .iter()
        .find(|header| header.starts_with("__Host-session=") && !header.contains("Max-Age=0"))?;
    Some(set.split(';').next().unwrap().to_owned())
}

/// Reads who is logged in; answers with the headers.
pub(crate) async fn visit(
    engine: &Engine,
    cookies: &str,
) -> Result<(Option<String>, Vec<String>), Error> {
    let exchange = open(engine, cookies).await?;
    let subject = subject(&exchange);
    Ok((subject, headers(&exchange.close(200).await)))
}

pub(crate) async fn log_out(engine: &Engine, cookies: &str) -> Result<Vec<String>, Error> {
    let exchange = open(engine, cookies).await?;
    exchange.session().unwrap().flush()?;
    let closing = exchange.close(200).await;
    match closing.failure {
        Some(error) => Err(error),
        None => Ok(headers(&closing)),
    }
}

pub(crate) fn is_ada(subject: &Option<String>) -> bool {
    subject.as_deref() == Some("ada")
}
