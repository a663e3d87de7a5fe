//! The session of a request, for code that is no handler.

use std::future::Future;

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::GuardContext;
use actix_web::{HttpMessage as _, HttpRequest};

use crate::extract::{exchange_of, open, session_of};
use crate::{Session, SessionError};

/// The session of a request inside a [`SessionMiddleware`](crate::SessionMiddleware), for a
/// middleware, a guard, or a function that is handed the request.
///
/// ```
/// use actix_web::Error;
/// use actix_web::body::MessageBody;
/// use actix_web::dev::{ServiceRequest, ServiceResponse};
/// use actix_web::middleware::Next;
/// use cloakroom_actix::SessionExt;
///
/// // For `App::wrap(actix_web::middleware::from_fn(count))`, before the `wrap` of the
/// // session's own middleware: what is wrapped last is outermost.
/// async fn count(
///     request: ServiceRequest,
///     next: Next<impl MessageBody>,
/// ) -> Result<ServiceResponse<impl MessageBody>, Error> {
///     let session = SessionExt::session(&request).await?;
///     session.update("requests", |requests: &mut u64| *requests += 1)?;
///     next.call(request).await
/// }
/// ```
pub trait SessionExt {
    /// The session, if something has loaded it already: for code that cannot wait. A guard
    /// sees one where the middleware loads each [eagerly](crate::SessionMiddleware::eager).
    fn loaded_session(&self) -> Option<Session>;

    /// The session, loaded if need be.
    ///
    /// # Errors
    /// As [`Session`]'s extractor.
    fn session(&self) -> impl Future<Output = Result<Session, SessionError>>;
}

impl SessionExt for HttpRequest {
    fn loaded_session(&self) -> Option<Session> {
        let exchange = exchange_of(&self.extensions()).ok()?;
        exchange.session().map(Session::from)
    }

    fn session(&self) -> impl Future<Output = Result<Session, SessionError>> {
        session_of(self)
    }
}

impl SessionExt for ServiceRequest {
    fn loaded_session(&self) -> Option<Session> {
        self.request().loaded_session()
    }

    fn session(&self) -> impl Future<Output = Result<Session, SessionError>> {
        session_of(self.request())
    }
}

/// For a middleware that looks at the session after the handler.
impl<B> SessionExt for ServiceResponse<B> {
    fn loaded_session(&self) -> Option<Session> {
        self.request().loaded_session()
    }

    fn session(&self) -> impl Future<Output = Result<Session, SessionError>> {
        session_of(self.request())
    }
}

/// A guard cannot wait, so it has the loaded one alone.
impl SessionExt for GuardContext<'_> {
    fn loaded_session(&self) -> Option<Session> {
        let exchange = exchange_of(&self.req_data()).ok()?;
        exchange.session().map(Session::from)
    }

    async fn session(&self) -> Result<Session, SessionError> {
        let exchange = exchange_of(&self.req_data())?;
        open(&exchange, self.head().headers()).await
    }
}
