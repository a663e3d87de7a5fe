//! Response headers beside the token: pure functions on header text.

use std::borrow::Cow;

/// The `Vary` header of a response that depends on the session, or `None`
/// where the existing one will do. A `*` stays; `Cookie` is not said twice.
pub(crate) fn vary_on<'h>(
    header: &'static str,
    existing: impl Iterator<Item = &'h str>,
) -> Option<Cow<'static, str>> {
    let mut merged = Vec::new();
    for name in existing.flat_map(|value| value.split(',')).map(str::trim) {
        if name == "*" || name.eq_ignore_ascii_case(header) {
            return None;
        }
        if !name.is_empty() {
            merged.push(name);
        }
    }
    if merged.is_empty() {
        return Some(header.into());
    }
    merged.push(header);
    Some(merged.join(", ").into())
}

/// The `Cache-Control` header of a response that depends on the session, or
/// `None` where the handler's own stays.
///
/// Without one: `no-store` beside a token and where the engine is told so, else `private`.
/// A handler's own wins,
/// but a shared cache must never keep a response that hands out a token: beside
/// one, `public` and `s-maxage` give way to `no-store`, and any other value gets
/// `private` added where it has neither that nor `no-store`.
pub(crate) fn cache_control<'h>(
    existing: impl Iterator<Item = &'h str>,
    hands_out_token: bool,
    no_store: bool,
) -> Option<Cow<'static, str>> {
    let own: Vec<&str> = existing
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .collect();
    let has = |wanted: &str| {
        own.iter().any(|directive| {
            let name = directive.split('=').next().unwrap_or_default();
            name.trim_end().eq_ignore_ascii_case(wanted)
        })
    };
    match (own.is_empty(), hands_out_token) {
        (true, false) if !no_store => Some("private".into()),
        (true, _) => Some("no-store".into()),
        (false, false) => None,
        (false, true) if has("public") || has("s-maxage") => Some("no-store".into()),
        (false, true) if has("private") || has("no-store") => None,
        (false, true) => Some(format!("{}, private", own.join(", ")).into()),
    }
}

/// What keeps a shared cache from storing a response, in a header of this lower-case
/// name that speaks to some caches alone and overrules `Cache-Control` there; `None` for
/// any other header.
///
/// RFC 9213 has each cache name its own header, by convention `…-cache-control`. The
/// others are those of nginx, Akamai, and the Edge Architecture Specification.
pub(crate) fn no_targeted_caching(name: &str) -> Option<&'static str> {
    match name {
        "x-accel-expires" => Some("0"),
        "x-litespeed-cache-control" => Some("no-cache"),
        "surrogate-control" | "edge-control" => Some("no-store"),
        name if name.ends_with("-cache-control") => Some("no-store"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_for_some_caches_alone_are_known() {
        for (name, instead) in [
            ("cdn-cache-control", Some("no-store")),
            ("cloudflare-cdn-cache-control", Some("no-store")),
            ("surrogate-control", Some("no-store")),
            ("edge-control", Some("no-store")),
            ("x-litespeed-cache-control", Some("no-cache")),
            ("x-accel-expires", Some("0")),
            ("cache-control", None),
            ("x-accel-redirect", None),
            ("expires", None),
        ] {
            assert_eq!(no_targeted_caching(name), instead, "{name}");
        }
    }

    #[test]
    fn what_a_response_varies_on_is_said_once() {
        let vary = |existing: &'static str| vary_on("Cookie", [existing].into_iter());
        assert_eq!(vary_on("Cookie", [].into_iter()).as_deref(), Some("Cookie"));
        assert_eq!(vary("Accept").as_deref(), Some("Accept, Cookie"));
        assert_eq!(vary("cookie, Accept"), None);
        assert_eq!(vary("*"), None);
    }

    #[test]
    fn a_handlers_own_cache_control_counts_but_beside_a_token() {
        let control = |own: &'static str, token| cache_control([own].into_iter(), token, false);
        assert_eq!(control("", false).as_deref(), Some("private"));
        assert_eq!(control("", true).as_deref(), Some("no-store"));
        assert_eq!(control("public, max-age=60", false), None);
        assert_eq!(
            control("public, max-age=60", true).as_deref(),
            Some("no-store")
        );
        assert_eq!(
            control("max-age=60", true).as_deref(),
            Some("max-age=60, private")
        );
        assert_eq!(control("private, max-age=60", true), None);
    }

    #[test]
    fn where_nothing_is_to_be_stored_a_handlers_own_still_counts() {
        let control = |own: &'static str, token| cache_control([own].into_iter(), token, true);
        assert_eq!(control("", false).as_deref(), Some("no-store"));
        assert_eq!(control("", true).as_deref(), Some("no-store"));
        assert_eq!(control("private, max-age=60", false), None);
    }

    #[test]
    fn several_header_lines_are_merged_and_empty_ones_dropped() {
        let lines = ["Accept, ", "", "Origin"];
        assert_eq!(
            vary_on("Cookie", lines.into_iter()).as_deref(),
            Some("Accept, Origin, Cookie")
        );
        assert_eq!(vary_on("Cookie", ["a", " * "].into_iter()), None);
        assert_eq!(
            vary_on("Authorization", ["x-AUTHORIZATION"].into_iter()).as_deref(),
            Some("x-AUTHORIZATION, Authorization")
        );
    }

    #[test]
    fn directives_are_read_whatever_their_case_and_place() {
        for (lines, token, expected) in [
            (&["", " "][..], true, Some("no-store")),
            (&["no-cache", "PUBLIC"], true, Some("no-store")),
            (&["max-age=5, S-MaxAge = 9"], true, Some("no-store")),
            (&["private, public"], true, Some("no-store")),
            (&["x-public"], true, Some("x-public, private")),
            (
                &["no-cache", "max-age=0"],
                true,
                Some("no-cache, max-age=0, private"),
            ),
            (&["No-Store"], true, None),
            (&["Private=\"x\""], true, None),
            (&["public"], false, None),
            (&["max-age=5"], false, None),
        ] {
            let control = cache_control(lines.iter().copied(), token, false);
            assert_eq!(control.as_deref(), expected, "{lines:?}");
        }
    }
}
