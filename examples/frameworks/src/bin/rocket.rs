//! Cloakroom on Rocket, which has header types of its own: a fairing gives each request an
//! exchange, a request guard opens it.
//!
//! `cargo run --bin rocket 127.0.0.1:3000`

use std::io::Cursor;
use std::net::SocketAddr;
use std::ops::Deref;

use cloakroom::engine::{Closing, Exchange};
use cloakroom::{CookiePolicy, Engine, Error, ErrorKind, Subject, session};
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::{Header, Status};
use rocket::request::{FromRequest, Outcome};
use rocket::response::Responder;
use rocket::{Config, Data, Request, Response, get, post, routes};

/// The fairing: an exchange for each request, closed before the headers leave.
struct Sessions(Engine);

/// What the fairing leaves for the guard; `None` where there is no fairing.
struct OfRequest(Option<Exchange>);

#[rocket::async_trait]
impl Fairing for Sessions {
    fn info(&self) -> Info {
        Info {
            name: "Cloakroom sessions",
            kind: Kind::Request | Kind::Response,
        }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        request.local_cache(|| OfRequest(Some(self.0.exchange())));
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let OfRequest(Some(exchange)) = request.local_cache(|| OfRequest(None)) else {
            return;
        };
        let closing = exchange.close(response.status().code).await;
        let existing: Vec<Header<'_>> = response.headers().clone().into_iter().collect();
        let lower = |header: &Header<'_>| header.name().as_str().to_lowercase();
        let mut names: Vec<String> = existing.iter().map(lower).collect();
        if let Some(error) = &closing.failure {
            // Nothing of the handler's is left.
            names
                .drain(..)
                .for_each(|name| response.remove_header(&name));
            response.set_status(Status::new(Closing::status_of(error)));
            response.set_sized_body(0, Cursor::new(""));
        }
        let texts = names.iter().zip(&existing);
        let texts = texts.map(|(name, header)| (name.as_str(), header.value()));
        for edit in closing.header_edits(texts) {
            let header = Header::new(edit.name().to_owned(), edit.value().to_owned());
            match edit.appends() {
                true => response.adjoin_header(header),
                false => drop(response.set_header(header)),
            }
        }
    }
}

/// The session of the request, as a handler's argument.
struct Session(session::Session);

impl Deref for Session {
    type Target = session::Session;

    fn deref(&self) -> &session::Session {
        &self.0
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Session {
    type Error = Error;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Error> {
        // Rocket logs the error of a guard.
        let failed = |error| Outcome::Error((Status::InternalServerError, error));
        let OfRequest(Some(exchange)) = request.local_cache(|| OfRequest(None)) else {
            return failed(Error::new(
                ErrorKind::Misconfigured,
                "no fairing of sessions",
            ));
        };
        let dest = request.headers().get_one("sec-fetch-dest");
        exchange.note_fetch_dest(dest.map(str::as_bytes));
        let values = request.headers().get(exchange.transport().request_header());
        match exchange.open(values.map(str::as_bytes)).await {
            Ok(session) => Outcome::Success(Self(session)),
            Err(error) => failed(error),
        }
    }
}

/// A session error, as a handler returns it.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl<'r> Responder<'r, 'static> for Failed {
    fn respond_to(self, request: &'r Request<'_>) -> rocket::response::Result<'static> {
        Status::new(Closing::status_of(&self.0)).respond_to(request)
    }
}

#[get("/")]
fn read(session: Session) -> Result<String, Failed> {
    let visits: u64 = session.get("visits")?.unwrap_or(0);
    let who = session.subject();
    let who = who.map_or_else(|| "nobody".to_owned(), |who| who.as_str().to_owned());
    Ok(format!("{who} {visits}"))
}

#[post("/count")]
fn count(session: Session) -> Result<String, Failed> {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    read(session)
}

#[post("/login/<name>")]
fn login(session: Session, name: &str) -> Result<String, Failed> {
    session.set_subject(Subject::new(name)?)?;
    read(session)
}

#[post("/logout")]
fn logout(session: Session) -> Result<&'static str, Failed> {
    session.flush()?;
    Ok("bye")
}

/// Counts, and fails: what it has counted is dropped.
#[post("/fail")]
fn fail(session: Session) -> Result<Status, Failed> {
    count(session)?;
    Ok(Status::InternalServerError)
}

#[rocket::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = cloakroom::open("memory:").await?;
    // The sites of these examples speak plain http.
    let engine = Engine::builder(store).cookie(CookiePolicy::loopback_http());
    let addr = std::env::args().nth(1);
    let addr: SocketAddr = addr.as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let config = Config {
        address: addr.ip(),
        port: addr.port(),
        ..Config::default()
    };
    let site = rocket::custom(config).attach(Sessions(engine.build()?));
    let site = site.mount("/", routes![read, count, login, logout, fail]);
    site.launch().await?;
    Ok(())
}
