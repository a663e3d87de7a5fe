//! How the token travels: in a cookie, or in headers.

use std::time::Duration;

use cloakroom_core::engine::Token;
use cloakroom_core::{Error, Site};

use crate::adopt::FormerCookie;
use crate::{BearerPolicy, ClientState, CookiePolicy, HeaderEdit};

/// How the token travels between client and engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// In a cookie, for browsers.
    Cookie(CookiePolicy),
    /// In headers, for APIs.
    Bearer(BearerPolicy),
}

/// What a request presented as its token.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Presented {
    /// The first well-formed token.
    pub token: Option<Token>,
    /// Further well-formed tokens, in their order: three at most.
    pub others: Vec<Token>,
    /// How many there were, well formed or not.
    pub count: usize,
    /// Which of the policy's cookies the browser holds.
    pub state: ClientState,
    /// Well-formed tokens in cookies of policies that this one replaces.
    pub former_tokens: Vec<Token>,
    /// Which cookies of those policies the browser holds.
    pub(crate) formers: Vec<(usize, ClientState)>,
    /// Cookies of other libraries, whose sessions may be adopted.
    pub(crate) adoptable: Vec<FormerCookie>,
    /// The values of bound cookies; `None` where no headers were looked at.
    pub(crate) bound: Option<Vec<Vec<u8>>>,
}

impl Presented {
    /// Keeps a well-formed token, if there is room for it and it is another one.
    pub(crate) fn keep(&mut self, token: Token) {
        match &self.token {
            None => self.token = Some(token),
            Some(first) => {
                let is_new = *first != token && !self.others.contains(&token);
                if is_new && self.others.len() + 1 < TOKENS_TRIED_MAX {
                    self.others.push(token);
                }
            }
        }
    }
}

/// How many well-formed tokens of one request are tried: a browser may hold cookies of
/// one name for several paths and domains.
const TOKENS_TRIED_MAX: usize = 4;

impl Transport {
    /// The request header that carries the token: what an adapter hands to
    /// [`Exchange::open`](crate::Exchange::open), and what a response that
    /// depends on the session varies on.
    #[must_use]
    pub fn request_header(&self) -> &'static str {
        match self {
            Self::Cookie(_) => "Cookie",
            Self::Bearer(_) => "Authorization",
        }
    }

    pub(crate) fn find<'h>(
        &self,
        headers: impl Iterator<Item = &'h [u8]>,
        is_well_formed: impl Fn(&str) -> bool,
    ) -> Presented {
        match self {
            Self::Cookie(policy) => policy.find(headers, is_well_formed),
            Self::Bearer(policy) => policy.find(headers, is_well_formed),
        }
    }

    pub(crate) fn set(
        &self,
        token: &Token,
        age: Option<Duration>,
        state: ClientState,
    ) -> Result<Vec<HeaderEdit>, Error> {
        match self {
            Self::Cookie(policy) => policy.set(token, age, state).map(set_cookies),
            Self::Bearer(policy) => Ok(vec![policy.set(token)?]),
        }
    }

    /// The site of an engine that names none.
    pub(crate) fn default_site(&self) -> Site {
        let name = match self {
            Self::Cookie(policy) => policy.name(),
            Self::Bearer(_) => "bearer",
        };
        Site::new(name).expect("the name of a cookie is short, and holds no control character")
    }

    /// Whether a token can be sent whatever its age.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](cloakroom_core::ErrorKind::TooLarge), saying by how
    /// much not.
    pub(crate) fn check_length(&self, token: &Token) -> Result<(), Error> {
        match self {
            Self::Cookie(policy) => policy.check_length(token),
            Self::Bearer(_) => Ok(()),
        }
    }

    /// # Errors
    /// [`ErrorKind::Misconfigured`](cloakroom_core::ErrorKind::Misconfigured) where the
    /// policies that this one replaces cannot be told from it.
    pub(crate) fn check_formers(&self, names_site: bool) -> Result<(), Error> {
        match self {
            Self::Cookie(policy) => policy.check_formers(names_site),
            Self::Bearer(_) => Ok(()),
        }
    }

    /// Whether the end of a session clears what the browser keeps of the site.
    pub(crate) fn clears_site_data(&self) -> bool {
        matches!(self, Self::Cookie(policy) if policy.clears_site_data())
    }

    /// Takes away what the client holds of former policies.
    pub(crate) fn former_removals(&self, presented: &[(usize, ClientState)]) -> Vec<HeaderEdit> {
        match self {
            Self::Cookie(policy) => set_cookies(policy.former_removals(presented).collect()),
            Self::Bearer(_) => Vec::new(),
        }
    }

    pub(crate) fn removal(&self, state: ClientState) -> Vec<HeaderEdit> {
        match self {
            Self::Cookie(policy) => set_cookies(policy.removal(state)),
            Self::Bearer(policy) => vec![policy.removal()],
        }
    }
}

fn set_cookies(texts: Vec<String>) -> Vec<HeaderEdit> {
    let texts = texts.into_iter();
    texts
        .map(|text| HeaderEdit::append_secret("set-cookie", text))
        .collect()
}
