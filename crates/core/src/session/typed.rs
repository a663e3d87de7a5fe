//! A struct in a session, under a prefix that its type names.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Session;
use crate::Error;

/// A struct whose fields are entries of the session, under a prefix of its own.
pub trait SessionStruct: Serialize + DeserializeOwned + Default {
    /// What the names of its entries begin with, before a dot: `visit` for `visit.pages`.
    /// No other struct of the site has the same.
    const PREFIX: &'static str;
}

/// A [`SessionStruct`] of one session: what [`Session::typed`] answers.
///
/// ```
/// use cloakroom_core::session::{Session, SessionStruct};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visit {
///     pages: u32,
/// }
///
/// impl SessionStruct for Visit {
///     const PREFIX: &'static str = "visit";
/// }
///
/// let visit = Session::detached().typed::<Visit>();
/// visit.update(|visit| visit.pages += 1)?;
/// assert_eq!(visit.get()?.pages, 1);
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
pub struct Typed<T> {
    session: Session,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Typed<{}>", std::any::type_name::<T>())
    }
}

impl Session {
    /// The struct of this type in the session; nothing is read yet.
    #[must_use]
    pub fn typed<T: SessionStruct>(&self) -> Typed<T> {
        Typed {
            session: self.clone(),
            of: PhantomData,
        }
    }
}

impl<T: SessionStruct> Typed<T> {
    /// The struct; its default where none of its entries is there.
    ///
    /// # Errors
    /// As [`Session::get_fields`].
    pub fn get(&self) -> Result<T, Error> {
        Ok(self.session.get_fields(T::PREFIX)?.unwrap_or_default())
    }

    /// Sets the struct, as [`Session::insert_fields`].
    ///
    /// # Errors
    /// As [`Session::insert_fields`].
    pub fn insert(&self, value: &T) -> Result<(), Error> {
        self.session.insert_fields(T::PREFIX, value)
    }

    /// Changes the struct in place, as [`Session::update_fields`].
    ///
    /// # Errors
    /// As [`Session::update_fields`].
    pub fn update(&self, change: impl FnMut(&mut T) + Send + 'static) -> Result<(), Error> {
        self.session.update_fields(T::PREFIX, change)
    }

    /// The session that it is in.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}
