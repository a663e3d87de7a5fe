//! Headers from a client: a token is found or not, and what is found could be
//! sent back, in one cookie or in several.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cloakroom_core::engine::{TOKEN_BYTES_MAX, Token};
use cloakroom_testkit::MapStore;
use cloakroom_web::{
    BearerPolicy, COOKIE_CHUNKS_MAX, ClientState, Closing, CookiePolicy, Engine, HeaderEdit, Prefix,
};
use futures_executor::block_on;
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
    let set = policy.set(token, None, ClientState::default()).ok()?;
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

/// A request whose session is read, or begun and handed out.
async fn closing(hands_out: bool) -> Closing {
    let exchange = Engine::new(MapStore::default()).exchange();
    let session = exchange.open(std::iter::empty()).await;
    let session = session.expect("no token asks for no store");
    if hands_out {
        session.insert("visits", 1).expect("it is small");
    }
    let _ = session.get::<u64>("visits");
    exchange.close(200).await
}

/// Each of these headers with all lines of the input.
fn own_headers(lines: &[Vec<u8>]) -> BTreeMap<String, Vec<String>> {
    let texts = lines.iter().filter_map(|line| std::str::from_utf8(line).ok());
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    ["vary", "cache-control", "cdn-cache-control"].map(|name| (name.to_owned(), texts.clone())).into()
}

fn edits_beside_the_token(
    closing: &Closing,
    headers: &BTreeMap<String, Vec<String>>,
) -> Vec<HeaderEdit> {
    let edits = closing.header_edits(headers.iter().flat_map(|(name, values)| {
        values.iter().map(|value| (name.as_str(), value.as_str()))
    }));
    edits.filter(|edit| !edit.appends()).collect()
}

fuzz_target!(|input: Input| {
    let lines = || input.headers.iter().map(Vec::as_slice);
    for policy in [&*WHOLE, &*CHUNKS] {
        let found = policy.find(lines(), |token| token.len() < 1_000);
        assert!(found.token.is_none() || found.count > 0);
        assert!(found.state != ClientState::default() || found.count == 0);
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
        for text in policy.removal(found.state) {
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
    for hands_out in [false, true] {
        let mut headers = own_headers(&input.headers);
        let closing = block_on(closing(hands_out));
        for edit in edits_beside_the_token(&closing, &headers) {
            headers.insert(edit.name().to_owned(), vec![edit.value().to_owned()]);
        }
        assert_eq!(edits_beside_the_token(&closing, &headers), []);
    }
});
