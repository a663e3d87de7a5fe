use cloakroom_core::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::{COOKIE_BYTES_MAX, CookiePolicy, Presented};

fn policy(chunks_max: usize, bytes_max: usize) -> CookiePolicy {
    let builder = CookiePolicy::builder().chunks_max(chunks_max);
    builder.bytes_max(bytes_max).build().unwrap()
}

fn set(policy: &CookiePolicy, token: &str) -> Vec<String> {
    let set = policy.set(&Token::new(token), None, ClientState::default());
    set.unwrap()
}

/// What a browser that was told this sends back.
fn pairs(set: &[String]) -> Vec<String> {
    let kept = set.iter().filter(|text| !text.contains("; Max-Age=0"));
    let pairs = kept.map(|text| text.split(';').next().unwrap().to_owned());
    pairs.collect()
}

fn find<S: AsRef<str>>(policy: &CookiePolicy, pairs: &[S]) -> Presented {
    let pairs: Vec<&str> = pairs.iter().map(AsRef::as_ref).collect();
    let header = pairs.join("; ");
    policy.find([header.as_bytes()].into_iter(), |_| true)
}

fn found<S: AsRef<str>>(policy: &CookiePolicy, pairs: &[S]) -> Option<String> {
    let token = find(policy, pairs).token;
    token.map(|token| token.expose().to_owned())
}

fn state(indices: &[usize]) -> ClientState {
    let indices = indices.iter().map(|index| ChunkIndex(*index));
    indices.fold(ClientState::default(), ClientState::with)
}

const ATTRIBUTES: &str = "; Path=/; Secure; HttpOnly; SameSite=Lax";

fn gone(suffix: &str) -> String {
    format!("__Host-session{suffix}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
}

#[test]
fn a_token_in_chunks_is_these_texts_byte_for_byte() {
    let policy = policy(4, 140);
    // 140 less the name, `=` and the attributes: 85; a chunk has 13 less.
    let whole = "w".repeat(85);
    assert_eq!(
        set(&policy, &whole),
        [format!("__Host-session={whole}{ATTRIBUTES}")]
    );
    let token = format!("{}{}yz", "a".repeat(72), "b".repeat(72));
    assert_eq!(crc32fast::hash(token.as_bytes()), 0x9121_7beb);
    let expected = [
        format!("__Host-session.1=3.91217beb.{}{ATTRIBUTES}", "a".repeat(72)),
        format!("__Host-session.2=3.91217beb.{}{ATTRIBUTES}", "b".repeat(72)),
        format!("__Host-session.3=3.91217beb.yz{ATTRIBUTES}"),
        gone(""),
    ];
    assert_eq!(set(&policy, &token), expected);
    assert!(expected[0].len() == 140 && expected[1].len() == 140);
}

#[test]
fn what_else_the_client_holds_is_removed_with_a_set_and_with_a_removal() {
    let policy = policy(4, 140);
    let names = |texts: &[String]| -> Vec<(String, bool)> {
        let texts = texts.iter().map(|text| {
            let suffix = text.strip_prefix("__Host-session").unwrap();
            let (suffix, _) = suffix.split_once('=').unwrap();
            let is_gone = *text == gone(suffix);
            assert!(is_gone || !text.contains("Max-Age"), "{text}");
            (suffix.to_owned(), is_gone)
        });
        texts.collect()
    };
    let listed = |set: &[&str], gone: &[&str]| -> Vec<(String, bool)> {
        let set = set.iter().map(|suffix| ((*suffix).to_owned(), false));
        let gone = gone.iter().map(|suffix| ((*suffix).to_owned(), true));
        set.chain(gone).collect()
    };
    for (bytes, indices, kept, removed) in [
        (10, &[][..], &[""][..], &[][..]),
        (10, &[0], &[""], &[]),
        (10, &[0, 1, 2, 3, 4], &[""], &[".1", ".2", ".3", ".4"]),
        (10, &[3], &[""], &[".3"]),
        (100, &[], &[".1", ".2"], &[""]),
        (100, &[1, 2], &[".1", ".2"], &[""]),
        (100, &[0, 2, 3, 4], &[".1", ".2"], &["", ".3", ".4"]),
        (288, &[0, 1], &[".1", ".2", ".3", ".4"], &[""]),
    ] {
        let token = Token::new("x".repeat(bytes));
        let texts = policy.set(&token, None, state(indices)).unwrap();
        assert_eq!(names(&texts), listed(kept, removed), "{bytes} {indices:?}");
    }
    for (indices, removed) in [
        (&[][..], &["", ".1"][..]),
        (&[0], &["", ".1"]),
        (&[1, 2], &["", ".1", ".2"]),
        (&[4], &["", ".1", ".4"]),
    ] {
        assert_eq!(names(&policy.removal(state(indices))), listed(&[], removed));
    }
    let plain = CookiePolicy::default();
    assert_eq!(plain.removal(state(&[0])), [gone("")]);
}

/// Opting in must not lengthen a wire that was measured, nor give an error
/// away that one cookie more would have spared.
#[test]
fn each_number_of_cookies_is_filled_to_the_byte() {
    for bytes_max in [200, COOKIE_BYTES_MAX] {
        let one = bytes_max - ATTRIBUTES.len() - "__Host-session=".len();
        for chunks_max in 1..=COOKIE_CHUNKS_MAX {
            let policy = policy(chunks_max, bytes_max);
            let room = |cookies: usize| match cookies {
                1 => one,
                _ => cookies * (one - CHUNK_BYTES),
            };
            for cookies in 1..=chunks_max {
                let texts = set(&policy, &"x".repeat(room(cookies)));
                assert_eq!(pairs(&texts).len(), cookies);
                assert!(texts[..cookies].iter().all(|text| text.len() == bytes_max));
                if cookies < chunks_max {
                    let more = set(&policy, &"x".repeat(room(cookies) + 1));
                    assert_eq!(pairs(&more).len(), cookies + 1);
                }
            }
            let token = Token::new("x".repeat(room(chunks_max) + 1));
            let error = policy
                .set(&token, None, ClientState::default())
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            for part in ["chunks_max is", "bytes_max = ", "use a store on the server"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }
}

#[test]
fn the_longest_token_of_a_policy_is_sent_at_any_age_and_found_again() {
    for chunks_max in 1..=COOKIE_CHUNKS_MAX {
        let policy = policy(chunks_max, COOKIE_BYTES_MAX);
        let token = Token::new("x".repeat(policy.token_bytes_max()));
        for age in [None, Some(std::time::Duration::MAX)] {
            let texts = policy.set(&token, age, ClientState::default()).unwrap();
            assert!(texts.iter().all(|text| text.len() <= COOKIE_BYTES_MAX));
            assert!(find(&policy, &pairs(&texts)).token == Some(token.clone()));
        }
    }
}

#[test]
fn chunks_that_do_not_make_one_whole_token_are_none() {
    let policy = policy(4, 140);
    let a = pairs(&set(&policy, &"a".repeat(150)));
    let b = pairs(&set(&policy, &"b".repeat(150)));
    let shorter = pairs(&set(&policy, &"a".repeat(100)));
    assert_eq!((a.len(), b.len(), shorter.len()), (3, 3, 2));
    assert!(found(&policy, &a).is_some());
    let flipped = a[1].replacen("aa", "ab", 1);
    let renamed = |pair: &str, from: &str, to: &str| {
        let named = format!("session{from}=");
        assert!(pair.contains(&named));
        pair.replacen(&named, &format!("session{to}="), 1)
    };
    let empty_last = format!("{}{}", &a[2][..a[2].rfind('.').unwrap()], ".");
    let other = pairs(&set(
        &policy,
        &format!("{}{}", "a".repeat(72), "c".repeat(78)),
    ));
    for (why, pairs) in [
        ("nothing", vec![]),
        ("the first is missing", a[1..].to_vec()),
        ("the last is missing", a[..2].to_vec()),
        (
            "one in between is missing",
            vec![a[0].clone(), a[2].clone()],
        ),
        ("a bit", vec![a[0].clone(), flipped, a[2].clone()]),
        ("mixed", vec![a[0].clone(), b[1].clone(), a[2].clone()]),
        ("of another count", vec![a[0].clone(), shorter[1].clone()]),
        (
            "swapped",
            vec![
                renamed(&other[0], ".1", ".2"),
                renamed(&other[1], ".2", ".1"),
                other[2].clone(),
            ],
        ),
        ("empty", vec![a[0].clone(), a[1].clone(), empty_last]),
        (
            "twice the same",
            vec![
                other[0].clone(),
                renamed(&other[0], ".1", ".2"),
                other[2].clone(),
            ],
        ),
        (
            "no such name",
            vec![a[0].clone(), a[1].clone(), renamed(&a[2], ".3", ".03")],
        ),
    ] {
        assert_eq!(found(&policy, &pairs), None, "{why}");
    }
    for head in [
        "",
        ".",
        "1",
        "1.00000000.",
        "0.00000000.",
        "5.00000000.",
        "/.00000000.",
        "é.0000000.",
    ] {
        let lone: Vec<_> = (1..=4)
            .map(|at| format!("__Host-session.{at}={head}x"))
            .collect();
        let presented = find(&policy, &lone);
        assert!(presented.token.is_none() && presented.count > 0, "{head}");
        assert_eq!(presented.state, state(&[1, 2, 3, 4]));
    }
}

#[test]
fn among_several_the_whole_one_counts_then_the_first_that_is_complete() {
    let policy = policy(4, 140);
    let a = pairs(&set(&policy, &"a".repeat(150)));
    let b = pairs(&set(&policy, &"b".repeat(100)));
    let both = [&a[..], &b].concat();
    let presented = find(&policy, &both);
    assert_eq!((presented.count, presented.state), (2, state(&[1, 2, 3])));
    assert_eq!(found(&policy, &both), Some("a".repeat(150)));
    let other_way = [&b[..], &a].concat();
    assert_eq!(found(&policy, &other_way), Some("b".repeat(100)));
    // A browser keeps one cookie of a name: the last chunk of three is left.
    let overwritten = [b[0].clone(), b[1].clone(), a[2].clone()];
    let presented = find(&policy, &overwritten);
    assert_eq!((presented.count, presented.state), (2, state(&[1, 2, 3])));
    assert_eq!(found(&policy, &overwritten), Some("b".repeat(100)));
    let whole = "__Host-session=w".to_owned();
    assert_eq!(
        found(&policy, &[&both[..], &[whole]].concat()),
        Some("w".into())
    );
    let quoted: Vec<_> = a
        .iter()
        .map(|pair| pair.replacen('=', "=\"", 1) + "\"")
        .collect();
    assert_eq!(found(&policy, &quoted), Some("a".repeat(150)));
    assert_eq!(
        find(&policy, &a).count,
        1,
        "one token, however many cookies"
    );
}

#[test]
fn a_whole_cookie_that_is_no_token_leaves_the_chunks_to_count() {
    let policy = policy(4, 140);
    let token = "a".repeat(100);
    let mut all = pairs(&set(&policy, &token));
    all.insert(0, "__Host-session=bad".to_owned());
    let header = all.join(";");
    let presented = policy.find([header.as_bytes()].into_iter(), |token| token != "bad");
    assert_eq!((presented.count, presented.state), (2, state(&[0, 1, 2])));
    assert_eq!(presented.token.unwrap().expose(), token);
}

#[test]
fn without_the_choice_chunks_are_other_peoples_cookies() {
    let pairs = pairs(&set(&policy(2, 140), &"a".repeat(100)));
    let presented = find(&CookiePolicy::default(), &pairs);
    assert_eq!(
        (presented.count, presented.state),
        (0, ClientState::default())
    );
    assert!(presented.token.is_none());
}

/// What was set under a wider limit stays readable, as everywhere.
#[test]
fn fewer_chunks_than_before_still_read_what_was_set() {
    let token = "a".repeat(280);
    let pairs = pairs(&set(&policy(4, 140), &token));
    assert_eq!(pairs.len(), 4);
    assert_eq!(found(&policy(2, 140), &pairs), Some(token));
}

#[test]
fn what_is_kept_and_joined_is_bounded() {
    let policy = policy(4, 140);
    let good = pairs(&set(&policy, &"a".repeat(100)));
    let noise: Vec<_> = (0..100)
        .map(|at| format!("__Host-session.2=2.{at:08x}.x"))
        .collect();
    let presented = find(&policy, &[&noise[..], &good].concat());
    assert_eq!((presented.token.is_none(), presented.count), (true, 102));
    assert!(found(&policy, &[&noise[..SEEN_MAX - 2], &good].concat()).is_some());
    assert!(found(&policy, &[&noise[..SEEN_MAX - 1], &good].concat()).is_none());
    for (bytes, fits) in [(TOKEN_BYTES_MAX, true), (TOKEN_BYTES_MAX + 1, false)] {
        let token = "x".repeat(bytes);
        let head = head(&token, 2);
        let (one, two) = token.split_at(bytes / 2);
        let pairs = [
            format!("__Host-session.1={head}{one}"),
            format!("__Host-session.2={head}{two}"),
        ];
        assert_eq!(found(&policy, &pairs).is_some(), fits);
    }
}

proptest! {
    #[test]
    fn a_token_is_found_again_whatever_the_order_of_its_cookies(
        token in "[!#-+\\--:<-\\[\\]-~]{1,600}",
        bytes_max in 140_usize..400,
        chunks_max in 1..=COOKIE_CHUNKS_MAX,
        shuffle in any::<[u16; COOKIE_CHUNKS_MAX]>(),
        others in proptest::collection::vec("[a-z]{1,3}(=[a-z.0-9]{0,9})?", 0..4),
    ) {
        let policy = policy(chunks_max, bytes_max);
        let set = policy.set(&Token::new(&*token), None, ClientState::default());
        let Ok(set) = set else {
            prop_assert!(token.len() > policy.token_bytes_max());
            return Ok(());
        };
        prop_assert!(set.iter().all(|text| text.len() <= bytes_max));
        let mut order: Vec<_> = pairs(&set).into_iter().zip(shuffle).collect();
        order.sort_by_key(|(_, at)| *at);
        let (pairs, _): (Vec<_>, Vec<_>) = order.into_iter().unzip();
        // As one header, amid others, and as a header each.
        prop_assert_eq!(found(&policy, &[&others[..], &pairs].concat()), Some(token.clone()));
        let lines = pairs.iter().map(|pair| pair.as_bytes());
        let found = policy.find(lines, |_| true);
        prop_assert_eq!(found.count, 1);
        prop_assert!(found.token == Some(Token::new(token)));
    }
}
