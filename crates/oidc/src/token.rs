//! What a token says, once its signature and its claims hold.

use std::time::Duration;

use cloakroom_core::Timestamp;
use jsonwebtoken::{Header, decode_header};
use serde_json::{Map, Value};

use crate::answer::Refused;
use crate::keys::Keys;
use crate::signature;

/// Bytes of the longest token that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// How old a token may be: it is sent when the logout happens. No `jti` is remembered for
/// longer.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// How far the provider's clock may be off.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Bytes of the longest `jti`.
const JTI_BYTES_MAX: usize = 256;

/// The two kinds of token that come by this door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A logout token of OpenID Connect.
    Logout,
    /// A security event token with a `session-revoked` of CAEP.
    Event,
}

impl Kind {
    /// The member of `events` that says so.
    fn event(self) -> &'static str {
        match self {
            Self::Logout => "http://schemas.openid.net/event/backchannel-logout",
            Self::Event => "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
        }
    }

    /// What the header's `typ` may be. Many providers send the plain one, or none.
    fn is_typ(self, typ: &str) -> bool {
        let typ = typ.to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        match self {
            Self::Logout => matches!(typ, "logout+jwt" | "jwt"),
            Self::Event => typ == "secevent+jwt",
        }
    }
}

/// Whom a token logs out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) sub: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) jti: String,
}

/// Checks a token of this kind from this provider to this client.
pub(crate) async fn read(
    token: &str,
    kind: Kind,
    (issuer, client_id): (&str, &str),
    keys: &Keys,
    now: Timestamp,
) -> Result<Named, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::invalid("the token is longer than 16 KiB"));
    }
    let header = decode_header(token)
        .map_err(|_| Refused::invalid("it is no signed token with an algorithm known here"))?;
    if !signature::is_by_public_key(header.alg) {
        return Err(Refused::invalid("its algorithm is none of public keys"));
    }
    // Whatever must be understood (RFC 7515, section 4.1.11) is not, here.
    if header.crit.is_some() {
        return Err(Refused::invalid("its header asks for an extension"));
    }
    let typ = header.typ.as_deref();
    if typ.is_some_and(|typ| !kind.is_typ(typ)) || (kind == Kind::Event && typ.is_none()) {
        return Err(Refused::invalid("its type is another one"));
    }
    let claims = signed_claims(token, &header, keys, now).await?;
    check(&claims, kind, (issuer, client_id), now)
}

/// The claims of a token whose signature is the provider's.
async fn signed_claims(
    token: &str,
    header: &Header,
    keys: &Keys,
    now: Timestamp,
) -> Result<Map<String, Value>, Refused> {
    let key = keys.find(header, now).await;
    let key =
        key.map_err(|why| Refused::failed("the provider's keys could not be fetched", why))?;
    let key = key.ok_or_else(|| Refused::of_key("no key of the provider fits its header"))?;
    let payload = signature::signed_payload(token, header.alg, &key);
    let payload = payload.ok_or_else(|| Refused::of_key("its signature is not the provider's"))?;
    serde_json::from_slice(&payload).map_err(|_| Refused::invalid("its claims cannot be read"))
}

/// OpenID Connect Back-Channel Logout 1.0, section 2.6, and what CAEP has instead.
fn check(
    claims: &Map<String, Value>,
    kind: Kind,
    (issuer, client_id): (&str, &str),
    now: Timestamp,
) -> Result<Named, Refused> {
    if text(claims, "iss") != Some(issuer) {
        return Err(Refused::of_issuer("its issuer is another one"));
    }
    let is_ours = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(several)) => several.iter().any(|one| one == client_id),
        _ => false,
    };
    if !is_ours {
        return Err(Refused::of_audience("it is for another client"));
    }
    let issued_at =
        instant(claims, "iat").ok_or_else(|| Refused::invalid("it has no time of issue"))?;
    if issued_at > now.saturating_add(CLOCK_SKEW) {
        return Err(Refused::invalid("it was issued in the future"));
    }
    if now.saturating_since(issued_at) > AGE_MAX {
        return Err(Refused::invalid("it was issued more than ten minutes ago"));
    }
    let expires_at = instant(claims, "exp");
    let is_over = expires_at.is_some_and(|at| at.saturating_add(CLOCK_SKEW) <= now);
    // An event has none, by RFC 8417; a logout token must have one, by the standard.
    if is_over || (expires_at.is_none() && kind == Kind::Logout) {
        return Err(Refused::invalid("it has expired, or never does"));
    }
    // With one, it might be an ID token.
    if claims.contains_key("nonce") {
        return Err(Refused::invalid("it has a nonce"));
    }
    let events = claims.get("events").and_then(Value::as_object);
    let event = events
        .and_then(|events| events.get(kind.event()))
        .and_then(Value::as_object)
        .ok_or_else(|| Refused::invalid("it tells of no logout"))?;
    let jti = text(claims, "jti").filter(|jti| !jti.is_empty() && jti.len() <= JTI_BYTES_MAX);
    let jti = jti.ok_or_else(|| Refused::invalid("it has no name of its own"))?;
    let (sub, sid) = match kind {
        Kind::Logout => (text(claims, "sub"), text(claims, "sid")),
        Kind::Event => {
            let subject = claims.get("sub_id").or_else(|| event.get("subject"));
            event_subject(subject, issuer)
        }
    };
    if sub.is_none() && sid.is_none() {
        return Err(Refused::invalid("it names neither a session nor a subject"));
    }
    Ok(Named {
        sub: sub.map(str::to_owned),
        sid: sid.map(str::to_owned),
        jti: jti.to_owned(),
    })
}

/// Subject and session of a security event, by the formats of RFC 9493: an issuer's subject, an
/// opaque session, or both in a complex one.
fn event_subject<'c>(
    subject: Option<&'c Value>,
    issuer: &str,
) -> (Option<&'c str>, Option<&'c str>) {
    let Some(subject) = subject.and_then(Value::as_object) else {
        return (None, None);
    };
    match text(subject, "format") {
        Some("iss_sub") if text(subject, "iss") == Some(issuer) => (text(subject, "sub"), None),
        Some("opaque") => (None, text(subject, "id")),
        Some("complex") => {
            // Not complex ones again: these are of one level.
            let part = |name| {
                let part = subject.get(name).and_then(Value::as_object);
                part.filter(|part| text(part, "format") != Some("complex"))
            };
            let user = part("user").filter(|user| text(user, "iss") == Some(issuer));
            let session = part("session").filter(|of| text(of, "format") == Some("opaque"));
            let sub = user.and_then(|user| text(user, "sub"));
            (sub, session.and_then(|session| text(session, "id")))
        }
        _ => (None, None),
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

fn instant(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let secs = claims.get(name)?;
    // A fraction of a second is allowed by RFC 7519, and counts for nothing here.
    let secs = secs.as_u64().or_else(|| {
        let secs = secs.as_f64().filter(|secs| (0.0..1e12).contains(secs))?;
        Some(secs as u64)
    })?;
    Some(Timestamp::from_millis(secs.checked_mul(1_000)?))
}
