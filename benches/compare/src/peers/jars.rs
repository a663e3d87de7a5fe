//! What no session crate should be much slower than: the `cookie` crate's jars, and axum
//! without sessions.

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use cookie::{Cookie, CookieJar, Key};
use tower::util::MapRequestLayer;

use crate::contender::{Entry, Sealer};
use crate::profile::Profile;
use crate::works::request::App;

/// A session as JSON in a jar, to the header's text and back.
struct Jar {
    key: Key,
    is_private: bool,
}

impl Jar {
    fn new(is_private: bool) -> Self {
        let key = Key::generate();
        Jar { key, is_private }
    }
}

impl Sealer for Jar {
    fn seal(&self, profile: &Profile) -> String {
        let cookie = Cookie::new("id", serde_json::to_string(profile).unwrap());
        let mut jar = CookieJar::new();
        match self.is_private {
            true => jar.private_mut(&self.key).add(cookie),
            false => jar.signed_mut(&self.key).add(cookie),
        }
        let cookie = jar.get("id").expect("just added");
        cookie.stripped().encoded().to_string()["id=".len()..].to_owned()
    }
    fn open(&self, value: &str) -> Profile {
        let mut jar = CookieJar::new();
        jar.add_original(Cookie::parse_encoded(format!("id={value}")).unwrap());
        let cookie = match self.is_private {
            true => jar.private(&self.key).get("id"),
            false => jar.signed(&self.key).get("id"),
        };
        serde_json::from_str(cookie.expect("of this jar").value()).unwrap()
    }
}

fn routes() -> Router {
    Router::new().route("/none", get(async || ()))
}

pub const ENTRIES: &[Entry] = &[
    ("cookie 0.18 PrivateJar", |run| run.seal(Jar::new(true))),
    ("cookie 0.18 SignedJar", |run| run.seal(Jar::new(false))),
    ("raw: axum, no sessions", |run| {
        run.web(async || App::without_sessions(routes()))
    }),
    ("raw: axum, an empty layer", |run| {
        let layered = || routes().layer(MapRequestLayer::new(|request: Request| request));
        run.web(async || App::without_sessions(layered()));
    }),
];
