//! How the token travels: in a cookie, or in headers.

use std::fmt;
use std::time::Duration;

use cloakroom_core::{Error, Token};

use crate::{BearerPolicy, CookiePolicy, Held};

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
pub struct Presented {
    /// The first well-formed token.
    pub token: Option<Token>,
    /// How many there were, well formed or not.
    pub count: usize,
    /// Which of the policy's cookies there were.
    pub held: Held,
}

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
        held: Held,
    ) -> Result<Vec<ResponseHeader>, Error> {
        match self {
            Self::Cookie(policy) => policy.set(token, age, held).map(set_cookies),
            Self::Bearer(policy) => Ok(vec![policy.set(token)?]),
        }
    }

    pub(crate) fn removal(&self, held: Held) -> Vec<ResponseHeader> {
        match self {
            Self::Cookie(policy) => set_cookies(policy.removal(held)),
            Self::Bearer(policy) => vec![policy.removal()],
        }
    }
}

fn set_cookies(texts: Vec<String>) -> Vec<ResponseHeader> {
    let texts = texts.into_iter();
    texts
        .map(|text| ResponseHeader::new("set-cookie", text))
        .collect()
}

/// A response header that carries a token, or takes one away. Its value is as
/// secret as the token: `Debug` prints the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHeader {
    name: String,
    value: Token,
}

impl ResponseHeader {
    pub(crate) fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: Token::new(value),
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value: ASCII without control characters.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.expose()
    }
}

impl fmt::Debug for ResponseHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseHeader({}: ..)", self.name)
    }
}
