//! What to call a session in its owner's list: "Firefox on Linux".

use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;

/// Products and systems by the mark they leave in a `User-Agent`, the more
/// particular ones first: they all claim to be Safari.
const PRODUCTS: [(&str, &str); 8] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];
const SYSTEMS: [(&str, &str); 7] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// A few fixed words about a browser, whatever it says of itself.
pub(crate) fn describe(headers: &HeaderMap) -> String {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let known = |marks: &[(&str, &'static str)]| {
        let agent = agent?;
        let found = marks.iter().find(|(mark, _)| agent.contains(mark))?;
        Some(found.1)
    };
    match (known(&PRODUCTS), known(&SYSTEMS)) {
        (Some(product), Some(system)) => format!("{product} on {system}"),
        (Some(product), None) => product.to_owned(),
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => "An unknown browser".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(agent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent.parse().unwrap());
        describe(&headers)
    }

    #[test]
    fn usual_browsers_are_told_apart() {
        let safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/17.4 Safari/605.1.15";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                    Gecko) Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0";
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";
        assert_eq!(described(safari), "Safari on macOS");
        assert_eq!(described(edge), "Edge on Windows");
        assert_eq!(described(firefox), "Firefox on Linux");
        assert_eq!(described("curl/8.5.0"), "curl");
        assert_eq!(described(&"x".repeat(5_000)), "An unknown browser");
        assert_eq!(describe(&HeaderMap::new()), "An unknown browser");
    }
}
