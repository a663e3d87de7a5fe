//! Logout from the identity provider: OpenID Connect Back-Channel Logout 1.0, and
//! `session-revoked` of CAEP, for Cloakroom sessions.
//!
//! Who logs out at their identity provider, or is locked out there, expects to be logged out
//! of the sites that they entered by it. The provider tells each site by a request of its own,
//! with a signed token that names its session (`sid`), the user (`sub`), or both.
//!
//! **In the book:** [Logged in by an identity provider](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/openid.md).
//!
//! ```
//! use cloakroom_core::session::Session;
//! use cloakroom_core::{Error, Subject};
//! use cloakroom_oidc::{Answer, BackChannelLogout, Keys};
//! use cloakroom_web::Engine;
//!
//! # async fn get(url: &str) -> std::io::Result<String> { Ok(url.to_owned()) }
//! // Once, when the site starts. `get` stands for the site's HTTP client.
//! fn of_provider(engine: Engine) -> Result<BackChannelLogout, Error> {
//!     let keys = Keys::fetched(async || get("https://id.example/jwks").await);
//!     BackChannelLogout::new(engine, "https://id.example", "shop", keys)
//! }
//!
//! // In the handler that logs in, with the claims of the ID token that the site has checked:
//! fn log_in(
//!     logout: &BackChannelLogout,
//!     session: &Session,
//!     (sub, sid): (&str, &str),
//! ) -> Result<(), Error> {
//!     session.set_subject(Subject::new(sub)?)?;
//!     logout.tie(session, sid)
//! }
//!
//! // In the handler of the POST that the provider sends to `backchannel_logout_uri`:
//! async fn logged_out(
//!     logout: &BackChannelLogout,
//!     content_type: Option<&str>,
//!     body: &[u8],
//! ) -> Answer {
//!     logout.receive(content_type, body).await
//! }
//! ```
//!
//! An [`Answer`] is a status, headers and a body. On axum that handler is:
//!
//! ```
//! use axum::body::Bytes;
//! use axum::extract::State;
//! use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
//! use axum::response::{IntoResponse, Response};
//! use cloakroom_oidc::BackChannelLogout;
//!
//! async fn logged_out(
//!     State(logout): State<BackChannelLogout>,
//!     headers: HeaderMap,
//!     body: Bytes,
//! ) -> Response {
//!     let content_type = headers.get(CONTENT_TYPE);
//!     let content_type = content_type.and_then(|value| value.to_str().ok());
//!     let answer = logout.receive(content_type, &body).await;
//!     let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
//!     (status, answer.headers, answer.body).into_response()
//! }
//! ```
//!
//! and on actix-web:
//!
//! ```
//! use actix_web::http::{StatusCode, header::CONTENT_TYPE};
//! use actix_web::web::{Bytes, Data};
//! use actix_web::{HttpRequest, HttpResponse};
//! use cloakroom_oidc::BackChannelLogout;
//!
//! async fn logged_out(
//!     logout: Data<BackChannelLogout>,
//!     request: HttpRequest,
//!     body: Bytes,
//! ) -> HttpResponse {
//!     let content_type = request.headers().get(CONTENT_TYPE);
//!     let content_type = content_type.and_then(|value| value.to_str().ok());
//!     let answer = logout.receive(content_type, &body).await;
//!     let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
//!     let mut response = HttpResponse::build(status);
//!     for header in answer.headers {
//!         response.insert_header(header);
//!     }
//!     response.body(answer.body)
//! }
//! ```
//!
//! It needs no session, and a guard against forged forms must let it through: the token is
//! its proof. Let the framework read [`BODY_BYTES_MAX`] of a body at most.
//!
//! # What ends
//!
//! | the token names | what ends |
//! |---|---|
//! | `sid`, or `sid` and `sub` | the sessions that were [tied](BackChannelLogout::tie) to that one of the provider, and no other |
//! | `sub` alone | all sessions that this subject has by then, also those that began without the provider |
//! | what nobody here has | nothing, and the answer is the same |
//!
//! Whoever comes back with such a session is told
//! [`LoggedOutElsewhere`](cloakroom_core::store::EndReason::LoggedOutElsewhere), and the name
//! of the provider as the note. A login that was not tied ends by `sub` alone: a site that
//! forgets to tie gets an [`Answer`] whose `ended` is 0 for each `sid`.
//!
//! A `sid` ends a session for as long as it lives, however it is lengthened. **A logout may come
//! before its login is over:** while the handler that logs in still waits for something, or
//! while the session is being written. A login by that `sid` which is written within an hour
//! after the logout ends as soon as it is written. Its answer is that of a login, with a cookie
//! that opens nothing; the next request is told why. A login that is written later than that
//! stays, and so does each that is written after a logout by `sub` alone.
//!
//! # What it costs
//!
//! A login that is tied costs a write and a list more, and so does what gives a tied session
//! more time, which also removes what the write replaces: a step-up, another login, a longer
//! expiry; without an absolute lifetime also a use, once in 30 days. Where the write fails, so does the login. Where the list fails, it cannot be
//! known whether a logout came meanwhile: the login is answered by an error, and its session is
//! handed to nobody. No other request costs more. A logout by `sid` costs a write, a list of
//! what is tied, and a list of the sessions of each subject that has some.
//!
//! # Which tokens count
//!
//! Section 2.6 of the standard, with these bounds: 16 KiB at most; signed by RS256, RS384,
//! RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA, by the one key of the provider that its
//! header names, of that kind; `typ` is `logout+jwt`, `JWT` or missing; `iss` and `aud` are
//! ours; `iat` lies within ten minutes; `exp` has not passed, with a minute for clocks that
//! differ; `events` has the member of the standard; there is no `nonce`, not even an empty
//! one; `sub` or `sid`; and a `jti` that was not carried out before.
//!
//! A security event of CAEP comes to the same address as `application/secevent+jwt`. It must
//! have that `typ` and needs no `exp`; whom it means stands in `sub_id`, or in the event as
//! drafts have it: `iss_sub`, `opaque` for a session, or `complex` with both. It is answered
//! by RFC 8935: with a 202, or with a 503 where keys or the store fail, so that it is sent again.
//! Transmitters push; this crate asks none.
//!
//! # Several nodes
//!
//! Each node remembers the `jti` of 10,000 tokens on its own, for twenty minutes. A token
//! that reaches two nodes is carried out twice, and the second finds nothing to end. Whoever
//! has got hold of a token with a `sub` alone can send it to another node within ten minutes, and
//! logs out who has logged in since. What is tied lies in the store, so any node ends what
//! another one began.
//!
//! # Keys
//!
//! [`Keys::given`] takes the JSON of the provider's key set, [`Keys::fetched`] a closure that
//! fetches it by the site's own HTTP client, in a task of its own. While they cannot be fetched,
//! tokens by unknown keys are refused as `temporarily_unavailable`, and those by known ones count.
//!
//! Headers and keys are read by [jsonwebtoken](https://docs.rs/jsonwebtoken), without a backend
//! of its own: that is one for the whole process, and the application's to choose. Signatures
//! are checked by [ring](https://docs.rs/ring), which needs a C compiler. RSA keys have 2,048
//! bits at least.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod keys;
mod logout;
mod seen;
mod signature;
mod token;

pub use answer::Answer;
pub use keys::{KEY_SET_BYTES_MAX, Keys};
pub use logout::{BODY_BYTES_MAX, BackChannelLogout};
