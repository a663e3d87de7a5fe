//! A cart that needs no account, and outlives logging in.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use cloakroom::Error;
use cloakroom::axum::Session;
use maud::{Markup, html};

use super::Answer;
use crate::layout::Page;
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

pub(crate) async fn page(session: Session) -> Answer {
    let visitor = Visitor::of(&session)?;
    let cart: Cart = session.get("cart")?.unwrap_or_default();
    let lines: Vec<(&Good, u32)> = GOODS
        .iter()
        .filter_map(|good| Some((good, *cart.get(good.id)?)))
        .collect();
    let content = html! {
        @if lines.is_empty() {
            p.lead { "Your cart is empty." }
        } @else {
            (filled(&visitor, &lines))
        }
        h2 { "Things to take" }
        ul.rows {
            @for good in &GOODS {
                li {
                    span.what { (good.name) }
                    span.price { (money(good.price_cents.into())) }
                    (visitor.form("/cart/add", html! {
                        (item(good))
                        button aria-label=(format!("Add {}", good.name)) { "Add" }
                    }))
                }
            }
        }
        @if !visitor.is_logged_in() {
            p.quiet {
                "Fill it first, "
                a href="/login" { "log in" }
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
    Ok(page.render())
}

fn filled(visitor: &Visitor, lines: &[(&Good, u32)]) -> Markup {
    let costs = |(good, count): &(&Good, u32)| u64::from(good.price_cents) * u64::from(*count);
    let total: u64 = lines.iter().map(costs).sum();
    html! {
        ul.rows {
            @for line @ (good, count) in lines {
                li {
                    span.what { (good.name) }
                    span.price { (money(costs(line))) }
                    (visitor.form("/cart/change", html! {
                        (item(good))
                        label {
                            span.unseen { "How many: " (good.name) }
                            input type="number" name="count" value=(count) min="0"
                                max=(QUANTITY_MAX) required;
                        }
                        button aria-label=(format!("Change how many: {}", good.name)) { "Change" }
                        button.plain formaction="/cart/remove" formnovalidate
                            aria-label=(format!("Remove {}", good.name)) { "Remove" }
                    }))
                }
            }
            li.total {
                span.what { "Together" }
                span.price { (money(total)) }
                (visitor.form("/cart/empty", html! { button.plain { "Empty the cart" } }))
            }
        }
    }
}

fn item(good: &Good) -> Markup {
    html! { input type="hidden" name="item" value=(good.id); }
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
    Ok(back())
}

pub(crate) async fn change(post: Post) -> Answer {
    let Some(id) = wanted(&post) else {
        return Ok(no_such_thing());
    };
    let count = post.field("count").trim().parse();
    let Some(count) = count.ok().filter(|count| *count <= QUANTITY_MAX) else {
        return Ok(problem::page(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Not a number of things",
            &format!("How many must be a whole number from 0 to {QUANTITY_MAX}."),
        ));
    };
    change_cart(&post.session, move |cart| match count {
        0 => {
            cart.remove(id);
        }
        count => {
            cart.insert(id.to_owned(), count);
        }
    })?;
    Ok(back())
}

pub(crate) async fn remove(post: Post) -> Answer {
    let Some(id) = wanted(&post) else {
        return Ok(no_such_thing());
    };
    change_cart(&post.session, move |cart| {
        cart.remove(id);
    })?;
    Ok(back())
}

pub(crate) async fn empty(post: Post) -> Answer {
    post.session.remove("cart")?;
    Ok(back())
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

fn no_such_thing() -> axum::response::Response {
    problem::page(
        StatusCode::UNPROCESSABLE_ENTITY,
        "Nothing of that kind",
        "We do not have that, so the cart is as it was.",
    )
}

fn back() -> axum::response::Response {
    Redirect::to("/cart").into_response()
}
