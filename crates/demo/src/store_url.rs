//! A store's URL, as it may be shown.

/// The URL without what may be secret: its query, and who logs in with what. Where it is
/// not clear what is which, it hides too much; of what is no store's URL it shows nothing,
/// since each part of it may be a password or a key.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else {
        return String::new();
    };
    let scheme = scheme.to_ascii_lowercase();
    let shown = match scheme.as_str() {
        "memory" | "cookie" => "",
        "file" | "sled" | "redb" | "sqlite" => rest.split('?').next().unwrap_or_default(),
        "postgres" | "postgresql" | "mysql" | "mariadb" | "redis" | "rediss" | "redis+unix" => {
            return format!("{scheme}:{}", server(rest));
        }
        _ => return String::new(),
    };
    format!("{scheme}:{shown}")
}

/// What follows the scheme of a server's URL.
fn server(rest: &str) -> String {
    let Some(rest) = rest.strip_prefix("//") else {
        return String::new();
    };
    let address = rest.split(['?', '#']).next().unwrap_or_default();
    match (rest.rsplit_once('@'), address.rsplit_once('@')) {
        (None, _) => format!("//{address}"),
        // The same @ in both: it ends the password, and no query has begun before it.
        (Some((before, _)), Some((user, host))) if before.len() == user.len() => {
            format!("//***@{host}")
        }
        _ => "//***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_paths_are_not() {
        assert_eq!(shown("memory:"), "memory:");
        assert_eq!(shown("sled:./a@b/sessions"), "sled:./a@b/sessions");
        assert_eq!(shown("REDB:./Sessions"), "redb:./Sessions");
        assert_eq!(shown("sled:x?key=secret"), "sled:x");
        assert_eq!(shown("redis://host:1/0"), "redis://host:1/0");
        assert_eq!(shown("Redis://host:1/0?timeout=2s"), "redis://host:1/0");
        assert_eq!(
            shown("postgres://ada:p@ss@host:1/db?sslkey=k"),
            "postgres://***@host:1/db"
        );
    }

    #[test]
    fn a_password_of_odd_characters_is_masked_too() {
        assert_eq!(shown("redis://:a/b@host/0"), "redis://***@host/0");
        assert_eq!(shown("redis://:a?b@host/0"), "redis://***");
        assert_eq!(shown("redis://:a#b@host/0"), "redis://***");
        assert_eq!(shown("mysql://host/db?password=a@b"), "mysql://***");
    }

    #[test]
    fn of_what_is_no_url_of_a_store_nothing_is_shown() {
        for url in [
            "ada:secret@host/db",
            "secret:@host/db",
            "secret@host/db",
            "secret",
            "rodis://:secret@host",
            "redis:ada:secret@host",
            "postgres:/ada:secret@host/db",
            "cookie:secret",
            "memory:secret",
        ] {
            assert!(!shown(url).contains("secret"), "{url}: {}", shown(url));
        }
    }
}
