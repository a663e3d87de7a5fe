//! A store's URL, as it may be shown.

/// The URL without what may be secret: its query, and who logs in with what.
/// Where it is not clear what is which, it hides too much.
pub(crate) fn shown(url: &str) -> String {
    let masked = match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    masked.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_paths_are_not() {
        assert_eq!(shown("memory:"), "memory:");
        assert_eq!(shown("sled:./a@b/sessions"), "sled:./a@b/sessions");
        assert_eq!(shown("sled:x?key=secret"), "sled:x");
        assert_eq!(shown("redis://host:1/0"), "redis://host:1/0");
        assert_eq!(
            shown("postgres://ada:p@ss@host:1/db?sslkey=k"),
            "postgres://***@host:1/db"
        );
    }

    #[test]
    fn a_password_of_odd_characters_is_masked_too() {
        assert_eq!(shown("redis://:a/b@host/0"), "redis://***@host/0");
        assert_eq!(shown("redis://:a?b@host/0"), "redis://***@host/0");
    }
}
