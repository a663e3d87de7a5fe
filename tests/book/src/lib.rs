//! The code of the book in `docs`, compiled; what needs no server is also run.

/// The pages with code. A test of `meta` says which one is missing.
macro_rules! pages {
    ($($page:ident: $file:literal),* $(,)?) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../../../docs/", $file))]
            mod $page {}
        )*
    };
}

pages! {
    start_axum: "start-axum.md",
    start_actix: "start-actix.md",
    stores: "stores.md",
    cookie: "cookie.md",
    login: "login.md",
    remember_me: "remember-me.md",
    flash: "flash.md",
    cart: "cart.md",
    devices: "devices.md",
    step_up: "step-up.md",
    openid: "openid.md",
    dbsc: "dbsc.md",
    sockets: "sockets.md",
    api: "api.md",
    testing: "testing.md",
    releases: "releases.md",
    sweeping: "sweeping.md",
    proxies: "proxies.md",
    admin: "admin.md",
    errors: "errors.md",
    ends: "ends.md",
    events: "events.md",
    audit: "audit.md",
    migrating: "migrating.md",
    tower_sessions: "tower-sessions.md",
    moving: "moving.md",
    django: "django.md",
    writing_a_store: "writing-a-store.md",
}
