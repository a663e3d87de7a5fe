//! The provider's public keys: given, or fetched by the application's HTTP client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::{Error, ErrorKind, Timestamp};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize as _;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::answer::BoxError;

/// Bytes of the longest key set that is read.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// How long keys are used without another look: a key that the provider withdraws is trusted
/// for as long as this.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// How often keys are fetched at most: anybody can send a token with an unknown key id.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long a fetch may take.
const FETCH_MAX: Duration = Duration::from_secs(10);

type Fetched = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;
type Fetch = Box<dyn Fn() -> Fetched + Send + Sync>;

/// The public keys of a provider: the JSON that its `jwks_uri` answers.
pub struct Keys {
    fetch: Option<Arc<Fetch>>,
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Arc<Vec<Jwk>>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    /// Why the last fetch has brought no keys.
    failure: Option<Arc<str>>,
    /// Is closed when the fetch is over that is under way.
    fetching: Option<watch::Receiver<()>>,
}

impl Keys {
    /// The keys of this key set, for as long as the process runs.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where it is no key set, or one of more than
    /// [`KEY_SET_BYTES_MAX`].
    pub fn given(key_set: &str) -> Result<Self, Error> {
        let keys = read(key_set).ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the keys of the identity provider are no JSON Web Key Set of 256 KiB at most",
            )
        })?;
        let known = Known {
            keys: Arc::new(keys),
            ..Known::default()
        };
        Ok(Self::new(None, known))
    }

    /// The keys that this fetches: it answers the text of the provider's `jwks_uri`, by the
    /// application's HTTP client. It is asked for with the first token, with one whose key id
    /// is unknown, and with the first after an hour; once a minute at most, and for ten seconds
    /// at most. It runs as a task of tokio of its own, so that it goes on though whoever has sent
    /// that token hangs up.
    pub fn fetched<F, A, E>(fetch: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let fetch: Fetch = Box::new(move || {
            let fetched = fetch();
            Box::pin(async move { fetched.await.map_err(Into::into) })
        });
        Self::new(Some(Arc::new(fetch)), Known::default())
    }

    fn new(fetch: Option<Arc<Fetch>>, known: Known) -> Self {
        Self {
            fetch,
            known: Arc::new(Mutex::new(known)),
        }
    }

    /// The one key that a token with this header may be signed with; `None` where the
    /// provider has none, or several that the header does not tell apart.
    ///
    /// # Errors
    /// Where keys have to be fetched, and cannot be.
    pub(crate) async fn find(
        &self,
        header: &Header,
        now: Timestamp,
    ) -> Result<Option<DecodingKey>, BoxError> {
        let known = self.known();
        let found = known.find(header);
        if self.fetch.is_none() || (found.is_some() && !known.is_old(now)) {
            return Ok(found);
        }
        if let Some(mut fetching) = self.fetching(now) {
            // Nothing is sent: it is closed when the fetch is over, however it ends.
            let _closed = fetching.changed().await;
        }
        let known = self.known();
        match (known.find(header), known.failure) {
            // An outage of the provider does not make a known key a worse one.
            (Some(key), _) => Ok(Some(key)),
            (None, Some(why)) => Err(why.as_ref().into()),
            (None, None) => Ok(None),
        }
    }

    /// The fetch that is under way, or that begins now; `None` where the last one is not a
    /// minute old. There is one at a time. It is a task of its own: the future of a request is
    /// dropped when its client hangs up, and anybody can send what begins a fetch.
    fn fetching(&self, now: Timestamp) -> Option<watch::Receiver<()>> {
        let fetch = self.fetch.clone()?;
        let mut known = lock(&self.known);
        if let Some(under_way) = &known.fetching
            && under_way.has_changed().is_ok()
        {
            return Some(under_way.clone());
        }
        if known.was_tried(now) {
            return None;
        }
        let Ok(runtime) = Handle::try_current() else {
            known.failure = Some("there is no tokio runtime to fetch them in".into());
            return None;
        };
        let (over, fetching) = watch::channel(());
        known.tried_at = Some(now);
        // What is told if the task does not come to its end, as in a panic.
        known.failure = Some("the fetch was broken off".into());
        known.fetching = Some(fetching.clone());
        drop(known);
        let known = self.known.clone();
        runtime.spawn(async move {
            let fetched = tokio::time::timeout(FETCH_MAX, fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err("no answer within ten seconds".into()));
            let no_key_set = "the answer is no JSON Web Key Set of 256 KiB at most";
            let keys = fetched.and_then(|text| read(&text).ok_or_else(|| no_key_set.into()));
            let mut known = lock(&known);
            known.failure = match keys {
                Ok(keys) => {
                    known.keys = Arc::new(keys);
                    known.fetched_at = Some(now);
                    None
                }
                Err(why) => Some(why.to_string().into()),
            };
            drop(over);
        });
        Some(fetching)
    }

    fn known(&self) -> Known {
        lock(&self.known).clone()
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.known().keys.len();
        f.debug_struct("Keys")
            .field("known", &count)
            .finish_non_exhaustive()
    }
}

impl Known {
    fn is_old(&self, now: Timestamp) -> bool {
        self.fetched_at
            .is_none_or(|at| now < at || now.saturating_since(at) >= AGE_MAX)
    }

    fn was_tried(&self, now: Timestamp) -> bool {
        self.tried_at
            .is_some_and(|at| now >= at && now.saturating_since(at) < INTERVAL)
    }

    fn find(&self, header: &Header) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| fits(key, header));
        let key = fitting.next()?;
        let is_the_only_one = fitting.next().is_none();
        is_the_only_one
            .then(|| DecodingKey::from_jwk(key).ok())
            .flatten()
    }
}

fn fits(key: &Jwk, header: &Header) -> bool {
    let is_named = header.kid.is_none() || key.common.key_id == header.kid;
    let is_for_signatures = match &key.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(_) => false,
    };
    let algorithm = key.common.key_algorithm;
    let is_for_this = algorithm.is_none_or(|of| Algorithm::try_from(of).ok() == Some(header.alg));
    let is_of_its_family =
        DecodingKey::from_jwk(key).is_ok_and(|key| key.family() == header.alg.family());
    is_named && is_for_signatures && is_for_this && is_of_its_family
}

fn read(key_set: &str) -> Option<Vec<Jwk>> {
    if key_set.len() > KEY_SET_BYTES_MAX {
        return None;
    }
    let set: serde_json::Value = serde_json::from_str(key_set).ok()?;
    // A key of a kind that is not known here must not take the others with it.
    let keys = set.get("keys")?.as_array()?.iter();
    Some(keys.filter_map(|key| Jwk::deserialize(key).ok()).collect())
}
