//! A cart that needs no account, and outlives logging in.

use std::collections::BTreeMap;

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use cloakroom::Error;
use cloakroom::axum::Session;
use maud::{Markup, html};

use super::Answer;
use crate::layout::Page;
use crate::notice;
use crate::post::Post;
use crate::problem;
use crate::visitor::Visitor;

/// Of one thing, so many.
const QUANTITY_MAX: u32 = 99;

struct Good {
    id: &'static str,
    name: &'static str,
    price_cents: u32,
}

const fn good(id: &'static str, name: &'static str, price_cents: u32) -> Good {
    Good {
        id,
        name,
        price_cents,
    }
}

const GOODS: [Good; 5] = [
    good("scarf", "Wool scarf", 3_900),
    good("umbrella", "Umbrella, black", 2_450),
    good("gloves", "Leather gloves", 5_200),
    good("hat", "Felt hat", 6_800),
    good("hanger", "Beech hanger", 750),
];

/// How many of what, by the ids of [`GOODS`].
type Cart = BTreeMap<String, u32>;

/// What the address says right after something was put into the cart.
const CHANGED: &str = "changed";
/// The same, after the last of something was taken out.
const TAKEN_OUT: &str = "taken-out";

/// The id of what is wrong with a quantity.
const PROBLEM: &str = "problem";
/// The id of what is in the cart.
const CART: &str = "in-cart";

/// A number of things that was refused.
struct Refused<'a> {
    id: &'static str,
    typed: &'a str,
}

pub(crate) async fn page(session: Session, RawQuery(query): RawQuery) -> Answer {
    let was_lost = query.as_deref() == Some(CHANGED) && !session.exists();
    Ok(show(&session, was_lost, None)?)
}

/// The page; of a form that was refused, with what was typed.
fn show(
    session: &Session,
    was_lost: bool,
    refused: Option<&Refused<'_>>,
) -> Result<Response, Error> {
    let visitor = Visitor::of(session)?;
    let cart: Cart = session.get("cart")?.unwrap_or_default();
    let lines: Vec<(&Good, u32)> = GOODS
        .iter()
        .filter_map(|good| Some((good, *cart.get(good.id)?)))
        .collect();
    let content = html! {
        @if was_lost { (notice::cookie_blocked("Nothing was put into your cart.")) }
        @if lines.is_empty() {
            p.lead id=(CART) tabindex="-1" { "Your cart is empty." }
        } @else {
            (filled(&visitor, &lines, refused))
        }
        h2 { "For sale" }
        ul.rows {
            @for good in &GOODS {
                li {
                    span.what { (good.name) }
                    span.price { (money(good.price_cents.into())) }
                    (visitor.form("/cart/add", html! {
                        (item(good))
                        button id=(add_button(good.id))
                            aria-label=(format!("Add {}", good.name)) { "Add" }
                    }))
                }
            }
        }
        @if !visitor.is_logged_in() {
            p.quiet.below {
                "You can fill your cart first and " a href="/login" { "log in" }
                " later: it comes along."
            }
        }
    };
    let page = Page {
        at: "/cart",
        title: "Cart",
        visitor: Some(&visitor),
        content,
    };
    Ok(match refused {
        Some(_) => page.render_refused(),
        None => page.render(),
    })
}

fn filled(visitor: &Visitor, lines: &[(&Good, u32)], refused: Option<&Refused<'_>>) -> Markup {
    let costs = |(good, count): &(&Good, u32)| u64::from(good.price_cents) * u64::from(*count);
    let total: u64 = lines.iter().map(costs).sum();
    html! {
        @if refused.is_some() {
            p.failed id=(PROBLEM) role="alert" {
                "The quantity must be a whole number from 0 to " (QUANTITY_MAX) "."
            }
        }
        ul.rows id=(CART) tabindex="-1" aria-label="In your cart" {
            @for line @ (good, count) in lines {
                li {
                    span.what { (good.name) }
                    span.price { (money(costs(line))) }
                    (visitor.form("/cart/change", html! {
                        (item(good))
                        label {
                            span.unseen { "Quantity: " (good.name) }
                            (quantity_field(*count, refused.filter(|refused| refused.id == good.id)))
                        }
                        button id=(change_button(good.id))
                            aria-label=(format!("Update {}", good.name)) { "Update" }
                        button.plain formaction="/cart/remove" formnovalidate
                            aria-label=(format!("Remove {}", good.name)) { "Remove" }
                    }))
                }
            }
            li.total {
                span.what { "Total" }
                span.price { (money(total)) }
                (visitor.form("/cart/empty", html! { button.plain { "Empty the cart" } }))
            }
        }
    }
}

fn quantity_field(count: u32, refused: Option<&Refused<'_>>) -> Markup {
    let shown = refused.map_or_else(|| count.to_string(), |refused| refused.typed.to_owned());
    let is_wrong = refused.is_some();
    html! {
        input type="number" name="count" value=(shown) min="0" max=(QUANTITY_MAX) required
            autofocus[is_wrong] aria-invalid=[is_wrong.then_some("true")]
            aria-describedby=[is_wrong.then_some(PROBLEM)];
    }
}

fn item(good: &Good) -> Markup {
    html! { input type="hidden" name="item" value=(good.id); }
}

fn add_button(id: &str) -> String {
    format!("add-{id}")
}

fn change_button(id: &str) -> String {
    format!("change-{id}")
}

fn money(cents: u64) -> String {
    format!("€{}.{:02}", cents / 100, cents % 100)
}

pub(crate) async fn add(post: Post) -> Answer {
    let Some(id) = wanted(&post) else {
        return Ok(no_such_thing());
    };
    change_cart(&post.session, move |cart| {
        let count = cart.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1).min(QUANTITY_MAX);
    })?;
    Ok(notice::to("/cart", CHANGED, &add_button(id)))
}

pub(crate) async fn change(post: Post) -> Answer {
    let Some(id) = wanted(&post) else {
        return Ok(no_such_thing());
    };
    let typed = post.field("count");
    let count = typed.trim().parse();
    let Some(count) = count.ok().filter(|count| *count <= QUANTITY_MAX) else {
        let page = show(&post.session, false, Some(&Refused { id, typed }))?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    };
    if count == 0 {
        return take_out(&post, id);
    }
    change_cart(&post.session, move |cart| {
        cart.insert(id.to_owned(), count);
    })?;
    Ok(notice::to("/cart", CHANGED, &change_button(id)))
}

pub(crate) async fn remove(post: Post) -> Answer {
    match wanted(&post) {
        Some(id) => take_out(&post, id),
        None => Ok(no_such_thing()),
    }
}

fn take_out(post: &Post, id: &'static str) -> Answer {
    change_cart(&post.session, move |cart| {
        cart.remove(id);
    })?;
    Ok(notice::to("/cart", TAKEN_OUT, CART))
}

pub(crate) async fn empty(post: Post) -> Answer {
    post.session.remove("cart")?;
    Ok(notice::to("/cart", TAKEN_OUT, CART))
}

/// Changes the cart in place, so that two tabs can; an empty one is no entry.
fn change_cart(
    session: &Session,
    mut change: impl FnMut(&mut Cart) + Send + 'static,
) -> Result<(), Error> {
    session.update_with("cart", move |cart: Option<Cart>| {
        let mut cart = cart.unwrap_or_default();
        change(&mut cart);
        Some(cart).filter(|cart| !cart.is_empty())
    })
}

/// The thing that the form means, if we have it.
fn wanted(post: &Post) -> Option<&'static str> {
    let wanted = post.field("item");
    GOODS.iter().map(|good| good.id).find(|id| *id == wanted)
}

fn no_such_thing() -> Response {
    problem::page(
        StatusCode::UNPROCESSABLE_ENTITY,
        "No such thing",
        "We do not sell that, so your cart is as it was.",
    )
}
