//! A site on the real axum-login, over our stores.

#![cfg(feature = "v0_14")]
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod common;

use std::collections::HashSet;
use std::convert::Infallible;

use axum::Router;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum_login::{
    AuthManagerLayerBuilder, AuthUser, AuthnBackend, AuthzBackend, login_required,
    permission_required,
};
use cloakroom_core::Subject;
use cloakroom_core::engine::{Entropy as _, OsEntropy};
use cloakroom_core::store::{Revoke, SessionStore};
use cloakroom_tower_sessions::CloakroomStore;
use serde::Deserialize;
use tower_sessions_0_14::{Session, SessionManagerLayer};

use common::{Browser, Opened};

#[derive(Clone, Debug)]
struct User {
    id: i64,
    name: String,
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.name.as_bytes()
    }
}

/// Ada may write, Bob may not. Each has their name for a password.
///
/// Each test has users of its own: the stores of servers are shared.
#[derive(Clone, Debug)]
struct Users {
    ada: i64,
}

impl Users {
    fn new() -> Self {
        let mut random = [0; 4];
        OsEntropy.fill(&mut random).unwrap();
        let ada = i64::from(u32::from_le_bytes(random)) * 2;
        Self { ada }
    }

    fn subject(&self) -> Subject {
        Subject::new(self.ada.to_string()).unwrap()
    }

    fn find(&self, id: i64) -> Option<User> {
        let name = match id - self.ada {
            0 => "ada",
            1 => "bob",
            _ => return None,
        };
        let name = name.to_owned();
        Some(User { id, name })
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, Infallible> {
        let all = [self.ada, self.ada + 1].map(|id| self.find(id));
        let mut all = all.into_iter().flatten();
        Ok(all.find(|user| user.name == given.name && user.name == given.password))
    }

    async fn get_user(&self, id: &i64) -> Result<Option<User>, Infallible> {
        Ok(self.find(*id))
    }
}

impl AuthzBackend for Users {
    type Permission = String;

    async fn get_user_permissions(&self, user: &User) -> Result<HashSet<String>, Infallible> {
        let may_write = (user.id == self.ada).then(|| "write".to_owned());
        Ok(may_write.into_iter().collect())
    }
}

type AuthSession = axum_login::AuthSession<Users>;

async fn log_in(mut auth: AuthSession, Form(given): Form<Credentials>) -> Response {
    let Some(user) = auth.authenticate(given).await.unwrap() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    match auth.login(&user).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn site<S: SessionStore>(users: &Users, store: &CloakroomStore<S>) -> Browser {
    let sessions = SessionManagerLayer::new(store.clone());
    let logins = AuthManagerLayerBuilder::new(users.clone(), sessions).build();
    let write = Router::new()
        .route("/write", get(async || "written"))
        .route_layer(permission_required!(Users, "write"));
    let protected = Router::new()
        .route("/", get(async |auth: AuthSession| auth.user.unwrap().name))
        .merge(write)
        .route_layer(login_required!(Users, login_url = "/login"));
    let open = Router::new()
        .route("/login", post(log_in))
        .route(
            "/logout",
            post(async |mut auth: AuthSession| {
                auth.logout().await.unwrap();
            }),
        )
        .route(
            "/cart",
            get(async |session: Session| {
                format!("{:?}", session.get::<String>("cart").await.unwrap())
            }),
        )
        .route(
            "/buy",
            post(async |session: Session| session.insert("cart", "tea").await.unwrap()),
        );
    Browser::new(protected.merge(open).layer(logins))
}

/// A visitor fills a cart, logs in, works and logs out.
async fn a_login<S: SessionStore>(opened: Option<Opened<S>>) {
    let Some(Opened { store, .. }) = &opened else {
        return;
    };
    let users = Users::new();
    let mut ada = site(&users, store);

    // Nobody is logged in: the protected page leads to the login.
    let page = ada.get("/").await;
    assert_eq!(page.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(page.location.as_deref(), Some("/login?next=%2F"));
    assert_eq!(ada.cookie, None);
    let page = ada.post("/login", "name=ada&password=bob").await;
    assert_eq!(
        (page.status, &ada.cookie),
        (StatusCode::UNAUTHORIZED, &None)
    );

    // The login moves the session to another id, with what was in it.
    assert_eq!(ada.post("/buy", "").await.status, StatusCode::OK);
    let before = ada.clone();
    let page = ada.post("/login", "name=ada&password=ada").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_ne!(ada.cookie, before.cookie);
    assert_eq!(ada.get("/").await.text, "ada");
    assert_eq!(ada.get("/cart").await.text, "Some(\"tea\")");

    // The old id opens nothing, and its requests leave the new cookie alone.
    let page = before.answer("GET", "/", "").await;
    assert_eq!(page.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(page.set_cookie, None);
    assert_eq!(before.answer("GET", "/cart", "").await.text, "None");

    // Permissions are the application's.
    assert_eq!(ada.get("/write").await.text, "written");
    let mut bob = site(&users, store);
    bob.post("/login", "name=bob&password=bob").await;
    assert_eq!(bob.get("/").await.text, "bob");
    assert_eq!(bob.get("/write").await.status, StatusCode::FORBIDDEN);

    // Ada's sessions are listed; a logout ends this one.
    let mut elsewhere = site(&users, store);
    elsewhere.post("/login", "name=ada&password=ada").await;
    let listed = store.sessions_of(&users.subject(), 9).await.unwrap();
    assert_eq!(listed.len(), 2);
    let stolen = ada.clone();
    ada.post("/logout", "").await;
    assert_eq!(ada.cookie, None);
    assert_eq!(stolen.answer("GET", "/cart", "").await.text, "None");
    let listed = store.sessions_of(&users.subject(), 9).await.unwrap();
    assert_eq!(listed.len(), 1);

    // All others end at once, as after a password reset.
    assert_eq!(elsewhere.get("/").await.text, "ada");
    let subject = users.subject();
    let all = store.end_sessions_of(&subject, Revoke::All);
    all.await.unwrap();
    assert_ne!(elsewhere.get("/").await.status, StatusCode::OK);
    assert_eq!(bob.get("/").await.text, "bob");
}

/// Who has planted an id in a visitor's browser gains nothing by the visitor's login, with
/// requests from before it neither.
async fn a_planted_id<S: SessionStore>(opened: Option<Opened<S>>) {
    use tower_sessions_0_14::SessionStore as _;
    use tower_sessions_0_14::session::{Id, Record};

    let Some(Opened { store, .. }) = &opened else {
        return;
    };
    let mut mallory = site(&Users::new(), store);
    mallory.post("/buy", "").await;
    let planted: Id = mallory.id().unwrap().parse().unwrap();
    let held = || async { store.load(&planted).await.unwrap().unwrap() };
    let (save, rotate): (Record, Record) = (held().await, held().await);

    let users = Users::new();
    let mut ada = site(&users, store).with_cookie(mallory.cookie.clone());
    ada.post("/login", "name=ada&password=ada").await;
    assert_eq!(ada.get("/").await.text, "ada");
    let mallory = site(&users, store).with_cookie(mallory.cookie);
    assert_ne!(mallory.answer("GET", "/", "").await.status, StatusCode::OK);

    // A held request that saves is refused, and Ada's session has nothing of it.
    let mut late = save;
    late.data.insert("cart".to_owned(), "poison".into());
    store.save(&late).await.unwrap_err();
    assert_eq!(ada.get("/cart").await.text, "Some(\"tea\")");

    // One that rotates ends the session, as a logout would, and does not get it.
    let mut late = rotate;
    store.delete(&planted).await.unwrap();
    store.create(&mut late).await.unwrap();
    let cookie = Some(format!("id={}", late.id));
    let mallory = site(&users, store).with_cookie(cookie);
    assert_ne!(mallory.answer("GET", "/", "").await.status, StatusCode::OK);
    assert_eq!(mallory.answer("GET", "/cart", "").await.text, "None");
}

macro_rules! over {
    ($($store:ident)*) => {$(
        mod $store {
            #[tokio::test]
            async fn a_login_moves_the_session_and_a_logout_ends_it() {
                super::a_login(super::common::$store().await).await;
            }

            #[tokio::test]
            async fn a_planted_id_gains_nothing_by_a_login() {
                super::a_planted_id(super::common::$store().await).await;
            }
        }
    )*};
}

over!(memory redb sqlite postgres redis);
