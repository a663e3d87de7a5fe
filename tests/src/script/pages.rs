//! What the handlers of the script do with their sessions, whatever the framework.

use std::convert::Infallible;

use axum::body::Bytes;
use cloakroom::session::Session;
use cloakroom::{Aal, Error, Subject};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Meetings;

/// `GET /read`: the number `n`, or `-`.
///
/// # Errors
/// The session's.
pub fn read(session: &Session) -> Result<String, Error> {
    let n = session.get::<u64>("n")?;
    Ok(n.map_or_else(|| "-".to_owned(), |n| n.to_string()))
}

/// `POST /count`: adds 1 to `n`, and answers it.
///
/// # Errors
/// The session's.
pub fn count(session: &Session) -> Result<String, Error> {
    session.update("n", |n: &mut u64| *n += 1)?;
    read(session)
}

/// `POST /too-long`: fails after it has counted, since no name is that long.
///
/// # Errors
/// Always.
pub fn too_long(session: &Session) -> Result<String, Error> {
    count(session)?;
    session.insert(&"x".repeat(100_000), 1)?;
    Ok("a name of 100,000 bytes".to_owned())
}

/// `GET /whose`: the subject, or `nobody`.
#[must_use]
pub fn whose(session: &Session) -> String {
    let subject = session.subject();
    subject.map_or_else(|| "nobody".to_owned(), |who| who.as_str().to_owned())
}

/// `POST /login/{name}`: logs in; the status to answer with, beside `in`.
///
/// # Errors
/// The session's.
pub fn login(session: &Session, name: &str) -> Result<u16, Error> {
    session.set_subject(Subject::new(name)?)?;
    session.insert("of-login", name)?;
    Ok(if name == "failing" { 500 } else { 200 })
}

/// `POST /prove`: answers `proven`.
///
/// # Errors
/// The session's, and where nobody is logged in.
pub fn prove(session: &Session) -> Result<String, Error> {
    session.reauthenticated(Aal::Two)?;
    Ok("proven".to_owned())
}

/// `POST /logout`: answers `out`.
///
/// # Errors
/// The session's.
pub fn logout(session: &Session) -> Result<String, Error> {
    session.flush()?;
    Ok("out".to_owned())
}

/// `POST /late`: what another request does between the two meetings, this one does not
/// know of.
///
/// # Errors
/// The session's.
pub async fn late(session: &Session, meetings: &Meetings) -> Result<String, Error> {
    meetings.pair().await;
    meetings.pair().await;
    count(session)
}

/// `GET /stream`, once it has counted: a body whose second line is made when the head has
/// left, and says what became of a change.
pub fn stream(
    session: Session,
    meetings: Meetings,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let first = stream::once(async { Ok(Bytes::from_static(b"begun\n")) });
    let second = stream::once(async move {
        meetings.pair().await;
        Ok(Bytes::from_static(
            change_after_the_head(&session).as_bytes(),
        ))
    });
    first.chain(second)
}

/// `GET /socket`, once it has counted and its 101 has left: waits for a frame, tries to
/// change the session, and answers in a text frame whether that was `refused`.
///
/// A framework that has frames of its own uses those, with
/// [`change_after_the_head`].
///
/// # Panics
/// Where the connection ends.
pub async fn socket(session: Session, mut connection: impl AsyncRead + AsyncWrite + Unpin) {
    let mut frame = [0; 8];
    let read = connection.read_exact(&mut frame).await;
    read.expect("a masked frame of two bytes");
    let text = change_after_the_head(&session).as_bytes();
    let length = u8::try_from(text.len()).expect("a short text");
    let frame = [&[0x81, length], text].concat();
    let written = connection.write_all(&frame).await;
    written.expect("the client reads its frame");
}

/// Whether a change of a session is `refused` or `changed`, where the head of the response
/// has left.
#[must_use]
pub fn change_after_the_head(session: &Session) -> &'static str {
    match session.insert("n", 1_000) {
        Ok(()) => "changed",
        Err(_) => "refused",
    }
}
