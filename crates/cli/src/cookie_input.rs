//! A visitor's cookie from the standard input: it is a secret, so it is no argument.

use std::io::{self, Read as _};

use cloakroom::engine::{COOKIE_CHUNKS_MAX, Token};
use cloakroom::{CookiePolicy, Prefix, Site};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Bytes of the longest input: a request's headers are shorter.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// What may stand on the standard input, as `--help` says it.
pub(crate) const INPUT: &str = "\
The cookie is read from the standard input: its value alone, or a request's whole Cookie header.";

/// Reads a token of the site: the value of a cookie, or the cookie of this name in a
/// `Cookie` header, joined where it came in chunks.
pub(crate) fn read(cookie: &str, site: &Site) -> Result<Token, Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|_| Failure::usage("what stands on the standard input is no text"))?;
    let token = find(&text, cookie)?.ok_or_else(|| {
        Failure::usage(format!(
            "there is no cookie {cookie} on the standard input: give its value alone, or the \
             whole Cookie header"
        ))
    })?;
    Ok(token.of_site(site))
}

fn find(text: &str, cookie: &str) -> Result<Option<Token>, Failure> {
    let text = text.trim();
    let header = match text.split_at_checked("cookie:".len()) {
        Some((name, rest)) if name.eq_ignore_ascii_case("cookie:") => rest.trim(),
        _ => text,
    };
    // No token has a = in it.
    if !header.contains('=') {
        return Ok((!header.is_empty()).then(|| Token::new(header)));
    }
    let builder = CookiePolicy::builder().chunks_max(COOKIE_CHUNKS_MAX);
    let builder = match (
        cookie.strip_prefix("__Host-"),
        cookie.strip_prefix("__Secure-"),
    ) {
        (Some(name), _) => builder.prefix(Prefix::Host).name(name),
        (_, Some(name)) => builder.prefix(Prefix::Secure).name(name),
        _ => builder.prefix(Prefix::None).name(cookie),
    };
    let policy = builder.build()?;
    let presented = policy.find([header.as_bytes()].into_iter(), |_| true);
    Ok(presented.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_however_it_was_copied() {
        for text in [
            "abc",
            " abc\n",
            "__Host-session=abc",
            "cookie: a=b; __Host-session=abc; c=d",
            "Cookie: __Host-session=abc",
        ] {
            let token = find(text, "__Host-session").unwrap().unwrap();
            assert_eq!(token.expose(), "abc", "{text}");
        }
        for none in ["", "a=b", "Cookie: a=b"] {
            assert!(find(none, "__Host-session").unwrap().is_none(), "{none}");
        }
        assert!(find("id=abc", "id").unwrap().is_some());
    }
}
