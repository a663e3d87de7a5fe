//! Limits on what a store keeps and reads at once, whatever is asked for.

/// Bytes of the longest frame that is decoded at all, whatever
/// [`Limits`](crate::session::Limits) says: 16 MiB.
pub const FRAME_BYTES_CEILING: usize = 16 * 1024 * 1024;

/// How many rotation marks are followed, one to the next. Marks last a minute, in
/// which whoever holds a session can rotate it often; and a damaged store must not
/// lead a search round in circles.
pub const ROTATION_HOPS_MAX: usize = 32;

/// Items of the longest page of a scan, whatever is asked for.
pub const SCAN_PAGE_ITEMS_MAX: usize = 1_024;

/// Bytes of memory after which a page of a scan ends: 4 MiB.
pub const SCAN_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Sessions of the longest page of a subject's list.
pub const LIST_PAGE_ITEMS_MAX: usize = 256;
