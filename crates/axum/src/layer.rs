//! The layer: an exchange for each request, closed before the headers leave.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum_core::response::{IntoResponse, Response};
use cloakroom_core::store::BoxFuture;
use cloakroom_web::{Closing, Engine, Exchange};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::extract::failure;
use crate::login::LoginPage;

/// Gives the routes inside it their sessions.
///
/// Layers outside it see the finished response; a layer inside it that answers
/// in a handler's place is treated as a handler.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    engine: Engine,
    login_page: Option<Arc<str>>,
    reports_cost: bool,
}

impl SessionLayer {
    /// A layer of this engine's sessions.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            login_page: None,
            reports_cost: false,
        }
    }

    /// Where visitors log in. Who asks for a page of a [`LoggedIn`](crate::LoggedIn)
    /// handler without being logged in is sent there, by a 303 to `URL?next=PATH`. After
    /// the login, go to `next` only if it begins with one `/` and not with two: anybody
    /// can make a link with another one.
    #[must_use]
    pub fn login_page(mut self, url: impl Into<Arc<str>>) -> Self {
        self.login_page = Some(url.into());
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
            login_page: self.login_page.clone(),
            reports_cost: self.reports_cost,
        }
    }
}

/// What [`SessionLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    engine: Engine,
    login_page: Option<Arc<str>>,
    reports_cost: bool,
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Error = Infallible>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = SessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A layer of the same engine further out has begun already, and will close.
        let outer = request.extensions().get::<Exchange>();
        if outer.is_some_and(|outer| outer.is_of(&self.engine)) {
            return SessionFuture {
                state: State::Handling {
                    future: self.inner.call(request),
                    exchange: None,
                },
            };
        }
        let exchange = self.engine.exchange();
        if let Some(url) = &self.login_page {
            let page = LoginPage {
                url: url.clone(),
                asked_for: request.uri().clone(),
            };
            request.extensions_mut().insert(page);
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
    pub struct SessionFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        // The exchange, and whether it reports its cost.
        Handling { #[pin] future: F, exchange: Option<(Exchange, bool)> },
        Closing { future: BoxFuture<'static, Response> },
    }
}

impl<F> fmt::Debug for SessionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

impl<F, R> Future for SessionFuture<F>
where
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Handling { future, exchange } => {
                    let Ok(response) = ready!(future.poll(cx));
                    let response = response.into_response();
                    let opened = exchange.take().filter(|(exchange, _)| exchange.is_opened());
                    let Some((exchange, reports_cost)) = opened else {
                        return Poll::Ready(Ok(response));
                    };
                    if let Some(closing) = exchange.close_now(response.status().as_u16()) {
                        return Poll::Ready(Ok(finish(closing, response, reports_cost)));
                    }
                    let future = Box::pin(close(exchange, response, reports_cost));
                    state.set(State::Closing { future });
                }
                StateProjection::Closing { future } => return future.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

async fn close(exchange: Exchange, response: Response, reports_cost: bool) -> Response {
    let closing = exchange.close(response.status().as_u16()).await;
    finish(closing, response, reports_cost)
}

fn finish(closing: Closing, response: Response, reports_cost: bool) -> Response {
    let mut response = match &closing.failure {
        Some(error) => failure(error),
        None => response,
    };
    apply(&closing, response.headers_mut());
    if reports_cost {
        response.extensions_mut().insert(closing.cost);
    }
    response
}

fn apply(closing: &Closing, headers: &mut HeaderMap) {
    let existing = headers.iter();
    let texts = existing.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    let edits = closing.header_edits(texts);
    for edit in edits {
        let value = match edit.static_value() {
            Some(value) => Ok(HeaderValue::from_static(value)),
            None => HeaderValue::from_str(edit.value()),
        };
        if let Ok(name) = HeaderName::from_bytes(edit.name().as_bytes())
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
