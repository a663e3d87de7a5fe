//! What a client sends of its device: it is answered whatever it is, and nothing that was not
//! signed by the session's key renews a bound cookie.

#![no_main]

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::{Binding, Timestamp};
use cloakroom_dbsc::Dbsc;
use cloakroom_web::{
    BoundCookie, CookiePolicy, DeviceAnswer, DeviceBinding as _, DeviceDeed, DeviceRequest,
    DeviceSession, DeviceVerdict, ShownDevice, Skipped,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    session_id: Option<Vec<u8>>,
    response: Option<Vec<u8>>,
    fetch_site: Option<Vec<u8>>,
    skipped: Vec<u8>,
    is_from_elsewhere: bool,
    cookies: Vec<Vec<u8>>,
    /// The header and the signature of a proof that answers a challenge of ours.
    header: String,
    signature: [u8; 64],
}

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn quoted(text: &str) -> &str {
    text.split('"').nth(1).expect("a quoted string")
}

/// What the endpoint says to a session that is bound to a key of its own.
fn answered(request: &DeviceRequest<'_>, binding: &Binding) -> DeviceAnswer {
    let dbsc = Dbsc::prefer();
    let unread = dbsc.answer_unread(request);
    unread.unwrap_or_else(|| {
        let cookie = BoundCookie::beside(&CookiePolicy::default());
        let answer = dbsc.answer(request, DeviceSession::Open(binding), &cookie, NOW);
        let others = [DeviceSession::Over, DeviceSession::Unknown];
        for other in others.map(|other| dbsc.answer(request, other, &cookie, NOW)) {
            assert!(other.bound.is_none() && other.deed == DeviceDeed::Nothing);
        }
        answer
    })
}

fuzz_target!(|input: Input| {
    let offered = Binding::offered([7; Binding::SECRET_BYTES], NOW);
    // A point that is on no curve signs nothing.
    let bound = offered.clone().bound_to([4; Binding::KEY_BYTES]);
    let request = DeviceRequest {
        session_id: input.session_id.as_deref(),
        response: input.response.as_deref(),
        fetch_site: input.fetch_site.as_deref(),
    };
    for binding in [&offered, &bound] {
        let answer = answered(&request, binding);
        assert!([200, 400, 403].contains(&answer.status), "{answer:?}");
        assert!(answer.bound.is_none(), "{answer:?}");
    }
    let shown = ShownDevice {
        cookies: &input.cookies,
        skipped: Some(Skipped::read(&input.skipped)),
        is_from_elsewhere: input.is_from_elsewhere,
    };
    let verdict = Dbsc::require().judge(&bound, &shown, NOW);
    assert!(matches!(verdict, DeviceVerdict::Refused(_)), "{verdict:?}");

    // With a challenge of ours, all depends on the signature.
    let dbsc = Dbsc::prefer();
    let cookie = BoundCookie::beside(&CookiePolicy::default());
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    let of_id = |id| DeviceRequest {
        session_id: Some(id),
        ..DeviceRequest::default()
    };
    let over = dbsc.answer(&of_id(id.as_bytes()), DeviceSession::Open(&bound), &cookie, NOW);
    assert!(over.body.contains("\"continue\":false"));
    assert!(dbsc.offer(&bound, NOW).is_none());
    let registration = dbsc.offer(&offered, NOW).expect("it is open").registration;
    let (_, challenge) = registration.split_once("challenge=").expect("an offer");
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let claims = format!("{{\"jti\":\"{}\"}}", quoted(challenge));
    let header = encode(input.header.as_bytes());
    let proof = format!("{header}.{}.{}", encode(claims.as_bytes()), encode(&input.signature));
    let request = DeviceRequest {
        response: Some(proof.as_bytes()),
        ..DeviceRequest::default()
    };
    let answer = answered(&request, &offered);
    assert!(answer.deed == DeviceDeed::Nothing || answer.bound.is_some());
});
