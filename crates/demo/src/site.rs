//! The whole application as one router.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use cloakroom::Engine;
use cloakroom::axum::{SessionLayer, device_endpoint};
use cloakroom::dbsc::Dbsc;
use cloakroom::engine::TokenStore as _;
use cloakroom_admin::AdminPage;

use crate::assets::{ICON, LIVE, STYLE};
use crate::pages::{about, admin, cart, count, devices, enter, home, record, test_cookie};
use crate::state::{Keeping, Site, Stopping};
use crate::{Accounts, bill, problem};

/// Bytes of the longest form that is read.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// Where admins find the sessions of everybody.
pub(crate) const SESSIONS: &str = "/admin/sessions";

/// The demo site over an engine and its accounts.
///
/// Its forms are guarded on the understanding that the site is reached over
/// http under the name in the `Host` header.
pub fn site(engine: Engine, accounts: Arc<Accounts>) -> Router {
    let of_sessions = AdminPage::new(engine.clone(), admin::administrator);
    with_admin_page(engine, accounts, of_sessions, Stopping::default())
}

/// The site with its page of sessions, which may know of a sweeper.
pub(crate) fn with_admin_page(
    engine: Engine,
    accounts: Arc<Accounts>,
    of_sessions: AdminPage,
    stopping: Stopping,
) -> Router {
    // What lists no sessions keeps none: they lie in the visitors' cookies.
    let keeping = match engine.store().token_capabilities().subjects {
        Some(_) => Keeping::Store,
        None => Keeping::Cookie,
    };
    let mut site = Router::new();
    if engine.exchange().is_device_bound() {
        site = site.route(Dbsc::PATH, post(device_endpoint));
    }
    site.route("/", get(home::page))
        .route("/register", get(enter::register_page).post(enter::register))
        .route("/login", get(enter::login_page).post(enter::login))
        .route("/logout", post(enter::logout))
        .route("/count", get(count::page).post(count::count))
        .route("/cart", get(cart::page))
        .route("/cart/add", post(cart::add))
        .route("/cart/change", post(cart::change))
        .route("/cart/remove", post(cart::remove))
        .route("/cart/empty", post(cart::empty))
        .route("/test-cookie", get(test_cookie::page))
        .route("/test-cookie/set", post(test_cookie::set))
        .route("/test-cookie/delete", post(test_cookie::delete))
        .route("/admin", get(admin::page))
        .route("/admin/enter", post(admin::enter))
        .route("/admin/leave", post(admin::leave))
        .nest(SESSIONS, of_sessions.into_router())
        .route("/devices", get(devices::page))
        .route("/devices/live", get(devices::live))
        .route("/devices/end", post(devices::end))
        .route("/devices/end-others", post(devices::end_others))
        .route("/record", get(record::page))
        .route("/about", get(about::page))
        .layer(
            SessionLayer::new(engine)
                .step_up_page("/admin")
                .report_cost(),
        )
        // From here on outwards nothing can touch a session.
        .route(STYLE.path, get(async || STYLE.serve()))
        .route(LIVE.path, get(async || LIVE.serve()))
        .route(ICON.path, get(async || ICON.serve()))
        .fallback(problem::no_such_page)
        .layer(from_fn(problem::explain))
        .layer(from_fn_with_state(keeping, bill::present))
        .layer(from_fn(guard))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(Site {
            accounts,
            keeping,
            stopping,
        })
}

/// The layer that tells browsers to trust nothing but this site.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                  img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
    ] {
        // The page of sessions has its own, which allows its style.
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
