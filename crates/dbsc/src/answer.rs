//! What the endpoint answers.
//!
//! A browser drops the device of a session for good after a 4xx other than 403, 407 and 429. So
//! whatever may be no fault of its own is a 403 with the next challenge, or a 503.

use cloakroom_core::{Binding, Timestamp};
use cloakroom_web::{BoundCookie, DeviceAnswer, DeviceDeed, DeviceRequest, DeviceSession};
use serde::Serialize;

use crate::proof::Proof;
use crate::stamp::{Judged, Purpose, judge, session_id};
use crate::{Dbsc, Level, fields};

/// What a browser is told when it has registered.
#[derive(Serialize)]
struct Instructions<'a> {
    session_identifier: &'a str,
    refresh_url: &'a str,
    scope: Scope,
    credentials: [Credential<'a>; 1],
}

#[derive(Serialize)]
struct Scope {
    /// A `__Host-` cookie belongs to one origin.
    include_site: bool,
    scope_specification: [(); 0],
}

#[derive(Serialize)]
struct Credential<'a> {
    r#type: &'static str,
    name: &'a str,
    attributes: &'a str,
}

/// What tells a browser that its session is over.
#[derive(Serialize)]
struct Over<'a> {
    session_identifier: &'a str,
    r#continue: bool,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and booleans are JSON")
}

fn status(status: u16) -> DeviceAnswer {
    DeviceAnswer {
        status,
        ..DeviceAnswer::default()
    }
}

/// The identifier of a session, as this crate writes them; a refresh brings one, and a
/// registration none.
fn identifier<'r>(request: &DeviceRequest<'r>) -> Option<&'r str> {
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let id = request.session_id.and_then(fields::item)?;
    (id.len() <= 64 && id.bytes().all(is_ours)).then_some(id)
}

/// Refuses what no browser sends before the session is loaded: how long an answer takes must
/// tell another site nothing of whether its visitor is logged in here.
pub(crate) fn unread(request: &DeviceRequest<'_>) -> Option<DeviceAnswer> {
    let is_own = |site: &[u8]| site.eq_ignore_ascii_case(b"same-origin");
    if request.fetch_site.is_some_and(|site| !is_own(site)) {
        return Some(status(403));
    }
    match (request.session_id, request.response) {
        (None, None) => Some(status(400)),
        (Some(_), _) if identifier(request).is_none() => Some(status(400)),
        _ => None,
    }
}

/// A refresh names the session, and a registration answers a challenge of its offer.
pub(crate) fn is_asked_for(request: &DeviceRequest<'_>, binding: &Binding) -> bool {
    if let Some(id) = identifier(request) {
        return binding.key().is_some() && id == session_id(binding);
    }
    let proof = request.response.and_then(fields::item);
    // What is no proof is none for any session.
    proof.and_then(Proof::read).is_none_or(|proof| {
        let challenge = proof.challenge.as_bytes();
        judge(binding, Purpose::Registration, challenge, Timestamp::EPOCH) != Judged::Forged
    })
}

impl Dbsc {
    pub(crate) fn answer_read(
        &self,
        request: &DeviceRequest<'_>,
        session: DeviceSession<'_>,
        cookie: &BoundCookie,
        now: Timestamp,
    ) -> DeviceAnswer {
        match (session, identifier(request)) {
            (DeviceSession::Unknown, _) => status(503),
            (DeviceSession::Open(binding), Some(id)) => self.refresh(request, binding, id, now),
            (DeviceSession::Open(binding), None) => self.register(request, binding, cookie, now),
            (DeviceSession::Over, Some(id)) => over(id),
            (DeviceSession::Over, None) => status(400),
        }
    }

    /// A registration that fails is no session of the browser's, and a page or the next login
    /// offers again, so whatever is wrong is a 400.
    fn register(
        &self,
        request: &DeviceRequest<'_>,
        binding: &Binding,
        cookie: &BoundCookie,
        now: Timestamp,
    ) -> DeviceAnswer {
        let proof = request.response.and_then(fields::item);
        let Some(proof) = proof.and_then(Proof::read) else {
            return status(400);
        };
        let Some(key) = proof.key.filter(|key| proof.is_signed_by(key)) else {
            return status(400);
        };
        let challenge = proof.challenge.as_bytes();
        if judge(binding, Purpose::Registration, challenge, now) != Judged::Valid {
            return status(400);
        }
        let deed = match binding.key() {
            None => DeviceDeed::Bind(binding.clone().bound_to(key)),
            // The answer to its first try was lost.
            Some(bound) if *bound == key => DeviceDeed::Nothing,
            Some(_) => return status(400),
        };
        let instructions = Instructions {
            session_identifier: &session_id(binding),
            refresh_url: &self.path,
            scope: Scope {
                include_site: false,
                scope_specification: [],
            },
            credentials: [Credential {
                r#type: "cookie",
                name: cookie.name(),
                attributes: cookie.attributes(),
            }],
        };
        DeviceAnswer {
            status: 200,
            body: json(&instructions),
            // No challenge here: the browser takes it for an error.
            challenge: None,
            bound: Some(self.bound(binding, now)),
            deed,
        }
    }

    fn refresh(
        &self,
        request: &DeviceRequest<'_>,
        binding: &Binding,
        id: &str,
        now: Timestamp,
    ) -> DeviceAnswer {
        let own_id = session_id(binding);
        let Some(key) = binding.key().filter(|_| id == own_id) else {
            // It is that of a login before this one.
            return over(id);
        };
        let challenge = self.challenge(binding, now);
        let challenge = Some(fields::challenge(&challenge, &own_id));
        let proof = request.response.and_then(fields::item);
        let answers_challenge = |proof: &Proof<'_>| {
            let answered = proof.challenge.as_bytes();
            judge(binding, Purpose::Refresh, answered, now) == Judged::Valid
        };
        let Some(proof) = proof.and_then(Proof::read).filter(answers_challenge) else {
            return DeviceAnswer {
                challenge,
                ..status(403)
            };
        };
        if !proof.is_signed_by(key) {
            let ends = self.level != Level::Observe;
            return DeviceAnswer {
                deed: DeviceDeed::WrongKey { ends },
                ..status(400)
            };
        }
        DeviceAnswer {
            status: 200,
            body: String::new(),
            challenge,
            bound: Some(self.bound(binding, now)),
            deed: DeviceDeed::Refreshed,
        }
    }
}

fn over(id: &str) -> DeviceAnswer {
    DeviceAnswer {
        body: json(&Over {
            session_identifier: id,
            r#continue: false,
        }),
        ..status(200)
    }
}
