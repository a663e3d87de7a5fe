//! Where visitors log in.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::exchange::is_document;

/// The page where visitors log in, as an adapter is told it once.
///
/// ```
/// use cloakroom_web::LoginPage;
///
/// let page = LoginPage::new("/login");
/// let url = page.url_for("GET", "/cart?page=2", None);
/// assert_eq!(url.as_deref(), Some("/login?next=/cart%3Fpage%3D2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPage(Arc<str>);

/// What stays as it is in the value of a query: RFC 3986's unreserved characters and `/`.
const IN_A_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl LoginPage {
    /// The page at this URL, which may have a query of its own.
    #[must_use]
    pub fn new(url: impl Into<Arc<str>>) -> Self {
        Self(url.into())
    }

    /// Where to send a visitor who is not logged in, with what they have asked for as
    /// `next`. `asked_for` is the path and the query of the request, as they came, and
    /// `fetch_dest` its `Sec-Fetch-Dest` header.
    ///
    /// `None` where they have not asked for a page: a script wants the 401, and a form that
    /// was sent is lost either way.
    #[must_use]
    pub fn url_for(
        &self,
        method: &str,
        asked_for: &str,
        fetch_dest: Option<&[u8]>,
    ) -> Option<String> {
        let is_page = is_document(fetch_dest) && matches!(method, "GET" | "HEAD");
        is_page.then(|| {
            let asked_for = utf8_percent_encode(asked_for, IN_A_QUERY);
            let joint = if self.0.contains('?') { '&' } else { '?' };
            format!("{}{joint}next={asked_for}", self.0)
        })
    }
}

/// Whether this text is a path on this site: what a login page may send its visitor to.
///
/// Anybody can make a link to a login page with another `next`, and browsers take
/// `//host`, `/\host`, and `/`, a tab and `/host` for other sites.
///
/// ```
/// use cloakroom_web::is_local_path;
///
/// assert!(is_local_path("/cart?page=2"));
/// for elsewhere in ["https://e.com", "//e.com", "/\\e.com", "/\t/e.com", ""] {
///     assert!(!is_local_path(elsewhere));
/// }
/// ```
#[must_use]
pub fn is_local_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    text.starts_with('/') && !text.starts_with("//") && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_a_page_is_sent_to_another_one() {
        let page = LoginPage::new("/login?from=shop");
        for (method, dest, is_sent) in [
            ("GET", None, true),
            ("HEAD", None, true),
            ("GET", Some(&b"Document"[..]), true),
            ("GET", Some(b"empty"), false),
            ("GET", Some(b"iframe"), false),
            ("POST", Some(b"document"), false),
        ] {
            let url = page.url_for(method, "/a%20b?x=1&y=%C3%A9", dest);
            let sent = "/login?from=shop&next=/a%2520b%3Fx%3D1%26y%3D%25C3%25A9";
            assert_eq!(url.as_deref(), is_sent.then_some(sent), "{method} {dest:?}");
        }
    }
}
