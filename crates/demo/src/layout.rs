//! What all pages have in common.

use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::assets::{ICON, STYLE};
use crate::visitor::Visitor;
use crate::{bill, ended};

/// The ways through the site; the name at the top leads home.
const WAYS: [(&str, &str); 7] = [
    ("/count", "Counter"),
    ("/cart", "Cart"),
    ("/test-cookie", "Test cookie"),
    ("/admin", "Admin mode"),
    ("/devices", "Your devices"),
    ("/record", "What is stored"),
    ("/about", "About"),
];

/// A page, before it is dressed.
pub(crate) struct Page<'a> {
    /// Its address, where it is the front page or one of the [`WAYS`].
    pub(crate) at: &'a str,
    pub(crate) title: &'a str,
    /// Who looks at it; `None` on a page that does not ask, and on an error.
    pub(crate) visitor: Option<&'a Visitor>,
    pub(crate) content: Markup,
}

impl Page<'_> {
    pub(crate) fn render(self) -> Response {
        self.dress("", bill::room())
    }

    /// After a form that was not accepted. The title says so: it is what a screen reader
    /// reads first.
    pub(crate) fn render_refused(self) -> Response {
        self.dress("Error: ", bill::room())
    }

    /// With something else where the bill stands.
    pub(crate) fn render_with(self, foot: Markup) -> Response {
        self.dress("", foot)
    }

    fn dress(self, before_title: &str, foot: Markup) -> Response {
        let whole_title = match self.at {
            "/" => "Cloakroom demo".to_owned(),
            _ => format!("{before_title}{} – Cloakroom", self.title),
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (whole_title) }
                    link rel="stylesheet" href=(STYLE.address());
                    link rel="icon" type="image/svg+xml" href=(ICON.address());
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        a.brand href="/" aria-current=[(self.at == "/").then_some("page")] { span.tag aria-hidden="true" { "№" } "Cloakroom" }
                        (self.account())
                        (self.ways())
                    }
                    main id="content" {
                        @if let Some(ended) = self.visitor.and_then(|visitor| visitor.ended.as_ref()) {
                            (ended::told(ended))
                        }
                        h1 { (self.title) }
                        (self.content)
                    }
                    footer { (foot) }
                }
            }
        }
        .into_response()
    }

    fn ways(&self) -> Markup {
        html! {
            nav aria-label="Pages" {
                ul {
                    @for (address, name) in WAYS {
                        li {
                            a href=(address) aria-current=[(address == self.at).then_some("page")] {
                                (name)
                            }
                        }
                    }
                }
            }
        }
    }

    fn account(&self) -> Markup {
        html! {
            div.account {
                @match self.visitor {
                    Some(visitor) if visitor.is_logged_in() => {
                        div.who {
                            p {
                                span.quiet.roomy { "Logged in as " }
                                b { (visitor.name.as_deref().unwrap_or_default()) }
                            }
                            @if visitor.is_admin { span.mark { "admin" } }
                        }
                        (visitor.button("/logout", "log-out", "Log out"))
                    }
                    Some(_) => {
                        a href="/login" { "Log in" }
                        a href="/register" { "Register" }
                    }
                    None => @if !self.at.is_empty() { p.quiet { "No session needed" } }
                }
            }
        }
    }
}

/// A cloakroom ticket: a stub that says one thing, and a body with the rest.
pub(crate) fn ticket(stub_label: &str, stub: Markup, body: Markup) -> Markup {
    html! {
        div.ticket {
            p.stub { span { (stub_label) } " " b { (stub) } }
            div { (body) }
        }
    }
}
