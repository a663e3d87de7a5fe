//! Headers from a client: a token is found or not, and what is found could be
//! sent back, in one cookie or in several.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cloakroom_core::engine::{TOKEN_BYTES_MAX, Token};
use cloakroom_web::{
    BearerPolicy, COOKIE_CHUNKS_MAX, CookiePolicy, Held, Prefix, cache_control, vary_on,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    headers: Vec<Vec<u8>>,
    /// A token to be cut, and the order in which its cookies come back.
    token: Vec<u8>,
    order: [u8; COOKIE_CHUNKS_MAX],
    /// Changes to the bytes of those cookies: which one, where, and to what.
    changes: Vec<(u8, u16, u8)>,
}

fn policy(chunks_max: usize) -> CookiePolicy {
    CookiePolicy::builder()
        .name("s")
        .prefix(Prefix::None)
        .bytes_max(140)
        .chunks_max(chunks_max)
        .build()
        .expect("choices that go together")
}

static WHOLE: LazyLock<CookiePolicy> = LazyLock::new(|| policy(1));
static CHUNKS: LazyLock<CookiePolicy> = LazyLock::new(|| policy(COOKIE_CHUNKS_MAX));

/// What a browser that held nothing sends back.
fn pairs(set: &[String]) -> Vec<Vec<u8>> {
    let kept = set.iter().filter(|text| !text.contains("; Max-Age=0"));
    let pairs = kept.map(|text| text.split(';').next().expect("a pair"));
    pairs.map(|pair| pair.as_bytes().to_vec()).collect()
}

fn comes_back(policy: &CookiePolicy, token: &Token, order: &[u8]) -> Option<Vec<Vec<u8>>> {
    let set = policy.set(token, None, Held::default()).ok()?;
    assert!(set.iter().all(|text| text.len() <= 140));
    let mut pairs = pairs(&set);
    assert!(pairs.len() <= COOKIE_CHUNKS_MAX);
    let mut at = 0;
    pairs.sort_by_cached_key(|_| {
        at += 1;
        order[at - 1]
    });
    let back = policy.find(pairs.iter().map(Vec::as_slice), |_| true);
    assert!(back.token.as_ref() == Some(token) && back.count == 1);
    Some(pairs)
}

fuzz_target!(|input: Input| {
    let lines = || input.headers.iter().map(Vec::as_slice);
    for policy in [&*WHOLE, &*CHUNKS] {
        let found = policy.find(lines(), |token| token.len() < 1_000);
        assert!(found.token.is_none() || found.count > 0);
        assert!(found.held != Held::default() || found.count == 0);
        if let Some(token) = found.token {
            assert!(token.expose().len() < 1_000);
            comes_back(policy, &token, &input.order);
        }
        let found = policy.find(lines(), |_| true);
        let bound = TOKEN_BYTES_MAX.max(lines().map(<[u8]>::len).max().unwrap_or(0));
        assert!(
            found
                .token
                .is_none_or(|token| token.expose().len() <= bound)
        );
        for text in policy.removal(found.held) {
            assert!(text.contains("=; ") && text.contains("; Max-Age=0"));
        }
    }

    // Bytes to letters, so that most of them make a token that fits.
    let letters = input.token.iter().map(|byte| char::from(b'A' + byte % 26));
    let token = Token::new(letters.collect::<String>());
    if let Some(mut pairs) = comes_back(&CHUNKS, &token, &input.order) {
        for (which, at, to) in &input.changes {
            let which = usize::from(*which) % pairs.len();
            let pair = &mut pairs[which];
            let at = usize::from(*at) % pair.len();
            pair[at] = *to;
        }
        let is_letters = |token: &str| token.bytes().all(|byte| byte.is_ascii_uppercase());
        let damaged = CHUNKS.find(pairs.iter().map(Vec::as_slice), is_letters);
        if pairs.len() > 1
            && let Some(damaged) = damaged.token
        {
            // A CRC finds any one change; several may make a token of their own.
            assert!(damaged == token || input.changes.len() > 1);
        }
    }

    let bearer = BearerPolicy::default().find(lines(), |_| true);
    assert!(bearer.token.is_none() || bearer.count > 0);
    let texts = || {
        input
            .headers
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
