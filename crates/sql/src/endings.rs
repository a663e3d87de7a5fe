//! The statements that end sessions, and what is bound to them.

use cloakroom_core::store::{EndReason, Ending, TOMBSTONE_AGE_MAX};
use cloakroom_core::{Label, Timestamp};

use crate::dialect::Dialect;
use crate::statement::{Arg, Statement};
use crate::statements::{BLANK, FORMAT, REVISION_LAST, REVOKE_STEP_MAX, placeholders, returning};

/// [`TOMBSTONE_AGE_MAX`] in milliseconds.
const AGE_MILLIS: i64 = TOMBSTONE_AGE_MAX.as_secs().cast_signed() * 1_000;

/// The statements of ends that leave nothing, or of those that leave tombstones: these take
/// the four arguments of an [`Ending`] behind the others.
pub(crate) struct EndStatements {
    /// Ends what stands at $1 and is no rotation mark, if its subject is $2 or $2 is NULL.
    pub(crate) one: Statement,
    /// Ends the sessions that `others` reads, and answers their digests; none where the
    /// marks are too many.
    pub(crate) others: Statement,
    /// Ends those of the records at $2 and so on, REVOKE_STEP_MAX digests, that are the
    /// subject's $1.
    pub(crate) each: Statement,
}

/// The parts of a statement that ends the other sessions of a subject.
pub(crate) struct Others<'a> {
    /// The path of the session that is spared.
    pub(crate) path: &'a str,
    /// Which sessions: its arguments are $1 to $4.
    pub(crate) which: &'a str,
    /// That the marks are not too many.
    pub(crate) is_sound: &'a str,
}

impl EndStatements {
    pub(crate) fn removing(
        dialect: &Dialect,
        t: &str,
        others: &Others<'_>,
        channel: Option<&str>,
    ) -> Self {
        let end = |_| format!("DELETE FROM {t} WHERE");
        Self::new(dialect, t, others, channel, end)
    }

    pub(crate) fn remembering(
        dialect: &Dialect,
        t: &str,
        others: &Others<'_>,
        channel: Option<&str>,
    ) -> Self {
        // A record that cannot be read is ended too, and its tombstone can be read. MySQL
        // assigns from left to right: the data is read from the subject's digest before that
        // becomes NULL.
        let end = |first: usize| {
            let [because, at, until, note] = [first, first + 1, first + 2, first + 3];
            format!(
                "UPDATE {t} SET format = {FORMAT}, ended = ${because}, last_seen_at = ${at}, \
                 expires_at = ${until}, label = ${note}, data = coalesce(subject_digest, ''), \
                 {BLANK} WHERE ended IS NULL AND"
            )
        };
        Self::new(dialect, t, others, channel, end)
    }

    /// From how a statement begins that ends rows, and has so many arguments before those
    /// of an ending.
    fn new(
        dialect: &Dialect,
        t: &str,
        others: &Others<'_>,
        channel: Option<&str>,
        end: impl Fn(usize) -> String,
    ) -> Self {
        let Others {
            path,
            which,
            is_sound,
        } = others;
        let gone = REVISION_LAST.to_string();
        let one = format!(
            "{} digest = $1 AND moved_to IS NULL AND ($2 IS NULL OR subject_digest = $2)",
            end(3)
        );
        let of_others = format!(
            "{} digest IN (SELECT digest FROM {t} WHERE {which}) AND subject_digest = $1 \
             AND {is_sound}",
            end(5)
        );
        Self {
            one: dialect.statement(&match channel {
                None => one,
                Some(_) => returning("", &one, channel, &gone),
            }),
            others: dialect.statement(&returning(path, &of_others, channel, &gone)),
            each: dialect.statement(&format!(
                "{} digest IN ({}) AND subject_digest = $1 AND moved_to IS NULL",
                end(REVOKE_STEP_MAX + 2),
                placeholders(2, REVOKE_STEP_MAX)
            )),
        }
    }
}

/// What an end writes: why, when, until when that is remembered, the note.
pub(crate) fn ending_args(ending: &Ending) -> [Arg<'_>; 4] {
    [
        Arg::bytes(Some(ending.because.as_str())),
        ending.at.into(),
        ending.until.into(),
        Arg::bytes(ending.note.as_ref().map(Label::as_str)),
    ]
}

/// The arguments of a sweep at an instant: of rows whose deadline is at $1 or before, the
/// first $2. A tombstone whose deadline would be at $3 or before is not left.
pub(crate) fn sweep_args(now: Timestamp, due: Timestamp, max: usize) -> [Arg<'static>; 3] {
    let forgotten = match now {
        // No deadline is behind the last instant.
        Timestamp::MAX => i64::MAX,
        now => now.as_millis().cast_signed() - AGE_MILLIS,
    };
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    [due.into(), max.into(), forgotten.into()]
}

/// Whether a sweep leaves a tombstone of a row, as
/// [`Stored::swept`](cloakroom_core::store::Stored::swept) says it; never NULL. What a row of
/// another format was, nobody knows.
pub(crate) fn is_remembered() -> String {
    format!(
        "ended IS NULL AND format = {FORMAT} AND expires_at > $3 \
         AND (moved_to IS NULL OR expires_at > 0)"
    )
}

/// What a sweep assigns to a row of which it leaves a tombstone; each literal has this cast.
/// A column is read before it is assigned, since MySQL assigns from left to right.
pub(crate) fn remember(cast: &str) -> String {
    let [rotated, absolute, idle] = [EndReason::Rotated, EndReason::Absolute, EndReason::Idle];
    let last = Timestamp::MAX.as_millis().cast_signed() - AGE_MILLIS;
    format!(
        "ended = CASE WHEN moved_to IS NOT NULL THEN '{rotated}'{cast} \
         WHEN absolute_deadline <= expires_at THEN '{absolute}'{cast} \
         ELSE '{idle}'{cast} END, moved_to = NULL, last_seen_at = expires_at, \
         expires_at = least(expires_at, {last}) + {AGE_MILLIS}, label = NULL, \
         data = coalesce(subject_digest, ''), {BLANK}"
    )
}
