//! Response headers beside the cookie: pure functions on header text.

/// The `Vary` header of a response that depends on the session, or `None`
/// where the existing one will do. A `*` stays; `Cookie` is not said twice.
///
/// ```
/// use cloakroom_web::vary_on;
///
/// assert_eq!(vary_on("Cookie", [].into_iter()).as_deref(), Some("Cookie"));
/// assert_eq!(vary_on("Cookie", ["Accept"].into_iter()).as_deref(), Some("Accept, Cookie"));
/// assert_eq!(vary_on("Cookie", ["cookie, Accept"].into_iter()), None);
/// assert_eq!(vary_on("Cookie", ["*"].into_iter()), None);
/// ```
pub fn vary_on<'h>(header: &str, existing: impl Iterator<Item = &'h str>) -> Option<String> {
    let mut merged = Vec::new();
    for name in existing.flat_map(|value| value.split(',')).map(str::trim) {
        if name == "*" || name.eq_ignore_ascii_case(header) {
            return None;
        }
        if !name.is_empty() {
            merged.push(name);
        }
    }
    merged.push(header);
    Some(merged.join(", "))
}

/// The `Cache-Control` header of a response that depends on the session, or
/// `None` where the handler's own stays.
///
/// Without one: `no-store` beside a `Set-Cookie`, else `private`. A handler's
/// own wins, unless it lets shared caches keep a response that sets a cookie
/// (`public`, `s-maxage`): then `no-store` takes its place.
///
/// ```
/// use cloakroom_web::cache_control;
///
/// assert_eq!(cache_control([].into_iter(), false), Some("private"));
/// assert_eq!(cache_control([].into_iter(), true), Some("no-store"));
/// assert_eq!(cache_control(["public, max-age=60"].into_iter(), false), None);
/// assert_eq!(cache_control(["public, max-age=60"].into_iter(), true), Some("no-store"));
/// assert_eq!(cache_control(["private, max-age=60"].into_iter(), true), None);
/// ```
pub fn cache_control<'h>(
    existing: impl Iterator<Item = &'h str>,
    sets_cookie: bool,
) -> Option<&'static str> {
    let mut own = false;
    let mut shared = false;
    for directive in existing.flat_map(|value| value.split(',')).map(str::trim) {
        own |= !directive.is_empty();
        let name = directive.split('=').next().unwrap_or_default().trim_end();
        shared |= name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage");
    }
    match (own, sets_cookie) {
        (false, false) => Some("private"),
        (false, true) => Some("no-store"),
        (true, true) if shared => Some("no-store"),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (lines, sets_cookie, expected) in [
            (&["", " "][..], true, Some("no-store")),
            (&["no-cache", "PUBLIC"], true, Some("no-store")),
            (&["max-age=5, S-MaxAge = 9"], true, Some("no-store")),
            (&["x-public"], true, None),
            (&["no-store"], true, None),
            (&["public"], false, None),
        ] {
            assert_eq!(
                cache_control(lines.iter().copied(), sets_cookie),
                expected,
                "{lines:?}"
            );
        }
    }
}
