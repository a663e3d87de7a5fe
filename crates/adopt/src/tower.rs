//! tower-sessions: its cookie, and the MessagePack that its stores write.
//!
//! A record is the list of its id, its data and its deadline; the deadline is the list of
//! year, day of the year, hour, minute, second, nanosecond, and an offset of three parts.

use std::collections::BTreeMap;

use cloakroom_core::session::{NESTING_DEPTH_CEILING, Value};
use cloakroom_core::{Error, Timestamp};
use cloakroom_web::{FormerSession, SameSite};
use serde::Deserialize as _;
use serde::de::IgnoredAny;
use time::{Date, Time, UtcOffset};

use crate::source::{Format, Place, Source, cookie, corrupt};
use crate::{FoundRecord, Records};

/// The sessions of a site of tower-sessions 0.14 or 0.15: its cookie `id`, and the records of
/// tower-sessions-sqlx-store (a table of SQLite, PostgreSQL or MySQL) or
/// tower-sessions-redis-store. Its in-memory and moka stores keep none over a restart.
///
/// Defaults: as tower-sessions has them, a plain cookie `id` with `SameSite=Strict`. Give
/// [`signed`](Source::signed) or [`private`](Source::private) where the site has them.
#[must_use]
pub fn tower_sessions(records: impl Records) -> Source {
    let place = Place::Records(Box::new(records), String::new());
    let format = Format { is_id, read };
    Source::new(
        "tower-sessions",
        cookie("id", SameSite::Strict),
        place,
        format,
    )
}

/// 128 bits as unpadded base64url: 22 characters, in their one canonical spelling.
fn is_id(text: &str) -> bool {
    use base64::Engine as _;
    let mut bytes = [0; 16];
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    text.len() == 22 && engine.decode_slice(text, &mut bytes).is_ok()
}

type Deadline = (i32, u16, u8, u8, u8, u32, i8, i8, i8);

fn read(found: &FoundRecord, session: &mut FormerSession) -> Result<(), Error> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(&found.bytes);
    reader.set_max_depth(NESTING_DEPTH_CEILING);
    let record = <(IgnoredAny, BTreeMap<String, Value>, Deadline)>::deserialize(&mut reader);
    let (_, data, deadline) =
        record.map_err(|_| corrupt("this is no record of tower-sessions in MessagePack"))?;
    let deadline = instant(deadline)
        .ok_or_else(|| corrupt("the deadline in a record of tower-sessions is no instant"))?;
    session.expires_at = session.expires_at.min(deadline);
    session.entries = data.into_iter().collect();
    Ok(())
}

fn instant(
    (year, day, h, m, s, nanos, offset_h, offset_m, offset_s): Deadline,
) -> Option<Timestamp> {
    let date = Date::from_ordinal_date(year, day).ok()?;
    let time = Time::from_hms_nano(h, m, s, nanos).ok()?;
    let offset = UtcOffset::from_hms(offset_h, offset_m, offset_s).ok()?;
    let instant = date.with_time(time).assume_offset(offset);
    let millis = instant.unix_timestamp_nanos() / 1_000_000;
    Some(Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)))
}
