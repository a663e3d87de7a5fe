//! From a request to its page: who asks comes first.

use std::collections::BTreeMap;

use axum::extract::{Form, FromRequest as _, FromRequestParts as _, Query, Request};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use cloakroom::axum::Session;
use cloakroom::{Error, Subject};

use crate::guard::{self, FormToken};
use crate::html::{failed, refused};
use crate::{Administrator, Shared, act, overview, subject};

/// What a form or an address says, by the names of its fields.
pub(crate) type Fields = BTreeMap<String, String>;

/// An administrator who asks.
pub(crate) struct Visit<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) administrator: Administrator,
    pub(crate) token: FormToken,
    /// What the address says.
    pub(crate) query: Fields,
}

impl Visit<'_> {
    pub(crate) fn name(&self) -> &str {
        self.administrator.name()
    }

    pub(crate) fn queried(&self, field: &str) -> &str {
        self.query.get(field).map_or("", String::as_str)
    }

    /// The page of an error while nothing but reading was asked for.
    pub(crate) fn not_read(&self, error: &Error) -> Response {
        tracing::error!(event = "admin_page_failed", %error, "the page of sessions could not be shown");
        failed(
            self.name(),
            status_of(error),
            "The sessions could not be read, and nothing was changed. Check that the store is up, \
             then load this page again.",
            error,
        )
    }
}

/// The status of a page that says what a store has failed with.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    use cloakroom::ErrorKind::{Locked, Misconfigured, Unavailable};
    match error.kind() {
        Unavailable | Locked => StatusCode::SERVICE_UNAVAILABLE,
        Misconfigured => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(crate) async fn answer(shared: &Shared, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    if !is_read && guard::is_from_elsewhere(&parts.headers) {
        return refused(
            StatusCode::FORBIDDEN,
            "Sent from another site",
            "This form was sent from another site, so nothing was done. Open the page of sessions \
             and send its own form.",
        );
    }
    let session = match Session::from_request_parts(&mut parts, &()).await {
        Ok(session) => session,
        Err(error) => return not_known(&error.into_inner()),
    };
    // Nothing below is reached without an administrator.
    let administrator = match (shared.administrator)(session.clone(), parts.clone()).await {
        Ok(Some(administrator)) => administrator,
        Ok(None) => {
            return refused(
                StatusCode::FORBIDDEN,
                "For administrators",
                "Only administrators of this site may see this page. If you are one, log in as \
                 such, then come back.",
            );
        }
        Err(response) => return response,
    };
    if parts.uri.path() != "/" && !parts.uri.path().is_empty() {
        return refused(
            StatusCode::NOT_FOUND,
            "No such page",
            "There is nothing at this address. All pages of sessions are at the address above it.",
        );
    }
    let token = match guard::token(&session) {
        Ok(token) => token,
        Err(error) => return not_known(&error),
    };
    let query = Query::try_from_uri(&parts.uri);
    let visit = Visit {
        shared,
        administrator,
        token,
        query: query.map_or_else(|_| Fields::new(), |Query(fields)| fields),
    };
    match parts.method {
        Method::GET | Method::HEAD => page(&visit).await,
        Method::POST => {
            let form = Form::from_request(Request::from_parts(parts, body), &()).await;
            let fields: Fields = match form {
                Ok(Form(fields)) => fields,
                Err(error) => {
                    return refused(
                        error.into_response().status(),
                        "Not understood",
                        "This is not a form of these pages, so nothing was done.",
                    );
                }
            };
            sent(&visit, &session, &fields).await
        }
        _ => {
            let mut response = refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "Not this way",
                "This address takes a GET, and the forms of its pages.",
            );
            let allowed = HeaderValue::from_static("GET, HEAD, POST");
            response.headers_mut().insert(ALLOW, allowed);
            response
        }
    }
}

async fn page(visit: &Visit<'_>) -> Response {
    match visit.queried("subject") {
        "" => overview::page(visit).await,
        text => match Subject::new(text) {
            Ok(of) => subject::page(visit, &of).await,
            Err(_) => too_long(),
        },
    }
}

async fn sent(visit: &Visit<'_>, session: &Session, fields: &Fields) -> Response {
    let brought = fields.get(guard::FIELD).map_or("", String::as_str);
    match guard::allows(session, brought) {
        Ok(true) => act::act(visit, fields).await,
        Ok(false) => refused(
            StatusCode::FORBIDDEN,
            "This form is too old",
            "The page that it stood on is of another session of yours, so nothing was done. Open \
             the page again and send the form from there.",
        ),
        Err(error) => not_known(&error),
    }
}

/// A user id that no session can have.
pub(crate) fn too_long() -> Response {
    refused(
        StatusCode::UNPROCESSABLE_ENTITY,
        "No such user",
        "A user id is 256 bytes long at most, so nobody has this one.",
    )
}

/// Whoever it is has not been recognised, so the page says nothing of the store.
fn not_known(error: &Error) -> Response {
    tracing::error!(
        event = "admin_session_failed",
        %error,
        "the session of whoever asks for the page of sessions failed"
    );
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "The store did not answer",
        "Your session could not be read, so nothing was done. You are still logged in: check that \
         the session store is up, then try again. The server's log says what has failed.",
    )
}
