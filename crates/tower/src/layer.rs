//! The layer: an exchange for each request, closed before the headers leave.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cloakroom_core::store::BoxFuture;
use cloakroom_web::{Closing, DeviceHints, Engine, Exchange, HeaderEdit, LoginPage, Outcome};
use http::header::{CACHE_CONTROL, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::login::{Login, Pages};
use crate::outcome::{failure, outcome_of};

/// Gives the services inside it their sessions.
///
/// It goes around any service of http 1, whatever its bodies and its error; the body of
/// its responses has a default, which stands in a response whose session could not be
/// saved. Layers outside it see the finished response; a layer inside it that answers in a
/// handler's place is treated as a handler.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    engine: Engine,
    pages: Pages,
    reports_cost: bool,
}

impl SessionLayer {
    /// A layer of this engine's sessions.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            pages: Pages::default(),
            reports_cost: false,
        }
    }

    /// Where visitors log in. Who asks for a page of a handler that wants them
    /// [logged in](crate::RequestSession::logged_in), without being so, is sent there, by a
    /// 303 to `URL?next=PATH`. After the login, go to `next` only if it
    /// [is a path](cloakroom_web::is_local_path) of this site: anybody can make a link with
    /// another one.
    #[must_use]
    pub fn login_page(mut self, url: impl Into<Arc<str>>) -> Self {
        self.pages.login = Some(LoginPage::new(url));
        self
    }

    /// Where visitors prove again who they are. Who asks for a page of a handler that
    /// [needs more](crate::RequestSession::stepped_up) of their login is sent there, as to
    /// the [login page](Self::login_page), by a 303 to `URL?next=PATH`, with `&level=2` or
    /// `&level=3` where a level is missing. That page asks for the password or a further
    /// factor, calls
    /// [`reauthenticated`](cloakroom_core::session::Session::reauthenticated), and goes to
    /// `next`, if it [is a path](cloakroom_web::is_local_path) of this site.
    ///
    /// Without such a page the answer is a 403, and so it is to who sends a form and to
    /// scripts.
    #[must_use]
    pub fn step_up_page(mut self, url: impl Into<Arc<str>>) -> Self {
        self.pages.step_up = Some(LoginPage::new(url));
        self
    }

    /// Leaves the [`Cost`](crate::Cost) of a request that opened its session in the
    /// extensions of the response, for a layer further out: a log, a page for developers.
    #[must_use]
    pub fn report_cost(mut self) -> Self {
        self.reports_cost = true;
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService {
            inner,
            engine: self.engine.clone(),
            pages: self.pages.clone(),
            reports_cost: self.reports_cost,
        }
    }
}

/// What [`SessionLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    engine: Engine,
    pages: Pages,
    reports_cost: bool,
}

impl<S, B, RB> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Default,
{
    type Response = Response<RB>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A layer of the same engine further out has begun already, and will close.
        let outer = request.extensions().get::<Exchange>();
        let is_inside_another = outer.is_some();
        if outer.is_some_and(|outer| outer.is_of(&self.engine)) {
            return SessionFuture {
                state: State::Handling {
                    future: self.inner.call(request),
                    exchange: None,
                },
            };
        }
        let exchange = self.engine.exchange();
        if exchange.is_device_bound() {
            let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
            exchange.note_device(DeviceHints {
                method: request.method().as_str(),
                query: request.uri().query(),
                skipped: header("secure-session-skipped"),
                fetch_site: header("sec-fetch-site"),
                fetch_mode: header("sec-fetch-mode"),
                fetch_dest: header("sec-fetch-dest"),
            });
        }
        if self.pages.login.is_some() || self.pages.step_up.is_some() {
            let login = Login {
                pages: self.pages.clone(),
                method: request.method().clone(),
                asked_for: request.uri().clone(),
            };
            request.extensions_mut().insert(login);
        } else if is_inside_another {
            // The pages of another engine log nobody in here.
            request.extensions_mut().remove::<Login>();
        }
        request.extensions_mut().insert(exchange.clone());
        SessionFuture {
            state: State::Handling {
                future: self.inner.call(request),
                exchange: Some((exchange, self.reports_cost)),
            },
        }
    }
}

pin_project! {
    /// The future of [`SessionService`]. A request that has not opened its
    /// session passes through it without an allocation.
    pub struct SessionFuture<F: Future> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F: Future> {
        // The exchange, and whether it reports its cost.
        Handling { #[pin] future: F, exchange: Option<(Exchange, bool)> },
        // What the handler has answered, kept until the session is written.
        Closing { future: BoxFuture<'static, Closing>, answer: Option<F::Output>, reports_cost: bool },
    }
}

impl<F: Future> fmt::Debug for SessionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

impl<F, RB, E> Future for SessionFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Default,
{
    type Output = Result<Response<RB>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Handling { future, exchange } => {
                    let answer = ready!(future.poll(cx));
                    let opened = exchange.take().filter(|(exchange, _)| exchange.is_opened());
                    let Some((exchange, reports_cost)) = opened else {
                        return Poll::Ready(answer);
                    };
                    let outcome = match &answer {
                        Ok(response) => outcome_of(response),
                        Err(_) => Outcome::NoResponse,
                    };
                    if let Some(closing) = exchange.close_now(outcome) {
                        return Poll::Ready(answer.map(|it| finish(closing, it, reports_cost)));
                    }
                    state.set(State::Closing {
                        future: Box::pin(async move { exchange.close(outcome).await }),
                        answer: Some(answer),
                        reports_cost,
                    });
                }
                StateProjection::Closing {
                    future,
                    answer,
                    reports_cost,
                } => {
                    let closing = ready!(future.as_mut().poll(cx));
                    let answer = answer
                        .take()
                        .expect("a future is not polled once it is ready");
                    return Poll::Ready(answer.map(|it| finish(closing, it, *reports_cost)));
                }
            }
        }
    }
}

fn finish<B: Default>(closing: Closing, response: Response<B>, reports_cost: bool) -> Response<B> {
    let mut response = match &closing.failure {
        Some(error) => failure(error, response.headers()),
        None => response,
    };
    edit_headers(&closing, response.headers_mut());
    if reports_cost {
        response.extensions_mut().insert(closing.cost);
    }
    response
}

/// Does to the headers of a response what the session's end
/// [asks for](Closing::header_edits): for an adapter to a framework on http 1 that takes no
/// tower layers.
pub fn edit_headers(closing: &Closing, headers: &mut HeaderMap) {
    let existing = headers.iter();
    let texts = existing.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    let edits = closing.header_edits(texts);
    edit(edits, headers);
}

pub(crate) fn edit<E: Borrow<HeaderEdit>>(
    edits: impl IntoIterator<Item = E>,
    headers: &mut HeaderMap,
) {
    for edit in edits {
        let edit = edit.borrow();
        let value = match edit.static_value() {
            Some(value) => Ok(HeaderValue::from_static(value)),
            None => HeaderValue::from_str(edit.value()),
        };
        // To look up a name takes longer than to set its header.
        let name = match edit.name() {
            "vary" => Ok(VARY),
            "cache-control" => Ok(CACHE_CONTROL),
            "set-cookie" => Ok(SET_COOKIE),
            other => HeaderName::from_bytes(other.as_bytes()),
        };
        if let Ok(name) = name
            && let Ok(mut value) = value
        {
            value.set_sensitive(edit.is_sensitive());
            match edit.appends() {
                true => drop(headers.append(name, value)),
                false => drop(headers.insert(name, value)),
            }
        }
    }
}
