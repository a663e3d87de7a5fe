//! Logging in, on actix-web: a page for those who are logged in, and the way back to it.
//!
//! `cargo run -p cloakroom-examples --bin login_actix`, then
//! <http://127.0.0.1:3000/account>: ada's password is `engine`.

use std::borrow::Cow;

use actix_web::web::{Form, Html, Query, Redirect, get, post};
use actix_web::{App, Either, HttpResponse, HttpServer};
use cloakroom::actix::{LoggedIn, Session, SessionMiddleware};
use cloakroom::{Engine, Subject, is_local_path};
use serde::Deserialize;

/// Where the visitor wanted to go: the middleware adds it to the address of the login page.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    next: String,
}

impl Wanted {
    /// The path if it is one of this site: anybody can make a link with another one.
    fn path(self) -> Cow<'static, str> {
        match is_local_path(&self.next) {
            true => self.next.into(),
            false => "/account".into(),
        }
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

/// The id of the user with this name and password. A real site asks its database, and
/// compares hashes, by a crate such as argon2.
fn find_user(given: &Credentials) -> Option<&'static str> {
    (given.name == "ada" && given.password == "engine").then_some("1815")
}

async fn login_page() -> Html {
    // Without an `action` the form is sent to the address of this page, `next` included.
    Html::new(
        "<form method=post>
        <label>Name <input name=name></label>
        <label>Password <input name=password type=password></label>
        <button>Log in</button></form>",
    )
}

async fn log_in(
    session: Session,
    wanted: Query<Wanted>,
    given: Form<Credentials>,
) -> actix_web::Result<Either<Redirect, HttpResponse>> {
    let Some(user_id) = find_user(&given) else {
        let response = HttpResponse::Unauthorized().body("Wrong name or password.\n");
        return Ok(Either::Right(response));
    };
    // The session moves to a new key: whoever knew the old one gains nothing by this login.
    session.set_subject(Subject::new(user_id)?)?;
    Ok(Either::Left(
        Redirect::to(wanted.into_inner().path()).see_other(),
    ))
}

async fn log_out(session: Session) -> actix_web::Result<Redirect> {
    session.flush()?;
    Ok(Redirect::to("/login").see_other())
}

/// A visitor who is not logged in does not get here: `LoggedIn` sends them to the login page.
async fn account(visitor: LoggedIn) -> Html {
    let user_id = visitor.subject().as_str();
    Html::new(format!(
        "<p>You are user {user_id}.
        <form method=post action=/logout><button>Log out</button></form>"
    ))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    // Outside the closure, which is called for each worker: all of them share one engine.
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = move || {
        App::new()
            .route("/account", get().to(account))
            .route("/login", get().to(login_page))
            .route("/login", post().to(log_in))
            .route("/logout", post().to(log_out))
            .wrap(SessionMiddleware::new(engine.clone()).login_page("/login"))
    };
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let server = HttpServer::new(app).bind(format!("127.0.0.1:{port}"))?;
    for addr in server.addrs() {
        println!("http://{addr}/account");
    }
    server.run().await?;
    Ok(())
}
