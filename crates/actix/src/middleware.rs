//! The middleware: an exchange for each request, closed before the headers leave.

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::EitherBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{Error, HttpMessage as _, HttpResponse};
use cloakroom_web::{Closing, DeviceHints, Engine, Exchange, HeaderEdit, LoginPage};
use pin_project_lite::pin_project;

use crate::error::opaque;
use crate::extract::{Begun, LocalFuture, Pages, open};

/// Gives the routes inside it their sessions.
///
/// Middleware outside it sees the finished response; one inside it that answers in a
/// handler's place is treated as a handler, also where it answers with an `Err`: this one
/// makes of that the response that actix would have made, and passes the response on as
/// the `Err`.
#[derive(Clone, Debug)]
pub struct SessionMiddleware {
    engine: Engine,
    pages: Pages,
    is_eager: bool,
}

impl SessionMiddleware {
    /// A middleware of this engine's sessions.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            pages: Pages::default(),
            is_eager: false,
        }
    }

    /// Where visitors log in. Who asks for a page of a [`LoggedIn`](crate::LoggedIn)
    /// handler without being logged in is sent there, by a 303 to `URL?next=PATH`. After
    /// the login, go to `next` only if it [is a path](cloakroom_web::is_local_path) of this
    /// site: anybody can make a link with another one.
    #[must_use]
    pub fn login_page(mut self, url: impl Into<Arc<str>>) -> Self {
        self.pages.login = Some(LoginPage::new(url));
        self
    }

    /// Where visitors prove again who they are. Who asks for a page of a
    /// [`Fresh`](crate::Fresh) or [`AtLeast`](crate::AtLeast) handler, and whose login does
    /// not do for it, is sent there, as to the [login page](Self::login_page), by a 303 to
    /// `URL?next=PATH`, with `&level=2` or `&level=3` where a level is missing. That page asks
    /// for the password or a further factor, calls
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

    /// Loads the session of each request before anything inside is asked, so that
    /// [`loaded_session`](crate::SessionExt::loaded_session) finds it in a guard. A request
    /// whose handlers use no session costs a load then, and is a 500 where the store does
    /// not answer. It still gets no header, and keeps no session alive.
    #[must_use]
    pub fn eager(mut self) -> Self {
        self.is_eager = true;
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for SessionMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = SessionService<S>;
    type InitError = ();
    type Future = Ready<Result<SessionService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(SessionService {
            service: Rc::new(service),
            of: self.clone(),
        }))
    }
}

/// What [`SessionMiddleware`] makes of a service.
#[derive(Debug)]
pub struct SessionService<S> {
    service: Rc<S>,
    of: SessionMiddleware,
}

impl<S> SessionService<S> {
    /// The exchange of a request, and whether it begins here: a middleware of the same
    /// engine further out has begun it already, and will close it.
    fn begin(&self, request: &ServiceRequest) -> (Exchange, bool) {
        let mut extensions = request.extensions_mut();
        if let Some(outer) = extensions.get::<Begun>()
            && outer.exchange.is_of(&self.of.engine)
        {
            return (outer.exchange.clone(), false);
        }
        let exchange = self.of.engine.exchange();
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
        let pages = &self.of.pages;
        let has_pages = pages.login.is_some() || pages.step_up.is_some();
        let asked_for = request.uri().path_and_query().filter(|_| has_pages);
        let pages = asked_for.map(|asked_for| (pages.clone(), asked_for.as_str().to_owned()));
        extensions.insert(Begun {
            exchange: exchange.clone(),
            pages,
        });
        (exchange, true)
    }
}

impl<S, B> Service<ServiceRequest> for SessionService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = SessionFuture<S::Future, B>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (exchange, begins) = self.begin(&request);
        if !self.of.is_eager {
            return SessionFuture {
                state: State::Handling {
                    future: self.service.call(request),
                    exchange: begins.then_some(exchange),
                },
            };
        }
        let service = self.service.clone();
        let future = async move {
            if let Err(error) = open(&exchange, request.headers()).await {
                return Ok(request.error_response(error).map_into_right_body());
            }
            let result = service.call(request).await;
            match begins {
                true => close(exchange, Answer::of(result)).await,
                false => unchanged(result),
            }
        };
        SessionFuture {
            state: State::Waiting {
                future: Box::pin(future),
            },
        }
    }
}

pin_project! {
    /// The future of [`SessionService`]. A request that has not opened its
    /// session passes through it without an allocation.
    pub struct SessionFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B> {
        Handling { #[pin] future: F, exchange: Option<Exchange> },
        Waiting { future: LocalFuture<Passed<B>> },
    }
}

/// What goes on outwards.
type Passed<B> = Result<ServiceResponse<EitherBody<B>>, Error>;

impl<F, B> fmt::Debug for SessionFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

impl<F, B> Future for SessionFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: 'static,
{
    type Output = Passed<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Handling { future, exchange } => {
                    let result = ready!(future.poll(cx));
                    let Some(exchange) = exchange.take().filter(Exchange::is_opened) else {
                        return Poll::Ready(unchanged(result));
                    };
                    let answer = Answer::of(result);
                    if let Some(closing) = exchange.close_now(answer.status()) {
                        return Poll::Ready(answer.finish(&closing));
                    }
                    let future = Box::pin(close(exchange, answer));
                    state.set(State::Waiting { future });
                }
                StateProjection::Waiting { future } => return future.as_mut().poll(cx),
            }
        }
    }
}

fn unchanged<B>(result: Result<ServiceResponse<B>, Error>) -> Passed<B> {
    result.map(ServiceResponse::map_into_left_body)
}

async fn close<B>(exchange: Exchange, answer: Answer<B>) -> Passed<B> {
    let closing = exchange.close(answer.status()).await;
    answer.finish(&closing)
}

/// What the service inside has answered to a request that has opened its session.
enum Answer<B> {
    Response(ServiceResponse<B>),
    /// An error and the response that it makes, which some make only once.
    Error(Error, HttpResponse),
}

impl<B> Answer<B> {
    fn of(result: Result<ServiceResponse<B>, Error>) -> Self {
        result.map_or_else(
            |error| {
                let response = error.error_response();
                Self::Error(error, response)
            },
            Self::Response,
        )
    }

    fn status(&self) -> u16 {
        match self {
            Self::Response(response) => response.status(),
            Self::Error(_, response) => response.status(),
        }
        .as_u16()
    }

    fn finish(self, closing: &Closing) -> Passed<B> {
        let failure = closing.failure.as_ref().map(|error| {
            let status = StatusCode::from_u16(Closing::status_of(error));
            opaque(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        });
        match self {
            Self::Response(response) => {
                let mut response = match failure {
                    Some(failure) => response.into_response(failure).map_into_right_body(),
                    None => response.map_into_left_body(),
                };
                apply(closing, response.headers_mut());
                Ok(response)
            }
            Self::Error(error, response) => {
                let mut response = failure.unwrap_or(response);
                apply(closing, response.headers_mut());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
}

fn apply(closing: &Closing, headers: &mut HeaderMap) {
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
        if let Ok(name) = HeaderName::from_bytes(edit.name().as_bytes())
            && let Ok(mut value) = value
        {
            value.set_sensitive(edit.is_sensitive());
            match edit.appends() {
                true => headers.append(name, value),
                false => drop(headers.insert(name, value)),
            }
        }
    }
}
