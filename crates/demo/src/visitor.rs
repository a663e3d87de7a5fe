//! Who looks at a page, as far as its session says.

use cloakroom::Error;
use cloakroom::session::{Ended, Session};
use maud::{Markup, html};

use crate::csrf;

/// The entry with the name to show.
pub(crate) const NAME: &str = "name";
/// The entry that says that admin mode is on.
pub(crate) const ADMIN: &str = "admin";

/// What every page's header and forms need of the session.
#[derive(Debug, Default)]
pub(crate) struct Visitor {
    /// Whoever is logged in.
    pub(crate) name: Option<String>,
    pub(crate) is_admin: bool,
    /// How the session has ended that their browser came with.
    pub(crate) ended: Option<Ended>,
    token: Option<Token>,
}

impl Visitor {
    pub(crate) fn of(session: &Session) -> Result<Self, Error> {
        if session.subject().is_none() {
            return Ok(Self {
                ended: session.ended_because(),
                ..Self::default()
            });
        }
        Ok(Self {
            name: Some(session.get(NAME)?.unwrap_or_default()),
            is_admin: session.get(ADMIN)?.unwrap_or_default(),
            ended: None,
            token: csrf::token(session)?.map(Token),
        })
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.name.is_some()
    }

    /// A form that this visitor may send.
    pub(crate) fn form(&self, action: &str, content: Markup) -> Markup {
        html! {
            form method="post" action=(action) {
                @if let Some(Token(token)) = &self.token {
                    input type="hidden" name=(csrf::NAME) value=(token);
                }
                (content)
            }
        }
    }

    /// A form that is one button, with an id by which the next page can give it the focus.
    pub(crate) fn button(&self, action: &str, id: &str, label: &str) -> Markup {
        self.form(action, html! { button id=(id) { (label) } })
    }
}

/// Not to be printed.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}
