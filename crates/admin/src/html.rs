//! How every page of these looks.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cloakroom::Error;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::guard::{self, FormToken};

const STYLE: &str = include_str!("style.css");

/// What browsers are told of every page. The hash is the style's; a test says it.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-1g/Zpg1J73zZdLt4VKq2zcMbTmjFpKy8fHyHDN+PwIQ='; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page, before it is dressed.
pub(crate) struct Page<'a> {
    pub(crate) status: StatusCode,
    pub(crate) title: &'a str,
    /// The administrator; `None` on what anybody may see.
    pub(crate) name: Option<&'a str>,
    pub(crate) content: Markup,
}

impl Page<'_> {
    pub(crate) fn render(self) -> Response {
        let is_error = self.status.is_client_error() || self.status.is_server_error();
        let body = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { @if is_error { "Error: " } (self.title) " – Cloakroom" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        @match self.name {
                            Some(name) => {
                                a.home href="?" { "Sessions" }
                                p { "Administrator: " bdi { (name) } }
                            }
                            None => p.home { "Sessions" }
                        }
                    }
                    main id="content" tabindex="-1" {
                        h1 { (self.title) }
                        (self.content)
                    }
                }
            }
        };
        let mut response = (self.status, body).into_response();
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, POLICY),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "same-origin"),
        ] {
            let headers = response.headers_mut();
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A form that these pages may send. Browsers send it to the page's own address.
pub(crate) fn form(token: &FormToken, deed: &str, content: Markup) -> Markup {
    html! {
        form method="post" action="?" {
            input type="hidden" name=(guard::FIELD) value=(token.expose());
            input type="hidden" name="do" value=(deed);
            (content)
        }
    }
}

/// The field of the note that whoever comes back with an ended session is told.
pub(crate) fn note_field() -> Markup {
    html! {
        label {
            "What to tell them, if anything"
            input name="note" maxlength="256" autocomplete="off";
        }
    }
}

/// A message about what has been done.
pub(crate) fn done(text: &str) -> Markup {
    html! { p.done role="status" { (text) } }
}

/// What anybody is told who may not see the page, or whose form does not count.
pub(crate) fn refused(status: StatusCode, title: &str, text: &str) -> Response {
    Page {
        status,
        title,
        name: None,
        content: html! { p.lead { (text) } },
    }
    .render()
}

/// What the store has failed with, for an administrator.
pub(crate) fn failed(name: &str, status: StatusCode, what: &str, error: &Error) -> Response {
    Page {
        status,
        title: "The store failed",
        name: Some(name),
        content: html! {
            p.lead role="alert" { (what) }
            p { "The store says: " code { (error) } }
            p { a href="?" { "Back to the sessions" } }
        },
    }
    .render()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_this_style_and_no_other() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        assert!(
            POLICY.contains(&format!("style-src 'sha256-{hash}';")),
            "write sha256-{hash} into the policy"
        );
    }
}
