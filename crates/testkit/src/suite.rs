//! The whole suite in one call.

use std::fmt;

use cloakroom_core::engine::TokenStore;
use cloakroom_core::store::BoxFuture;

use crate::{clauses, endings, scan, subjects, sweep};

/// What a store promises. Clauses that it does not promise are not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Writes compare and swap the revision. A cookie cannot.
    pub cas: bool,
    /// A deleted session, and the old key of a rotated one, open nothing. A cookie alone
    /// cannot promise it.
    pub revocable: bool,
    /// Acknowledged writes survive the end of the process, as
    /// [`survives_reopening`](crate::survives_reopening) tests.
    pub durable: bool,
    /// Several processes can use it at once.
    pub shared: bool,
    /// A session that was ended leaves a tombstone.
    pub remembers_ends: bool,
    /// Bytes of data that one record may hold.
    pub data_bytes_max: usize,
}

impl Profile {
    /// A store that keeps records on the server, until the process ends.
    pub const SERVER_SIDE: Self = Self {
        cas: true,
        revocable: true,
        durable: false,
        shared: false,
        remembers_ends: true,
        data_bytes_max: 64 * 1024,
    };

    /// [`SERVER_SIDE`](Self::SERVER_SIDE), and records survive the end of the process.
    pub const DURABLE: Self = Self {
        durable: true,
        ..Self::SERVER_SIDE
    };

    /// [`DURABLE`](Self::DURABLE), and several processes can use the store at once.
    pub const SHARED: Self = Self {
        shared: true,
        ..Self::DURABLE
    };

    /// A sealed session that only the client keeps.
    pub const CLIENT_SIDE: Self = Self {
        cas: false,
        revocable: false,
        durable: true,
        shared: true,
        remembers_ends: false,
        data_bytes_max: 2 * 1024,
    };
}

/// One clause, ready to be asked of a store.
pub struct Clause<'s> {
    /// Its name, as a sentence: that of its function.
    pub name: &'static str,
    /// Asks the store. It panics where the clause does not hold.
    pub asked: BoxFuture<'s, ()>,
}

impl fmt::Debug for Clause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clause({})", self.name)
    }
}

/// Names the clause that was running, if it panics.
struct Running(&'static str);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("conformance: clause `{}` does not hold", self.0);
        }
    }
}

macro_rules! ask {
    ($asked:ident, $store:expr, $promised:expr, $module:ident: $($clause:ident),+ $(,)?) => {
        if $promised {
            $($asked.push(Clause {
                name: stringify!($clause),
                asked: Box::pin($module::$clause($store)),
            });)+
        }
    };
}

/// Runs every clause that the profile promises, and those of each capability
/// ([`Sweep`], [`Subjects`], [`Scan`], [`Import`]) that the store offers.
///
/// The sessions it makes live for an hour from now; the store may hold others,
/// but no other writer may sweep it meanwhile. Its own sweeps are told a time that lies
/// more than an hour ahead, and end sessions of others that expire until then: run it over a table,
/// a prefix or a file in which nobody's sessions are.
///
/// # Panics
/// Where a clause does not hold; its name is written to the standard error.
///
/// [`Sweep`]: cloakroom_core::store::Sweep
/// [`Subjects`]: cloakroom_core::store::Subjects
/// [`Scan`]: cloakroom_core::store::Scan
/// [`Import`]: cloakroom_core::store::Import
pub async fn conformance<T: TokenStore>(store: &T, profile: &Profile) {
    for clause in clauses_of(store, profile) {
        let _running = Running(clause.name);
        clause.asked.await;
    }
}

/// The clauses that [`conformance`] runs, in its order and each to be awaited before the
/// next, for a tool that reports on every one of them.
#[must_use]
pub fn clauses_of<'s, T: TokenStore>(store: &'s T, profile: &Profile) -> Vec<Clause<'s>> {
    let mut asked = Vec::new();
    ask!(asked, store, true, clauses:
        what_is_no_token_opens_nothing,
        an_unknown_token_opens_nothing,
        what_was_created_is_loaded_whole,
        data_is_opaque_bytes,
        an_update_replaces_header_and_data,
        a_touch_moves_the_deadline_and_nothing_else,
        a_touch_notes_a_use_that_moves_no_deadline,
        a_rotation_moves_the_whole_session,
        sessions_do_not_disturb_each_other,
        an_expired_record_is_returned_or_missing,
        the_latest_deadline_comes_back,
        deleting_is_idempotent,
    );
    ask!(asked, store, profile.cas, clauses:
        create_never_overwrites,
        revisions_count_up_from_the_first,
        an_update_on_a_stale_revision_is_a_conflict,
        a_rotation_on_a_stale_revision_is_a_conflict,
        a_rotation_never_overwrites,
        a_touch_does_not_disturb_a_writer,
        a_touch_never_moves_the_deadline_back,
        a_touch_at_another_revision_does_nothing,
        of_concurrent_creates_one_wins,
        of_concurrent_updates_one_wins,
        of_concurrent_rotations_one_wins,
    );
    ask!(asked, store, profile.revocable, clauses:
        what_was_deleted_is_gone_for_every_write,
        an_update_never_creates,
        a_touch_never_resurrects,
        a_rotation_of_nothing_is_gone,
        a_rotation_leaves_a_mark,
        a_mark_takes_no_write,
        a_delete_follows_marks_and_leaves_them,
        a_delete_follows_marks_to_their_limit_and_no_further,
        a_write_racing_a_delete_never_resurrects,
        a_dropped_future_leaves_the_store_whole,
    );
    ask!(asked, store, profile.remembers_ends, endings:
        an_end_leaves_a_tombstone,
        a_tombstone_takes_no_write,
        an_end_of_nothing_leaves_nothing,
        an_end_follows_marks_and_leaves_them,
        a_delete_leaves_no_trace,
        a_tombstone_is_scanned_and_imported,
    );
    asked.push(Clause {
        name: "the_largest_record_comes_back",
        asked: Box::pin(clauses::the_largest_record_comes_back(
            store,
            profile.data_bytes_max,
        )),
    });
    let can_sweep = store.token_capabilities().sweep.is_some();
    ask!(asked, store, can_sweep, sweep:
        a_sweep_removes_what_is_due_and_nothing_else,
        a_sweep_takes_marks_as_well,
        a_sweep_stops_at_its_limit_and_says_so,
        a_sweep_spares_what_was_touched_meanwhile,
        a_sweep_spares_what_was_updated_meanwhile,
        a_sweep_takes_a_deadline_that_was_moved_forward,
        what_was_swept_is_gone,
    );
    ask!(asked, store, can_sweep && profile.remembers_ends, endings:
        a_sweep_leaves_tombstones_for_a_day,
    );
    let can_list = store.token_capabilities().subjects.is_some();
    ask!(asked, store, can_list, subjects:
        sessions_are_listed_by_subject,
        a_list_shows_the_present_header,
        a_rotation_moves_the_entry,
        a_list_follows_a_change_of_subject,
        a_deleted_session_leaves_the_list,
        subjects_are_told_apart,
        revoking_all_ends_the_subjects_sessions_and_no_other,
        revoking_all_but_one_spares_it,
        revoking_one_ends_no_one_elses,
        a_revocation_follows_marks_to_their_limit_and_no_further,
        a_list_comes_in_pages_and_misses_nothing_that_stands,
        a_list_refuses_a_foreign_cursor,
        a_revocation_of_many_misses_none_that_moves,
        a_sweep_takes_the_entry_as_well,
    );
    ask!(asked, store, can_list && profile.remembers_ends, endings:
        sessions_that_are_ended_together_leave_tombstones,
    );
    let can_scan = store.token_capabilities().scan.is_some();
    ask!(asked, store, can_scan, scan:
        a_scan_finds_all_that_stands,
        a_scan_refuses_a_foreign_cursor,
    );
    let can_import = store.token_capabilities().import.is_some();
    ask!(asked, store, can_import, scan:
        an_import_keeps_the_record_as_it_is,
        an_import_takes_marks,
        an_import_never_overwrites,
    );
    asked
}
