//! The extractors of a sensitive page: of a login that is fresh, or of a level.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use cloakroom_tower::RequestSession as _;
use cloakroom_web::{Level, MaxAge, StepUp};
use http::request::Parts;

use crate::{LoggedIn, NotLoggedIn};

/// A visitor who has proved within this time who they are, as a handler's argument.
///
/// ```
/// use cloakroom_axum::{Fresh, Minutes};
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
/// is a [step-up page](crate::SessionLayer::step_up_page), they are sent there. Else as
/// [`LoggedIn`].
pub struct Fresh<A: MaxAge> {
    visitor: LoggedIn,
    within: PhantomData<fn() -> A>,
}

impl<A: MaxAge, S: Sync> FromRequestParts<S> for Fresh<A> {
    type Rejection = NotLoggedIn;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotLoggedIn> {
        Ok(Self {
            visitor: stepped_up(parts, StepUp::Fresh(A::MAX_AGE)).await?,
            within: PhantomData,
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
/// use cloakroom_axum::{Aal2, AtLeast, Fresh, Minutes};
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

impl<L: Level, S: Sync> FromRequestParts<S> for AtLeast<L> {
    type Rejection = NotLoggedIn;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotLoggedIn> {
        Ok(Self {
            visitor: stepped_up(parts, StepUp::AtLeast(L::LEVEL)).await?,
            level: PhantomData,
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

async fn stepped_up(parts: &Parts, needs: StepUp) -> Result<LoggedIn, NotLoggedIn> {
    let stepped_up = parts.stepped_up(needs).await;
    stepped_up.map(LoggedIn::new).map_err(NotLoggedIn)
}
