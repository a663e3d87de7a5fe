//! Headers from a client: a token is found or not, and what is found could be
//! sent back.

#![no_main]

use cloakroom_web::{BearerPolicy, CookiePolicy, cache_control, vary_on};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: Vec<Vec<u8>>| {
    let lines = || headers.iter().map(Vec::as_slice);
    let policy = CookiePolicy::loopback_http();
    let found = policy.find(lines(), |token| token.len() < 100);
    assert!(found.token.is_none() || found.count > 0);
    if let Some(token) = found.token
        && let Ok(header) = policy.set(&token, None)
    {
        // What goes out as a cookie comes back as the same token.
        let pair = header.split(';').next().expect("a pair");
        let back = policy.find([pair.as_bytes()].into_iter(), |_| true);
        assert!(back.token.is_some_and(|back| back == token));
    }
    let bearer = BearerPolicy::default().find(lines(), |_| true);
    assert!(bearer.token.is_none() || bearer.count > 0);
    let texts = || {
        headers
            .iter()
            .filter_map(|line| std::str::from_utf8(line).ok())
    };
    if let Some(vary) = vary_on("Cookie", texts()) {
        assert_eq!(vary_on("Cookie", [vary.as_str()].into_iter()), None);
    }
    for hands_out in [false, true] {
        if let Some(control) = cache_control(texts(), hands_out) {
            assert_eq!(cache_control([&*control].into_iter(), hands_out), None);
        }
    }
});
