//! Keys and records to test with.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::engine::{OsEntropy, SessionKey, Token, TokenStore};
use cloakroom_core::store::{Data, KeyDigest, Record, Stored, SubjectDigest, Subjects, Touch};
use cloakroom_core::{
    Aal, Authentication, Binding, Clock as _, Label, Login, ProviderSession, SessionExpiry, Site,
    Subject, SystemClock, Timestamp,
};

/// A touch that moves the deadline, and not the last use.
#[must_use]
pub fn touch_until(expires_at: Timestamp) -> Touch {
    Touch {
        last_seen_at: Timestamp::EPOCH,
        expires_at,
    }
}

/// A new random key.
///
/// # Panics
/// Where the operating system gives no randomness.
#[must_use]
pub fn key() -> SessionKey {
    SessionKey::generate(&OsEntropy).expect("tests run where there is randomness")
}

/// A record of a session that begins now and lives for an hour, with `text` as its
/// data. Every field of its header is set.
///
/// # Panics
/// Never: its texts are short.
#[must_use]
pub fn sample(text: &str) -> Record {
    let now = SystemClock.now();
    let mut record = Record::new(now, after(now, 3_600));
    record.absolute_deadline = Some(after(now, 7_200));
    record.flushes = 3;
    record.expiry = SessionExpiry::Idle(Duration::from_millis(3_600_001));
    record.site = site();
    record.subject = Some(Subject::new("user-42").expect("short"));
    record.label = Some(Label::new("Firefox on Linux").expect("short"));
    let passkey = Authentication::from(Aal::Two).by(Label::new("passkey").expect("short"));
    let mut login = Login::new(&passkey, now);
    let provider = ProviderSession::new("https://id.example", "08a5");
    login.provider = Some(Box::new(provider.expect("short")));
    login.binding = Some(Box::new(Binding::offered([1; 32], now).bound_to([4; 65])));
    record.login = Some(Arc::new(login));
    record.data = Data::from_bytes(text.as_bytes());
    record
}

/// The site of every [`sample`].
pub(crate) fn site() -> Site {
    Site::new("__Host-session").expect("short")
}

/// The digest under which a store lists a [`sample`] with this subject.
#[must_use]
pub fn listed_as(subject: &Subject) -> SubjectDigest {
    SubjectDigest::new(&site(), subject)
}

pub(crate) fn after(now: Timestamp, secs: u64) -> Timestamp {
    now.saturating_add(Duration::from_secs(secs))
}

/// A stored session that a clause works on: the client's token, and the record that
/// the store should hold.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sample {
    /// The client's token.
    pub token: Token,
    /// The record, at its current revision.
    pub record: Record,
}

impl Sample {
    /// Stores a new session with the record of [`sample`].
    ///
    /// # Panics
    /// Where the store refuses it.
    pub async fn create<T: TokenStore>(store: &T, text: &str) -> Self {
        Self::with_record(store, sample(text)).await
    }

    /// Stores a new session with this record.
    ///
    /// # Panics
    /// Where the store refuses it.
    pub async fn with_record<T: TokenStore>(store: &T, record: Record) -> Self {
        let written = store.create_token(&key(), &record).await;
        let written = written.expect("a new session is stored");
        Self {
            token: written.token.expect("a new session comes with its token"),
            record: record.at_revision(written.revision),
        }
    }

    /// The same record with another text as its data.
    #[must_use]
    pub fn saying(&self, text: &str) -> Record {
        let mut record = self.record.clone();
        record.data = Data::from_bytes(text.as_bytes());
        record
    }

    /// Moves the session to a new key, so many times, and answers the tokens that it
    /// leaves, the oldest first; rotation marks stand under them for an hour.
    ///
    /// # Panics
    /// Where the store refuses a rotation.
    pub async fn rotate<T: TokenStore>(&mut self, store: &T, times: usize) -> Vec<Token> {
        let until = after(self.record.created_at, 3_600);
        let mut left = Vec::new();
        for _ in 0..times {
            let rotated = store
                .rotate_token(&self.token, &key(), &self.record, until)
                .await;
            let written = rotated.expect("a rotation on the stored revision is written");
            let new = written.token.expect("a rotation comes with the new token");
            left.push(std::mem::replace(&mut self.token, new));
            self.record.revision = written.revision;
        }
        left
    }

    /// Asserts that the store holds the session just as this says.
    ///
    /// # Panics
    /// Where it does not.
    pub async fn assert_stands<T: TokenStore>(&self, store: &T) {
        assert_eq!(
            stored(store, &self.token).await.as_ref(),
            Some(&self.record),
            "the store holds the session as it was last written"
        );
    }
}

/// The record or rotation mark that stands under a token. A tombstone is none.
pub(crate) async fn load<T: TokenStore>(store: &T, token: &Token) -> Option<Stored> {
    let loaded = store.load_token(token).await.expect("the store answers");
    let stored = loaded.map(|loaded| loaded.stored);
    stored.filter(|stored| !matches!(stored, Stored::Ended(_)))
}

/// The record that stands under a token.
pub(crate) async fn stored<T: TokenStore>(store: &T, token: &Token) -> Option<Record> {
    load(store, token).await.and_then(Stored::into_record)
}

/// The lists of a store that offers them.
pub(crate) fn subjects<T: TokenStore>(store: &T) -> &dyn Subjects {
    let capabilities = store.token_capabilities();
    let subjects = capabilities.subjects;
    subjects.expect("called with stores that list sessions by subject")
}

/// The digest of a session, in a store that lists or scans.
pub(crate) fn digest<T: TokenStore>(store: &T, token: &Token) -> KeyDigest {
    let digest = store.digest_of(token);
    digest.expect("a store that lists or scans knows the digests of its tokens")
}
