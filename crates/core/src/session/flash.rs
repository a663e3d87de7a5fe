//! Flash values: said in one request, read once in a later one.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Session;
use crate::session::Value;
use crate::{Error, ErrorKind};

/// Flash values are an entry of their own for each name, a list.
fn entry_name(name: &str) -> String {
    format!("flash.{name}")
}

/// Flash values: "your order has been sent", on the page after the redirect and
/// on no other.
impl Session {
    /// Leaves a value for a later request, behind those already left under this
    /// name.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] where the type refuses to serialise.
    pub fn flash<T: Serialize>(&self, name: &str, value: T) -> Result<(), Error> {
        let depth_max = self.shared.context.limits.depth();
        let value = Value::from_serialize(&value, depth_max.saturating_sub(1))?;
        self.update(&entry_name(name), move |left: &mut Vec<Value>| {
            left.push(value.clone());
        })
    }

    /// Takes the values left under a name, oldest first, and saves: of any
    /// number of requests at the same time, one gets them. What another request leaves
    /// meanwhile is for a later one. Where none are left it costs nothing.
    ///
    /// # Errors
    /// What [`save`](Self::save) gives, but for [`ErrorKind::Gone`]: a session
    /// that was ended meanwhile has no values left.
    /// [`ErrorKind::Mismatch`] where one is of another type; they are taken all
    /// the same.
    pub async fn take_flash<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, Error> {
        let entry = entry_name(name);
        if !self.contains(&entry) {
            return Ok(Vec::new());
        }
        // On replay it takes what is left of those values: none, where another request was
        // first. The replay may be on a session that has moved, of which whoever holds the key
        // of before must read nothing.
        let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = taken.clone();
        let mut seen: Option<Vec<Value>> = None;
        self.update_with(&entry, move |left: Option<Vec<Value>>| {
            let mut left = left.unwrap_or_default();
            let still_there = match &seen {
                Some(seen) => {
                    let pairs = left.iter().zip(seen);
                    pairs.take_while(|(left, seen)| left == seen).count()
                }
                None => left.len(),
            };
            let later = left.split_off(still_there);
            seen.get_or_insert_with(|| left.clone());
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = left;
            (!later.is_empty()).then_some(later)
        })?;
        match self.save().await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Gone => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().map(Value::read).collect()
    }
}
