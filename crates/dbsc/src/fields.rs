//! The structured fields of the protocol (RFC 9651), read as browsers write them: where the
//! specification has a quoted string, Chromium sends a bare token.

/// The first item of a field, quoted or bare, without its parameters. `None` where it is
/// empty, or holds what neither a token nor a plain quoted string does.
pub(crate) fn item(field: &[u8]) -> Option<&str> {
    let field = field.trim_ascii();
    let text = match field.strip_prefix(b"\"") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'"')?;
            &rest[..end]
        }
        None => {
            let ends = |byte: &u8| matches!(byte, b';' | b',' | b' ' | b'\t');
            let end = field.iter().position(ends).unwrap_or(field.len());
            &field[..end]
        }
    };
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let is_item = !text.is_empty() && text.iter().all(is_plain);
    is_item.then(|| std::str::from_utf8(text).ok()).flatten()
}

/// What offers a registration: `Secure-Session-Registration`.
pub(crate) fn registration(path: &str, challenge: &str) -> String {
    format!("(ES256);path=\"{path}\";challenge=\"{challenge}\"")
}

/// What hands out a challenge: `Secure-Session-Challenge`.
pub(crate) fn challenge(challenge: &str, id: &str) -> String {
    format!("\"{challenge}\";id=\"{id}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_token_and_a_quoted_string_are_one() {
        for (field, read) in [
            (&b"a.b.c"[..], Some("a.b.c")),
            (b"\"a.b.c\"", Some("a.b.c")),
            (b" \"a.b.c\" ;x=1", Some("a.b.c")),
            (b"a.b.c;x=1", Some("a.b.c")),
            (b"a.b.c, d", Some("a.b.c")),
            (b"", None),
            (b"  ", None),
            (b"\"\"", None),
            (b"\"a", None),
            (b"\"a\\\"b\"", None),
            (b"a\x00", None),
            (b"\xff", None),
            (b";x", None),
        ] {
            assert_eq!(item(field), read, "{field:?}");
        }
    }
}
