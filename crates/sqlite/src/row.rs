//! A record as columns, and a row as what is stored.

use std::sync::Arc;

use cloakroom_core::store::{
    Data, EndReason, Ending, FRAME_BYTES_CEILING, KeyDigest, Record, Revision, Stored,
    SubjectDigest, Tombstone,
};
use cloakroom_core::{Error, ErrorKind, Label, Login, SessionExpiry, Site, Subject, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::statements::FORMAT;

/// An argument of a statement.
pub(crate) type Arg<'a> = ToSqlOutput<'a>;

pub(crate) fn int<'a>(number: i64) -> Arg<'a> {
    Arg::Borrowed(ValueRef::Integer(number))
}

pub(crate) fn bytes<'a>(bytes: Option<&'a (impl AsRef<[u8]> + ?Sized)>) -> Arg<'a> {
    Arg::Borrowed(bytes.map_or(ValueRef::Null, |bytes| ValueRef::Blob(bytes.as_ref())))
}

pub(crate) fn digest(digest: &KeyDigest) -> Arg<'_> {
    bytes(Some(digest.as_bytes()))
}

/// The bound behind a digest; no bytes are before every digest.
pub(crate) fn behind(digest: Option<&KeyDigest>) -> Arg<'_> {
    bytes(Some(digest.map_or(&[][..], |digest| digest.as_bytes())))
}

pub(crate) fn instant<'a>(at: Timestamp) -> Arg<'a> {
    let millis = i64::try_from(at.as_millis());
    int(millis.expect("a Timestamp ends at i64::MAX milliseconds"))
}

/// A revision is the 64 bits of a signed integer.
pub(crate) fn revision<'a>(revision: Revision) -> Arg<'a> {
    int(revision.as_u64().cast_signed())
}

/// What an end writes, as arguments: why, when, until when that is remembered, the note.
pub(crate) fn ending_args(ending: &Ending) -> [Arg<'_>; 4] {
    [
        bytes(Some(ending.because.as_str())),
        instant(ending.at),
        instant(ending.until),
        bytes(ending.note.as_ref().map(Label::as_str)),
    ]
}

/// A record as the columns of a write. It owns those that the record does not hold as
/// they are written.
pub(crate) struct RecordColumns<'a> {
    record: &'a Record,
    revision: Revision,
    expiry: Option<String>,
    subject_digest: Option<SubjectDigest>,
    login: Option<Vec<u8>>,
}

impl<'a> RecordColumns<'a> {
    /// # Errors
    /// `TooLarge` where its data is over the ceiling of every store.
    pub(crate) fn new(record: &'a Record, revision: Revision) -> Result<Self, Error> {
        let bytes = record.data.as_bytes().len();
        if bytes > FRAME_BYTES_CEILING {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the record has {bytes} bytes of data, over FRAME_BYTES_CEILING = \
                     {FRAME_BYTES_CEILING}"
                ),
            ));
        }
        let expiry = match record.expiry {
            SessionExpiry::Default => None,
            chosen => Some(chosen.to_string()),
        };
        Ok(Self {
            record,
            revision,
            expiry,
            subject_digest: record.subject_digest(),
            login: record.login.as_deref().map(Login::to_bytes),
        })
    }

    /// The arguments of a write: the statement's own first, then the columns.
    pub(crate) fn args<'b>(&'b self, first: &[Arg<'b>]) -> Vec<Arg<'b>> {
        let record = self.record;
        let site = Some(record.site.as_str()).filter(|site| !site.is_empty());
        let columns = [
            revision(self.revision),
            instant(record.created_at),
            instant(record.last_seen_at),
            instant(record.expires_at),
            record
                .absolute_deadline
                .map_or(bytes(None::<&str>), instant),
            bytes(self.expiry.as_deref()),
            bytes(site),
            bytes(record.subject.as_ref().map(Subject::as_str)),
            bytes(self.subject_digest.as_ref().map(SubjectDigest::as_bytes)),
            bytes(record.label.as_ref().map(Label::as_str)),
            int(i64::from(record.flushes)),
            bytes(self.login.as_deref()),
            bytes(Some(record.data.as_bytes())),
        ];
        [first, &columns].concat()
    }
}

/// A row that a statement answers; its columns are numbered from 0. SQLite lets any column
/// hold a value of any type, so every error here is about this row alone.
pub(crate) struct Row<'r>(pub(crate) &'r rusqlite::Row<'r>);

impl Row<'_> {
    pub(crate) fn digest(&self, at: usize) -> Result<KeyDigest, Error> {
        self.maybe_digest(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    pub(crate) fn maybe_digest(&self, at: usize) -> Result<Option<KeyDigest>, Error> {
        let bytes = self.bytes(at)?.map(<[u8; KeyDigest::BYTES]>::try_from);
        let bytes = bytes.transpose();
        let bytes = bytes.map_err(|_| self.corrupt(at, "is not of 32 bytes"))?;
        Ok(bytes.map(KeyDigest::from_bytes))
    }

    pub(crate) fn revision(&self, at: usize) -> Result<Revision, Error> {
        Ok(Revision::from_u64(self.int(at)?.cast_unsigned()))
    }

    /// Checks the format in a column.
    ///
    /// # Errors
    /// `Unsupported` for a newer format, `Corrupt` for one that never was.
    pub(crate) fn check_format(&self, at: usize) -> Result<(), Error> {
        match self.int(at)? {
            FORMAT => Ok(()),
            newer if newer > FORMAT => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the row is of format {newer}, this build reads up to {FORMAT}"),
            )),
            _ => Err(self.corrupt(at, "is no format of a row")),
        }
    }

    /// What stands in a row of the header, and of the data where it was asked for.
    pub(crate) fn stored(&self, with_data: bool) -> Result<Stored, Error> {
        self.check_format(1)?;
        if let Some(to) = self.maybe_digest(2)? {
            let until = self.instant(6)?;
            return Ok(Stored::Rotated { to, until });
        }
        let too_long = |at| move |_| self.corrupt(at, "is too long");
        let label = self.text(11)?.map(Label::new).transpose();
        let label = label.map_err(too_long(11))?;
        if let Some(because) = self.text(13)? {
            // A newer build may know more of them.
            let because = because.parse().unwrap_or(EndReason::Unknown);
            let mut ending = Ending::new(because, self.instant(5)?).with_note(label);
            ending.until = self.instant(6)?;
            let subject = match with_data {
                true => self.subject_in_data(15)?,
                false => None,
            };
            return Ok(Stored::Ended(Tombstone::new(&ending, subject)));
        }
        let mut record = Record::new(self.instant(4)?, self.instant(6)?);
        record.revision = self.revision(3)?;
        record.last_seen_at = self.instant(5)?;
        record.absolute_deadline = self.maybe_instant(7)?;
        if let Some(chosen) = self.text(8)? {
            let chosen = chosen.parse();
            record.expiry = chosen.map_err(|_| self.corrupt(8, "is no lifetime of a session"))?;
        }
        if let Some(site) = self.text(9)? {
            record.site = Site::new(site).map_err(|_| self.corrupt(9, "is no site"))?;
        }
        let subject = self.text(10)?.map(Subject::new).transpose();
        record.subject = subject.map_err(too_long(10))?;
        record.label = label;
        let flushes = u32::try_from(self.int(12)?);
        record.flushes = flushes.map_err(|_| self.corrupt(12, "is no number of flushes"))?;
        if let Some(login) = self.bytes(14)? {
            record.login = Some(Arc::new(Login::from_bytes(login)?));
        }
        if with_data {
            let data = self.bytes(15)?;
            let data = data.ok_or_else(|| self.corrupt(15, "is longer than a record may be"))?;
            record.data = Data::from_bytes(data.to_vec());
        }
        Ok(Stored::Record(record))
    }

    /// Whose session it was, as the data of a tombstone says it.
    fn subject_in_data(&self, at: usize) -> Result<Option<SubjectDigest>, Error> {
        match self.bytes(at)? {
            Some([]) => Ok(None),
            Some(bytes) => match bytes.try_into() {
                Ok(bytes) => Ok(Some(SubjectDigest::from_bytes(bytes))),
                Err(_) => Err(self.corrupt(at, "is no subject of a tombstone")),
            },
            None => Err(self.corrupt(at, "is no subject of a tombstone")),
        }
    }

    /// Whether a value stands in a column.
    pub(crate) fn is_set(&self, at: usize) -> bool {
        !matches!(self.0.get_ref(at), Ok(ValueRef::Null))
    }

    fn int(&self, at: usize) -> Result<i64, Error> {
        self.maybe_int(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    fn maybe_int(&self, at: usize) -> Result<Option<i64>, Error> {
        match self.0.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Integer(number)) => Ok(Some(number)),
            _ => Err(self.corrupt(at, "has a value of another type")),
        }
    }

    /// Bytes, or a text as its bytes, which an operator may have written.
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Error> {
        match self.0.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => Ok(Some(bytes)),
            _ => Err(self.corrupt(at, "has a value of another type")),
        }
    }

    fn instant(&self, at: usize) -> Result<Timestamp, Error> {
        self.maybe_instant(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    fn maybe_instant(&self, at: usize) -> Result<Option<Timestamp>, Error> {
        let millis = self.maybe_int(at)?.map(u64::try_from).transpose();
        let millis = millis.map_err(|_| self.corrupt(at, "is before 1970"))?;
        Ok(millis.map(Timestamp::from_millis))
    }

    fn text(&self, at: usize) -> Result<Option<&str>, Error> {
        let text = self.bytes(at)?.map(str::from_utf8).transpose();
        text.map_err(|_| self.corrupt(at, "is not UTF-8"))
    }

    fn corrupt(&self, at: usize, what: &str) -> Error {
        let column = self.0.as_ref().column_name(at).unwrap_or("?");
        let message = format!("the column {column} of a row {what}");
        Error::new(ErrorKind::Corrupt, message)
    }
}
