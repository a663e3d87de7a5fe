//! A cart as a struct of the session, and a notice for the next page alone.
//!
//! `cargo run -p cloakroom-examples --bin flash_and_cart`, then <http://127.0.0.1:3000>.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use cloakroom::Engine;
use cloakroom::axum::{Session, SessionError, SessionLayer, Typed};
use cloakroom::session::SessionStruct;
use serde::{Deserialize, Serialize};

const GOODS: [&str; 3] = ["milk", "sugar", "tea"];

/// Each field is an entry of the session of its own, so that two requests at once that change
/// different fields both count.
#[derive(Default, Serialize, Deserialize)]
struct Cart {
    items: BTreeMap<String, u32>,
    is_gift: bool,
}

impl SessionStruct for Cart {
    const PREFIX: &'static str = "cart";
}

async fn page(session: Session, cart: Typed<Cart>) -> Result<Html<String>, SessionError> {
    let mut page = String::new();
    for notice in session.take_flash::<String>("notice").await? {
        page += &format!("<p><em>{notice}</em>\n");
    }
    let cart = cart.get()?;
    for (item, count) in &cart.items {
        page += &format!("<p>{count} x {item}\n");
    }
    if cart.is_gift {
        page += "<p>Wrapped as a gift.\n";
    }
    for item in GOODS {
        page += &format!(
            "<form method=post action=/add><button name=item value={item}>{item}</button></form>\n"
        );
    }
    page += "<form method=post action=/wrap><button>Wrap it</button></form>\n";
    Ok(Html(page))
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

async fn add(
    session: Session,
    cart: Typed<Cart>,
    Form(Item { item }): Form<Item>,
) -> Result<Response, SessionError> {
    // What is put into a session is bounded: a client can send any text.
    if !GOODS.contains(&item.as_str()) {
        return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
    }
    session.flash("notice", format!("{item} is in your cart."))?;
    // The closure runs again where another request has changed the cart meanwhile, on what
    // that one has left.
    cart.update(move |cart| {
        let count = cart.items.entry(item.clone()).or_default();
        *count = count.saturating_add(1);
    })?;
    Ok(Redirect::to("/").into_response())
}

async fn wrap(cart: Typed<Cart>) -> Result<Redirect, SessionError> {
    cart.update(|cart| cart.is_gift = true)?;
    Ok(Redirect::to("/"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let engine = Engine::new(cloakroom::open("memory:").await?);
    let app = Router::new()
        .route("/", get(page))
        .route("/add", post(add))
        .route("/wrap", post(wrap))
        .layer(SessionLayer::new(engine));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
