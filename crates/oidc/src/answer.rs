//! What the provider is answered.

use std::error::Error as StdError;

use serde_json::json;

use crate::token::Kind;

/// A response to the provider, in parts that any framework can send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// 200 where the sessions have ended, 202 for a security event, 400 for a token that is
    /// refused or could not be carried out.
    pub status: u16,
    /// `Cache-Control: no-store`, and the type of the body.
    pub headers: [(&'static str, &'static str); 2],
    /// Empty, or why it was refused, as JSON.
    pub body: String,
    /// How many sessions have ended.
    pub ended: usize,
}

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a token is refused. It holds nothing of the token.
#[derive(Debug)]
pub(crate) struct Refused {
    /// By RFC 6749 and by RFC 8935.
    codes: (&'static str, &'static str),
    pub(crate) description: &'static str,
    /// What failed here, where it is not the token's fault.
    pub(crate) failure: Option<BoxError>,
}

impl Refused {
    pub(crate) const fn invalid(description: &'static str) -> Self {
        Self::new(("invalid_request", "invalid_request"), description)
    }

    pub(crate) const fn of_key(description: &'static str) -> Self {
        Self::new(("invalid_request", "invalid_key"), description)
    }

    pub(crate) const fn of_issuer(description: &'static str) -> Self {
        Self::new(("invalid_request", "invalid_issuer"), description)
    }

    pub(crate) const fn of_audience(description: &'static str) -> Self {
        Self::new(("invalid_request", "invalid_audience"), description)
    }

    /// Not the token's fault: the provider may send it again.
    pub(crate) fn failed(description: &'static str, failure: BoxError) -> Self {
        Self {
            failure: Some(failure),
            ..Self::new(("temporarily_unavailable", "invalid_request"), description)
        }
    }

    const fn new(codes: (&'static str, &'static str), description: &'static str) -> Self {
        Self {
            codes,
            description,
            failure: None,
        }
    }
}

const HEADERS: [(&str, &str); 2] = [
    ("cache-control", "no-store"),
    ("content-type", "application/json"),
];

impl Answer {
    pub(crate) fn of(kind: Kind, outcome: Result<usize, Refused>) -> Self {
        match (outcome, kind) {
            (Ok(ended), Kind::Logout) => Self::done(200, ended),
            (Ok(ended), Kind::Event) => Self::done(202, ended),
            (Err(why), _) => Self {
                status: 400,
                headers: HEADERS,
                body: match kind {
                    Kind::Logout => {
                        json!({"error": why.codes.0, "error_description": why.description})
                    }
                    Kind::Event => json!({"err": why.codes.1, "description": why.description}),
                }
                .to_string(),
                ended: 0,
            },
        }
    }

    fn done(status: u16, ended: usize) -> Self {
        Self {
            status,
            headers: HEADERS,
            body: String::new(),
            ended,
        }
    }
}
