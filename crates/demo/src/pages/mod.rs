//! One page a file: what it shows, and what its forms do.

pub(crate) mod about;
pub(crate) mod admin;
pub(crate) mod cart;
pub(crate) mod count;
pub(crate) mod devices;
pub(crate) mod enter;
mod form;
pub(crate) mod home;
pub(crate) mod record;
pub(crate) mod test_cookie;

/// What a page answers with: itself, or the session's failure.
pub(crate) type Answer = Result<axum::response::Response, cloakroom::axum::SessionError>;

/// What the address of the front page says right after a login and a logout.
pub(crate) const LOGGED_IN: &str = "logged-in";
pub(crate) const LOGGED_OUT: &str = "logged-out";
