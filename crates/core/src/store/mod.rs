//! For the author of a store: the contract, what is kept, and what a store may
//! offer beyond the contract.

mod any_session_store;
mod capabilities;
mod contract;
mod data;
mod digest;
mod ending;
mod frame;
mod limits;
mod near_cache;
mod record;
mod rotation;
mod scan;
mod subjects;
mod subscription;

pub use any_session_store::AnySessionStore;
pub use capabilities::{
    Announced, Capabilities, ClientSide, Close, Import, Invalidation, Invalidations, Listener,
    Sweep, Swept,
};
pub use contract::{BoxFuture, SessionStore};
pub use data::Data;
pub use digest::{KeyDigest, SubjectDigest};
pub use ending::{EndReason, Ending, TOMBSTONE_AGE_MAX, Tombstone};
pub use frame::{FrameHead, FrameKind, Stored};
pub use limits::{
    FRAME_BYTES_CEILING, LIST_PAGE_ITEMS_MAX, ROTATION_HOPS_MAX, SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_ITEMS_MAX,
};
pub use near_cache::{CacheStats, NearCache};
pub use record::{Record, Revision, Touch};
pub use rotation::RotationPath;
pub use scan::{Scan, ScanCursor, ScanPage, Scanned};
pub use subjects::{ListPage, Listed, Revoke, RevokeStep, Subjects};
pub use subscription::{Subscriber, stay_subscribed};
