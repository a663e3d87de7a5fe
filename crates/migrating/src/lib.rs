//! Moves Cloakroom sessions from one store to another while the site runs.
//!
//! [`Migrating`] is a store made of two: the *former* one, which is to be given up, and
//! the *new* one, which keeps the sessions from now on. Every session that a request
//! meets in the former store moves to the new one, [`Migrating::copy`] moves all others,
//! and then the former store is empty. Nobody is logged out by it, and nobody who was
//! logged out comes back.
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use cloakroom_core::store::{KeyDigest, SessionStore};
//! use cloakroom_core::{Clock, Expiry, SystemClock};
//! use cloakroom_migrating::Migrating;
//! # use cloakroom_testkit::MapStore;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! # let (redb, postgres) = (MapStore::default(), MapStore::default());
//! let digest = KeyDigest::from_bytes([1; 32]);
//! redb.create(&digest, &Expiry::default().begin(SystemClock.now())).await?;
//!
//! let store = Migrating::new(redb, postgres)?;
//! assert!(store.load(&digest).await?.is_some());
//! let copied = store.copy(NonZeroU32::new(500).expect("not zero")).await?;
//! assert_eq!(copied.unreadable, 0);
//! # Ok::<(), cloakroom_core::Error>(()) }).unwrap();
//! ```
//!
//! **In the book:** [Moving to another store](https://github.com/cloakroom-rs/cloakroom/blob/main/docs/migrating.md).
//!
//! # What is promised
//!
//! - **One store to whoever uses it.** It keeps each clause of
//!   [`SessionStore`]: compare-and-swap, rotation marks, lists, revocations and sweeps
//!   hold across both stores.
//! - **Any number of nodes** may run it over the same two stores, and
//!   any number of them may [`copy`](Migrating::copy) at once. Each may be killed at any
//!   moment: what it has begun, the next one who meets the session finishes.
//! - **A session moves once.** A copy that was read before a logout never brings the
//!   session back, however late it is written.
//! - **A session moves as it is,** its revision included, so no writer meets a conflict
//!   that no other writer has made.
//! - **What a node without the new store writes is not lost**: a session moves in the state
//!   that it has when it moves. From then on that node does not find it, and its visitor
//!   seems to be logged out there. So no such node should be left when the first session
//!   moves: [`Migrating::prepared`] is for the nodes that take their places before.
//!
//! What does not hold:
//!
//! - The new store must not hold copies of the former one's sessions that were made by
//!   other means. Where it does, they count, and the former store's are dropped.
//! - Files and Redis clusters write a rotation in several steps. Where a crash leaves half of
//!   one in the new store, and the session then shortens its expiry and is swept before
//!   anybody meets what is left in the former one, it lives until its former deadline.
//! - A sweep does nothing to a store that forgets by itself.
//!
//! # How a session moves
//!
//! Let *d* be the digest of a session, *d̄* the digest with every bit inverted, and *c* one
//! of 64 digests of other such patterns: none of them is the digest of a key that anybody
//! knows. Four writes, each one step in one store:
//!
//! 1. **Freeze.** In the former store, `rotate` from *d* to *d̄* on the revision that was
//!    read. From here on nobody writes to the session there: the record at *d̄* bears a
//!    flag, and never changes again. Its rotation mark at *d* is due at once, so
//!    that any sweep removes it.
//! 2. **Claim.** In the new store, `import` of an empty record at *c*. It has no effect
//!    where anything stands there. Which *c* it is, the frozen record says.
//! 3. **Commit.** In the new store, `rotate` from *c* to *d* on the revision of the
//!    claim, with the whole session as its record. This takes the place of the claim by a
//!    rotation mark that stands until the deadline the session had when it was frozen.
//! 4. **Forget.** The new store is asked for what it now has, and where that is what was
//!    written, `delete` of *d̄* in the former store.
//!
//! Before step 3 the session is in the former store, at *d* or frozen at *d̄*; after it,
//! in the new store. Whoever is killed in between leaves one of these states, and whoever
//! looks for the session looks at *d* and then at *d̄* in the former store, and goes
//! on from what stands there.
//!
//! Step 3 happens once. A second node that has read the frozen session may do steps 2 to 4
//! hours later: its import finds the rotation mark, and its rotation is refused as
//! [`Gone`](cloakroom_core::ErrorKind::Gone). By then the session may have been changed,
//! rotated or ended in the new store, and nothing of that is undone. The mark stands as
//! long as a record from the former store could still open anything: what is
//! brought back after that is past its deadline. So no time-out decides, and no clock is
//! asked.
//!
//! # Back again
//!
//! To go back, at any moment, no node may run any more that moves the one way before the
//! first begins that moves the other. What is in the new store already opens there; what
//! has moved moves back. Three things of the first move are in the way, and are dealt with:
//!
//! - Rotation marks of freezes are swept from the new store before the first look at it.
//! - A session that was frozen in it, and not committed, is rotated back from *d̄* to *d*.
//! - The mark at *c* says that the session has moved already. Before a session moves on from
//!   a store to which it had come by such a claim, that store gets a note of it, which stands
//!   a day longer than the mark. Should it come back there, it takes the next *c*. A record
//!   in the former store whose claim has no such note is a copy of before, such as one from a
//!   backup, and brings nothing back.
//!
//! # What each operation does
//!
//! To *settle* a digest means the above: afterwards the former store has no session there,
//! and never will have again.
//!
//! | operation | does |
//! |---|---|
//! | `load` | asks the new store; where it has nothing, settles and asks again |
//! | `create` | settles, then creates in the new store |
//! | `update`, `touch` | writes to the new store; where that is `Gone`, settles and writes again |
//! | `rotate` | settles both digests, then rotates in the new store |
//! | `end` | settles each digest along the rotation marks, then ends in the new store |
//! | list | at the first page, settles all sessions of the subject; then lists the new store |
//! | revoke | settles all that are meant, then revokes in the new store; then in the former one, where what cannot be read may be left |
//! | sweep | the former store, then the new one |
//! | scan | the former store, then the new one, so that what moves meanwhile is found |
//! | import | settles, then imports into the new store |
//! | listen | to both stores |
//!
//! Rotation marks of the former store are imported into the new one, and stay where they
//! are: `delete` would follow them. They expire within a minute, and sweeps remove
//! them. Tombstones move. A record that cannot be read cannot be moved: it is answered as the former store
//! answers it, ended where it is ended, and counted by `copy`.
//!
//! A [`prepared`](Migrating::prepared) node reads the new store first as well, and moves
//! nothing but what is frozen already: it loads, updates, touches and rotates a session in
//! the former store where it is there. Where that is `Gone`, since another node has frozen
//! it, the above is done. It creates in the former store, lists the one and then the other,
//! and settles what is to be ended.
//!
//! Each of these ends in one step in one store, before which nothing has changed that
//! a caller can see: so a call that fails or is dropped is as safe as it is with the new
//! store alone. No two nodes can disagree, since a digest leaves the former store once
//! and for ever, and the new store decides everything else.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod capabilities;
mod copy;
mod moving;
mod prepared;
mod subjects;

use std::fmt;
use std::sync::atomic::AtomicBool;

use cloakroom_core::store::{
    Capabilities, Ending, Import, KeyDigest, Record, Revision, SessionStore, Stored, Touch,
};
use cloakroom_core::{Error, ErrorKind, Timestamp};

pub use crate::copy::Copied;

/// A store that moves sessions from `A`, the former store, to `B`, the new one.
pub struct Migrating<A, B> {
    from: A,
    to: B,
    is_prepared: bool,
    /// Ends a copy in the background.
    is_closed: AtomicBool,
    /// Whether what a move the other way has left in the new store is removed.
    is_swept: AtomicBool,
}

impl<A, B> fmt::Debug for Migrating<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrating")
            .field("from", &std::any::type_name::<A>())
            .field("to", &std::any::type_name::<B>())
            .finish_non_exhaustive()
    }
}

impl<A: SessionStore, B: SessionStore> Migrating<A, B> {
    /// From the former store to the new one.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] where the new store takes no imports.
    pub fn new(from: A, to: B) -> Result<Self, Error> {
        importing(&to)?;
        Ok(Self {
            from,
            to,
            is_prepared: false,
            is_closed: AtomicBool::new(false),
            is_swept: AtomicBool::new(false),
        })
    }

    /// The same, but a session that is in the former store stays there and is written to
    /// there, and new ones begin there. What a node without the new store needs is not
    /// moved, so such nodes can be replaced one by one. Once all are, and there are only
    /// [`prepared`](Self::prepared) nodes, these can be replaced one by one by
    /// [`new`](Self::new) ones.
    ///
    /// Only a session that is ended here may be moved first. A `copy` moves all the same.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn prepared(from: A, to: B) -> Result<Self, Error> {
        let moving = Self::new(from, to)?;
        Ok(Self {
            is_prepared: true,
            ..moving
        })
    }

    /// The former store.
    pub fn from(&self) -> &A {
        &self.from
    }

    /// The new store.
    pub fn to(&self) -> &B {
        &self.to
    }
}

/// The imports of the new store.
fn importing<B: SessionStore>(to: &B) -> Result<&dyn Import, Error> {
    to.capabilities().import.ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            "the store to move sessions to takes no imports: move them to another kind of store",
        )
    })
}

/// Whether this says that something stands there which cannot be read.
fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}

impl<A: SessionStore, B: SessionStore> SessionStore for Migrating<A, B> {
    async fn load(&self, digest: &KeyDigest) -> Result<Option<Stored>, Error> {
        self.sweep_once().await?;
        if let Some(stored) = self.to.load(digest).await? {
            return Ok(Some(stored));
        }
        if let Some(stored) = self.load_where_it_is(digest).await? {
            return Ok(Some(stored));
        }
        self.settle(digest).await?;
        self.to.load(digest).await
    }

    async fn create(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        if self.is_prepared {
            return self.create_in_former(digest, record).await;
        }
        self.settle_before_new(digest).await?;
        self.to.create(digest, record).await
    }

    async fn update(&self, digest: &KeyDigest, record: &Record) -> Result<Revision, Error> {
        let in_former = self.from.update(digest, record);
        if let Some(updated) = self.write_where_it_is(in_former).await {
            return updated;
        }
        match self.to.update(digest, record).await {
            Err(error) if error.kind() == ErrorKind::Gone => {}
            updated => return updated,
        }
        self.settle(digest).await?;
        self.to.update(digest, record).await
    }

    async fn touch(
        &self,
        digest: &KeyDigest,
        revision: Revision,
        touch: Touch,
    ) -> Result<(), Error> {
        let in_former = self.from.touch(digest, revision, touch);
        if let Some(touched) = self.write_where_it_is(in_former).await {
            return touched;
        }
        match self.to.touch(digest, revision, touch).await {
            Err(error) if error.kind() == ErrorKind::Gone => {}
            touched => return touched,
        }
        self.settle(digest).await?;
        self.to.touch(digest, revision, touch).await
    }

    async fn rotate(
        &self,
        old: &KeyDigest,
        new: &KeyDigest,
        record: &Record,
        mark_until: Timestamp,
    ) -> Result<Revision, Error> {
        let in_former = self.from.rotate(old, new, record, mark_until);
        if let Some(rotated) = self.write_where_it_is(in_former).await {
            return rotated;
        }
        self.settle(old).await?;
        self.settle_before_new(new).await?;
        self.to.rotate(old, new, record, mark_until).await
    }

    async fn end(&self, digest: &KeyDigest, ending: Option<&Ending>) -> Result<(), Error> {
        let (at, is_unreadable) = self.settle_along(digest).await?;
        if is_unreadable {
            self.from.end(&at, ending).await?;
        }
        self.to.end(&at, ending).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        self.both_capabilities()
    }
}
