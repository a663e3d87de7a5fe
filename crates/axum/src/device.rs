//! Sessions that are bound to a device.

use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use cloakroom_core::Subject;
use cloakroom_tower::RequestSession as _;
use http::StatusCode;
use http::request::Parts;

use crate::extract::with_text;
use crate::{Session, SessionError};

/// The session of a visitor who is logged in on the device that their session is bound to, as
/// a handler's argument: for a page that changes a password or moves money.
///
/// ```
/// use cloakroom_axum::Bound;
///
/// async fn pay(visitor: Bound) -> String {
///     format!("Paid by {}.", visitor.subject().as_str())
/// }
/// ```
///
/// Everything else is on [`Session`], to which it dereferences.
///
/// # Errors
/// A request that has not proven its device gets a 403, at every level, also where its browser
/// binds no sessions. Where another site has led the browser here, which does not prove its
/// device with such a request, the answer makes it ask again by itself. Else as [`LoggedIn`](crate::LoggedIn). A 500 where the engine
/// [binds no sessions](cloakroom_web::EngineBuilder::device_bound).
#[derive(Clone, Debug)]
pub struct Bound {
    session: Session,
    subject: Subject,
}

impl Bound {
    /// Who is logged in, as the request found it.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Deref for Bound {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<S: Sync> FromRequestParts<S> for Bound {
    type Rejection = NotBound;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotBound> {
        let (session, subject) = parts.bound().await.map_err(NotBound)?;
        Ok(Self {
            session: session.into(),
            subject,
        })
    }
}

/// Why a request got no [`Bound`].
#[derive(Debug)]
pub struct NotBound(cloakroom_tower::NotBound);

impl IntoResponse for NotBound {
    fn into_response(self) -> Response {
        let response: Response = self.0.into_response();
        match response.status() {
            StatusCode::SEE_OTHER | StatusCode::OK => response,
            _ => with_text(response),
        }
    }
}

/// The endpoint at which browsers register and refresh the devices of their sessions: a
/// handler for POST at the path that the engine is told.
///
/// ```
/// use axum::Router;
/// use axum::routing::post;
/// use cloakroom_axum::{Engine, SessionLayer, device_endpoint};
///
/// // `engine` was built with `.device_bound(Dbsc::observe())`, and the path is `Dbsc::PATH`.
/// fn app(engine: Engine) -> Router {
///     Router::new()
///         .route("/device-session", post(device_endpoint))
///         .layer(SessionLayer::new(engine))
/// }
/// ```
///
/// # Errors
/// As [`Session`].
pub async fn device_endpoint(parts: Parts) -> Result<Response, SessionError> {
    let answer = parts.answer_device().await?;
    Ok(answer.into_response())
}
