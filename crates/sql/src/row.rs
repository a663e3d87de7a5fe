//! A record or a mark as columns.

use cloakroom_core::store::{
    Data, FRAME_BYTES_CEILING, KeyDigest, Record, Revision, Stored, SubjectDigest,
};
use cloakroom_core::{Error, ErrorKind, Label, SessionExpiry, Site, Subject, Timestamp};

use crate::dialect::{Arg, Dialect};
use crate::failure::with_source;

/// The version of a row that this build writes.
pub(crate) const FORMAT: i64 = 1;

/// An instant as a column holds it.
pub(crate) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).expect("a Timestamp ends at i64::MAX")
}

/// A revision as a column holds it: the same 64 bits.
pub(crate) fn number(revision: Revision) -> i64 {
    revision.as_u64().cast_signed()
}

pub(crate) fn revision(number: i64) -> Revision {
    Revision::from_u64(number.cast_unsigned())
}

/// Whether a record may be stored at all.
///
/// # Errors
/// `TooLarge` where its data is over the ceiling of every store.
pub(crate) fn check(record: &Record) -> Result<(), Error> {
    let bytes = record.data.as_bytes().len();
    if bytes <= FRAME_BYTES_CEILING {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("record has {bytes} bytes of data, FRAME_BYTES_CEILING is {FRAME_BYTES_CEILING}"),
    ))
}

/// The columns from the revision on.
pub(crate) fn changing(record: &Record, revision: Revision) -> [Arg<'_>; 11] {
    [
        Arg::Int(number(revision)),
        Arg::Int(millis(record.created_at)),
        Arg::Int(millis(record.last_seen_at)),
        Arg::Int(millis(record.expires_at)),
        Arg::MaybeInt(record.absolute_deadline.map(millis)),
        Arg::MaybeText(match record.expiry {
            SessionExpiry::Default => None,
            chosen => Some(chosen.to_string()),
        }),
        Arg::MaybeBytes(Some(record.site.as_str().as_bytes()).filter(|site| !site.is_empty())),
        Arg::MaybeBytes(record.subject.as_ref().map(|text| text.as_str().as_bytes())),
        Arg::MaybeDigest(record.subject_digest().map(|subject| *subject.as_bytes())),
        Arg::MaybeBytes(record.label.as_ref().map(|text| text.as_str().as_bytes())),
        Arg::Bytes(record.data.as_bytes()),
    ]
}

/// All columns of a record at this digest.
pub(crate) fn whole<'a>(
    digest: &'a KeyDigest,
    record: &'a Record,
    revision: Revision,
) -> Vec<Arg<'a>> {
    let head = [
        Arg::Bytes(digest.as_bytes()),
        Arg::Int(FORMAT),
        Arg::MaybeBytes(None),
    ];
    head.into_iter().chain(changing(record, revision)).collect()
}

/// All columns of a mark at this digest.
pub(crate) fn mark<'a>(digest: &'a KeyDigest, to: &'a KeyDigest, until: Timestamp) -> Vec<Arg<'a>> {
    vec![
        Arg::Bytes(digest.as_bytes()),
        Arg::Int(FORMAT),
        Arg::MaybeBytes(Some(to.as_bytes())),
        Arg::Int(0),
        Arg::Int(0),
        Arg::Int(0),
        Arg::Int(millis(until)),
        Arg::MaybeInt(None),
        Arg::MaybeBytes(None),
        Arg::MaybeBytes(None),
        Arg::MaybeBytes(None),
        Arg::MaybeBytes(None),
        Arg::MaybeBytes(None),
        Arg::Bytes(&[]),
    ]
}

/// Says of a row that it is of a newer format, or of none that there is.
pub(crate) fn known(format: i64) -> Result<(), Error> {
    match format {
        FORMAT => Ok(()),
        newer if newer > FORMAT => Err(Error::new(
            ErrorKind::Unsupported,
            format!("row is of format {newer}, this build reads up to {FORMAT}"),
        )),
        _ => Err(corrupt("no such row format")),
    }
}

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// The digest in a column.
pub(crate) fn digest<DB: Dialect>(row: &DB::Row, at: usize) -> Result<KeyDigest, Error> {
    maybe_digest::<DB>(row, at)?.ok_or_else(|| corrupt("a digest is missing"))
}

pub(crate) fn maybe_digest<DB: Dialect>(
    row: &DB::Row,
    at: usize,
) -> Result<Option<KeyDigest>, Error> {
    let digest = bytes::<DB>(row, at)?;
    let digest = digest.map(|bytes| bytes.try_into().map(KeyDigest::from_bytes));
    digest
        .transpose()
        .map_err(|_| corrupt("a digest is not of 32 bytes"))
}

pub(crate) fn subject_digest<DB: Dialect>(
    row: &DB::Row,
    at: usize,
) -> Result<Option<SubjectDigest>, Error> {
    let digest = maybe_digest::<DB>(row, at)?;
    Ok(digest.map(|digest| SubjectDigest::from_bytes(*digest.as_bytes())))
}

pub(crate) fn int<DB: Dialect>(row: &DB::Row, at: usize) -> Result<i64, Error> {
    let number = DB::int(row, at).map_err(unreadable::<DB>)?;
    number.ok_or_else(|| corrupt("a number is missing"))
}

/// Where types are the table's, this is not the table that `migrate` makes: no row of
/// it says anything of a session. Where they are each row's own, this row is damaged.
fn unreadable<DB: Dialect>(source: sqlx::Error) -> Error {
    let error = match DB::WORDS.typed {
        true => Error::new(
            ErrorKind::Misconfigured,
            "a column of the table is of another type than migrate() makes it",
        ),
        false => corrupt("a column is of another type"),
    };
    with_source(error, source)
}

/// The bytes in a column, or NULL.
pub(crate) fn bytes<DB: Dialect>(row: &DB::Row, at: usize) -> Result<Option<Vec<u8>>, Error> {
    DB::bytes(row, at).map_err(unreadable::<DB>)
}

/// What stands in a row: `digest, format, moved_to, revision, created_at,
/// last_seen_at, expires_at, absolute_deadline, expiry, site, subject, label`, and the data where it was asked for.
pub(crate) fn stored<DB: Dialect>(row: &DB::Row, with_data: bool) -> Result<Stored, Error> {
    known(int::<DB>(row, 1)?)?;
    let instant = |at| {
        let number = u64::try_from(int::<DB>(row, at)?);
        let number = number.map_err(|_| corrupt("an instant before 1970"));
        number.map(Timestamp::from_millis)
    };
    let maybe = |at| {
        let number = DB::int(row, at).map_err(unreadable::<DB>)?;
        let number = number.map(u64::try_from).transpose();
        number.map_err(|_| corrupt("a time below zero"))
    };
    let text = |at| {
        let text = bytes::<DB>(row, at)?;
        let text = text.map(String::from_utf8).transpose();
        text.map_err(|_| corrupt("a text is not UTF-8"))
    };
    let too_long = |_| corrupt("a text is too long");
    if let Some(to) = maybe_digest::<DB>(row, 2)? {
        return Ok(Stored::Rotated {
            to,
            until: instant(6)?,
        });
    }
    let mut record = Record::new(instant(4)?, instant(6)?);
    record.revision = revision(int::<DB>(row, 3)?);
    record.last_seen_at = instant(5)?;
    record.absolute_deadline = maybe(7)?.map(Timestamp::from_millis);
    record.expiry = match text(8)? {
        None => SessionExpiry::Default,
        Some(chosen) => chosen
            .parse()
            .map_err(|_| corrupt("the session's own lifetime cannot be read"))?,
    };
    record.site = Site::new(&text(9)?.unwrap_or_default())
        .map_err(|_| corrupt("the site is no name of a site"))?;
    record.subject = text(10)?.map(Subject::new).transpose().map_err(too_long)?;
    record.label = text(11)?.map(Label::new).transpose().map_err(too_long)?;
    if with_data {
        let data = bytes::<DB>(row, 12)?;
        record.data = Data::from_bytes(data.ok_or_else(|| corrupt("the data is missing"))?);
    }
    Ok(Stored::Record(record))
}
