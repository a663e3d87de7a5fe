//! What the provider is answered.

use std::error::Error as StdError;

use serde_json::json;

use crate::token::Kind;

/// A response to the provider, in parts that any framework can send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// 200 where the sessions have ended, 202 for a security event, 400 for a token that is
    /// refused. What could not be carried out, and may be sent again, is a 503 for an event, by
    /// RFC 8935, and a 400 for a logout token, since OpenID Connect knows no other.
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
    /// By RFC 8935.
    code: &'static str,
    pub(crate) description: &'static str,
    /// What failed here, where it is not the token's fault.
    pub(crate) failure: Option<BoxError>,
}

impl Refused {
    pub(crate) const fn invalid(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) const fn of_key(description: &'static str) -> Self {
        Self::new("invalid_key", description)
    }

    pub(crate) const fn of_issuer(description: &'static str) -> Self {
        Self::new("invalid_issuer", description)
    }

    pub(crate) const fn of_audience(description: &'static str) -> Self {
        Self::new("invalid_audience", description)
    }

    /// Not the token's fault: the provider may send it again.
    pub(crate) fn failed(description: &'static str, failure: BoxError) -> Self {
        Self {
            failure: Some(failure),
            ..Self::invalid(description)
        }
    }

    const fn new(code: &'static str, description: &'static str) -> Self {
        Self {
            code,
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
        let why = match outcome {
            Ok(ended) => {
                let status = match kind {
                    Kind::Logout => 200,
                    Kind::Event => 202,
                };
                return Self::new(status, String::new(), ended);
            }
            Err(why) => why,
        };
        let told = why.description;
        let (status, body) = match (kind, why.failure) {
            (Kind::Logout, failure) => {
                let error = match failure {
                    Some(_) => "temporarily_unavailable",
                    None => "invalid_request",
                };
                (400, json!({"error": error, "error_description": told}))
            }
            (Kind::Event, Some(_)) => (503, json!({"description": told})),
            (Kind::Event, None) => (400, json!({"err": why.code, "description": told})),
        };
        Self::new(status, body.to_string(), 0)
    }

    fn new(status: u16, body: String, ended: usize) -> Self {
        Self {
            status,
            headers: HEADERS,
            body,
            ended,
        }
    }
}
