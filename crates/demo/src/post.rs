//! A form that was sent, and was allowed to be.

use std::fmt;
use std::time::Duration;

use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use cloakroom::axum::{Session, SessionError, SubjectSessions};
use tokio::time::timeout;

use crate::state::Site;
use crate::{csrf, problem};

/// How long a form may take to arrive, once its headers have.
const FORM_MAX: Duration = Duration::from_secs(10);

/// The argument of every handler that changes something: there is no way to
/// the form's fields that leads around the guards of [`csrf`].
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) session: Session,
    /// Those of whoever is logged in.
    pub(crate) sessions: SubjectSessions,
    fields: Fields,
}

impl Post {
    /// A field's content; of one that was not sent, nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name)
    }
}

impl FromRequest<Site> for Post {
    type Rejection = Response;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Response> {
        if !csrf::is_ours(request.headers()) {
            return Err(problem::foreign_form());
        }
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, site)
            .await
            .map_err(SessionError::into_response)?;
        let sessions = SubjectSessions::from_request_parts(&mut parts, site)
            .await
            .map_err(SessionError::into_response)?;
        let fields = if parts.headers.contains_key(CONTENT_TYPE) {
            let form = Form::from_request(Request::from_parts(parts, body), site);
            let Ok(form) = timeout(FORM_MAX, form).await else {
                return Err(StatusCode::REQUEST_TIMEOUT.into_response());
            };
            form.map_err(IntoResponse::into_response)?.0
        } else {
            // A button without fields, pressed by hand: `curl -X POST`.
            Vec::new()
        };
        let fields = Fields(fields);
        let is_allowed = csrf::is_allowed(&session, fields.get(csrf::NAME))
            .map_err(|error| SessionError::from(error).into_response())?;
        // The page was that of somebody who was logged in: what it asks for is not for nobody.
        if let Some(ended) = session.ended_because()
            && !fields.get(csrf::NAME).is_empty()
        {
            return Err(problem::ended(&ended));
        }
        if !is_allowed {
            return Err(problem::stale_form());
        }
        Ok(Self {
            session,
            sessions,
            fields,
        })
    }
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, content)| content)
    }
}

impl fmt::Debug for Fields {
    /// Passwords are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}
