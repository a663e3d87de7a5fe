//! Enforcing `sessions_per_subject_max` after each login.

use std::collections::BTreeSet;

use cloakroom_core::engine::{Token, TokenStore as _};
use cloakroom_core::store::{
    EndReason, Ending, KeyDigest, LIST_PAGE_ITEMS_MAX, Listed, Record, Revoke, SubjectDigest,
};
use cloakroom_core::{Error, Label, Timestamp};

use crate::Cost;
use crate::shared::Shared;

/// The sessions of a subject that have not expired, the first `max` that the store comes to.
/// What has expired, and nobody has swept yet, is passed over, up to some ten thousand.
pub(crate) async fn live(
    engine: &Shared,
    subject: &SubjectDigest,
    max: usize,
) -> Result<Vec<Listed>, Error> {
    let (subjects, now) = (engine.subjects()?, engine.clock.now());
    let (mut live, mut seen) = (Vec::new(), BTreeSet::new());
    let mut from = None;
    for _ in 0..PAGES_READ_MAX {
        let page = subjects.list_sessions(subject, from.as_ref()).await?;
        let is_live = |listed: &Listed| !engine.expiry.is_expired(&listed.record, now);
        let listed = page.sessions.into_iter().filter(is_live);
        live.extend(listed.filter(|listed| seen.insert(listed.digest)));
        from = page.next;
        if from.is_none() || live.len() >= max {
            break;
        }
    }
    live.truncate(max);
    Ok(live)
}

/// How many pages are read for one list.
const PAGES_READ_MAX: usize = 40;

/// How many sessions one login ends at most, so that nobody waits for long. The next
/// login ends more.
const ENDED_PER_LOGIN_MAX: usize = 16;

/// A login that has just been written.
pub(crate) struct Login {
    subject: SubjectDigest,
    /// The login's place in the order of all logins of its subject. The order is the same
    /// for every node, so of two logins at the same time only the later may end the
    /// earlier. Logins of the same millisecond are at the same time, and the digest
    /// decides.
    order: (Timestamp, KeyDigest),
    max: usize,
    /// What those that it ends are told.
    label: Option<Label>,
}

impl Shared {
    /// The login that was just written; `None` where no limit is set.
    pub(crate) fn login(&self, token: &Token, record: &Record) -> Option<Login> {
        let max = self.sessions_per_subject_max?;
        Some(Login {
            subject: record.subject_digest()?,
            order: (record.created_at, self.store.digest_of(token)?),
            max,
            label: record.label.clone(),
        })
    }
}

/// If the subject has more sessions than the limit, ends the longest unused ones of the
/// earlier logins. The login itself stands if this fails.
///
/// Answers the cost, and whether the login itself was ended: it is, where as many later
/// logins as the limit allows stand already. Clocks differ between nodes, so a login that
/// is written last is not always the latest.
pub(crate) async fn keep_to_limit(engine: &Shared, login: &Login) -> (Cost, bool) {
    let mut cost = Cost::default();
    let ended = end_excess(engine, login, &mut cost).await;
    let ended = ended.unwrap_or_else(|error| {
        engine.limit_not_kept(&login.order.1, &error);
        false
    });
    (cost, ended)
}

async fn end_excess(engine: &Shared, login: &Login, cost: &mut Cost) -> Result<bool, Error> {
    // A page more than may stand. Where still more do, since there was no limit before,
    // those of it are ended first, and the others by later logins.
    let read_max = login.max.saturating_add(LIST_PAGE_ITEMS_MAX);
    let subjects = engine.subjects()?;
    let mut listed = subjects.sessions_of(&login.subject, read_max).await?;
    let now = engine.clock.now();
    listed.retain(|listed| !engine.expiry.is_expired(&listed.record, now));
    cost.list();
    let because = Ending::new(EndReason::SessionLimit, now);
    let excess = listed.len().saturating_sub(login.max);
    let order = |listed: &Listed| (listed.record.created_at, listed.digest);
    let later = listed.iter().filter(|listed| order(listed) > login.order);
    if later.count() >= login.max {
        let which = Revoke::One(login.order.1);
        cost.touch();
        let ended = subjects.end_sessions(&login.subject, which, Some(&because));
        note_ended(engine, login, &ended.await?, &because);
        return Ok(true);
    }
    listed.retain(|listed| order(listed) < login.order);
    listed.sort_by_key(|listed| (listed.record.last_seen_at, listed.digest));
    let because = because.with_note(login.label.clone());
    let mut all_ended = Vec::new();
    for listed in listed.iter().take(excess.min(ENDED_PER_LOGIN_MAX)) {
        let which = Revoke::One(listed.digest);
        cost.touch();
        let ended = subjects.end_sessions(&login.subject, which, Some(&because));
        all_ended.extend(ended.await?);
    }
    note_ended(engine, login, &all_ended, &because);
    Ok(false)
}

fn note_ended(engine: &Shared, login: &Login, ended: &[KeyDigest], because: &Ending) {
    for digest in ended {
        engine.ended(digest, &because.into(), None);
    }
    if !ended.is_empty() {
        engine.limit_kept(&login.order.1, ended.len(), login.max);
    }
}
