//! The extractors of a sensitive page: of a login that is fresh, or of a level.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use cloakroom_web::{Level, MaxAge, StepUp};

use crate::extract::LocalFuture;
use crate::login::stepped_up;
use crate::{LoggedIn, NotLoggedIn};

/// A visitor who has proved within this time who they are, as a handler's argument.
///
/// ```
/// use cloakroom_actix::{Fresh, Minutes};
///
/// async fn change_password(visitor: Fresh<Minutes<10>>) -> String {
///     format!("A new password for {}?", visitor.subject().as_str())
/// }
/// ```
///
/// Everything else is on [`LoggedIn`], to which it dereferences.
///
/// # Errors
/// A visitor whose login is older gets a 403, and where they have asked for a page and there
/// is a [step-up page](crate::SessionMiddleware::step_up_page), they are sent there. Else as
/// [`LoggedIn`].
pub struct Fresh<A: MaxAge> {
    visitor: LoggedIn,
    within: PhantomData<fn() -> A>,
}

impl<A: MaxAge> FromRequest for Fresh<A> {
    type Error = NotLoggedIn;
    type Future = LocalFuture<Result<Self, NotLoggedIn>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visitor = stepped_up(request.clone(), StepUp::Fresh(A::MAX_AGE));
        Box::pin(async move {
            Ok(Self {
                visitor: visitor.await?,
                within: PhantomData,
            })
        })
    }
}

impl<A: MaxAge> Deref for Fresh<A> {
    type Target = LoggedIn;

    fn deref(&self) -> &LoggedIn {
        &self.visitor
    }
}

impl<A: MaxAge> fmt::Debug for Fresh<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fresh").field(&self.visitor).finish()
    }
}

/// A visitor who has proved at this level who they are, as a handler's argument.
///
/// ```
/// use cloakroom_actix::{Aal2, AtLeast, Fresh, Minutes};
///
/// // Both: a second factor, and not long ago.
/// async fn pay_out(visitor: AtLeast<Aal2>, _: Fresh<Minutes<10>>) -> String {
///     format!("{} is paid.", visitor.subject().as_str())
/// }
/// ```
///
/// Everything else is on [`LoggedIn`], to which it dereferences.
///
/// # Errors
/// As [`Fresh`].
pub struct AtLeast<L: Level> {
    visitor: LoggedIn,
    level: PhantomData<fn() -> L>,
}

impl<L: Level> FromRequest for AtLeast<L> {
    type Error = NotLoggedIn;
    type Future = LocalFuture<Result<Self, NotLoggedIn>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visitor = stepped_up(request.clone(), StepUp::AtLeast(L::LEVEL));
        Box::pin(async move {
            Ok(Self {
                visitor: visitor.await?,
                level: PhantomData,
            })
        })
    }
}

impl<L: Level> Deref for AtLeast<L> {
    type Target = LoggedIn;

    fn deref(&self) -> &LoggedIn {
        &self.visitor
    }
}

impl<L: Level> fmt::Debug for AtLeast<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtLeast").field(&self.visitor).finish()
    }
}
