//! A record as columns, and a row as what is stored.

use std::sync::Arc;

use cloakroom_core::store::{
    Data, EndReason, Ending, FRAME_BYTES_CEILING, KeyDigest, Record, Revision, Stored,
    SubjectDigest, Tombstone,
};
use cloakroom_core::{Error, ErrorKind, Label, Login, SessionExpiry, Site, Subject, Timestamp};
use sqlx::{Column as _, Row as _};

use crate::driver::Driver;
use crate::error::with_source;
use crate::statement::Arg;
use crate::statements::FORMAT;

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
            self.revision.into(),
            record.created_at.into(),
            record.last_seen_at.into(),
            record.expires_at.into(),
            record.absolute_deadline.into(),
            Arg::bytes(self.expiry.as_deref()),
            Arg::bytes(site),
            Arg::bytes(record.subject.as_ref().map(Subject::as_str)),
            self.subject_digest.as_ref().into(),
            Arg::bytes(record.label.as_ref().map(Label::as_str)),
            i64::from(record.flushes).into(),
            Arg::bytes(self.login.as_deref()),
            Arg::bytes(Some(record.data.as_bytes())),
        ];
        [first, &columns].concat()
    }
}

pub(crate) fn revision(number: i64) -> Revision {
    Revision::from_u64(number.cast_unsigned())
}

/// A row that a statement answers; its columns are numbered from 0.
pub(crate) struct Row<DB: Driver>(pub(crate) DB::Row);

impl<DB: Driver> Row<DB> {
    pub(crate) fn int(&self, at: usize) -> Result<i64, Error> {
        self.maybe_int(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    pub(crate) fn digest(&self, at: usize) -> Result<KeyDigest, Error> {
        self.maybe_digest(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    pub(crate) fn maybe_digest(&self, at: usize) -> Result<Option<KeyDigest>, Error> {
        self.maybe_32_bytes(at)
            .map(|bytes| bytes.map(KeyDigest::from_bytes))
    }

    pub(crate) fn subject_digest(&self, at: usize) -> Result<Option<SubjectDigest>, Error> {
        self.maybe_32_bytes(at)
            .map(|bytes| bytes.map(SubjectDigest::from_bytes))
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
            )
            .in_store(DB::DIALECT.store)),
            _ => Err(self.corrupt(at, "is no format of a row")),
        }
    }

    /// What stands in a row of `digest, format, moved_to, revision, created_at,
    /// last_seen_at, expires_at, absolute_deadline, expiry, site, subject, label, flushes,
    /// ended, login`, and `data` where it was asked for.
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
        record.revision = revision(self.int(3)?);
        record.last_seen_at = self.instant(5)?;
        record.absolute_deadline = self.maybe_instant(7)?;
        if let Some(chosen) = self.text(8)? {
            let chosen = chosen.parse();
            record.expiry = chosen.map_err(|_| self.corrupt(8, "is no lifetime of a session"))?;
        }
        if let Some(site) = self.text(9)? {
            record.site = Site::new(&site).map_err(|_| self.corrupt(9, "is no site"))?;
        }
        let subject = self.text(10)?.map(Subject::new).transpose();
        record.subject = subject.map_err(too_long(10))?;
        record.label = label;
        let flushes = u32::try_from(self.int(12)?);
        record.flushes = flushes.map_err(|_| self.corrupt(12, "is no number of flushes"))?;
        if let Some(login) = self.bytes(14)? {
            record.login = Some(Arc::new(Login::from_bytes(&login)?));
        }
        if with_data {
            let data = self.bytes(15)?;
            let data = data.ok_or_else(|| self.corrupt(15, "is NULL"))?;
            if data.len() > FRAME_BYTES_CEILING {
                return Err(self.corrupt(15, "is longer than a record may be"));
            }
            record.data = Data::from_bytes(data);
        }
        Ok(Stored::Record(record))
    }

    /// The same in one row of many. A row that cannot be read stops no other; a table of
    /// other types does.
    pub(crate) fn stored_in_list(&self, with_data: bool) -> Result<Result<Stored, Error>, Error> {
        match self.stored(with_data) {
            Err(error) if error.kind() == ErrorKind::Misconfigured => Err(error),
            stored => Ok(stored),
        }
    }

    /// Whose session it was, as the data of a tombstone says it.
    fn subject_in_data(&self, at: usize) -> Result<Option<SubjectDigest>, Error> {
        match self.bytes(at)?.as_deref() {
            Some([]) => Ok(None),
            _ => self.subject_digest(at),
        }
    }

    /// Whether bytes stand in a column.
    pub(crate) fn is_set(&self, at: usize) -> Result<bool, Error> {
        self.bytes(at).map(|bytes| bytes.is_some())
    }

    fn maybe_int(&self, at: usize) -> Result<Option<i64>, Error> {
        DB::int(&self.0, at).map_err(|source| self.of_another_type(at, source))
    }

    fn bytes(&self, at: usize) -> Result<Option<Vec<u8>>, Error> {
        DB::bytes(&self.0, at).map_err(|source| self.of_another_type(at, source))
    }

    fn maybe_32_bytes(&self, at: usize) -> Result<Option<[u8; 32]>, Error> {
        let bytes = self.bytes(at)?.map(<[u8; 32]>::try_from).transpose();
        bytes.map_err(|_| self.corrupt(at, "is not of 32 bytes"))
    }

    pub(crate) fn instant(&self, at: usize) -> Result<Timestamp, Error> {
        self.maybe_instant(at)?
            .ok_or_else(|| self.corrupt(at, "is NULL"))
    }

    fn maybe_instant(&self, at: usize) -> Result<Option<Timestamp>, Error> {
        let millis = self.maybe_int(at)?.map(u64::try_from).transpose();
        let millis = millis.map_err(|_| self.corrupt(at, "is before 1970"))?;
        Ok(millis.map(Timestamp::from_millis))
    }

    fn text(&self, at: usize) -> Result<Option<String>, Error> {
        let text = self.bytes(at)?.map(String::from_utf8).transpose();
        text.map_err(|_| self.corrupt(at, "is not UTF-8"))
    }

    fn column(&self, at: usize) -> &str {
        let column = self.0.columns().get(at);
        column.map_or("?", |column| column.name())
    }

    fn corrupt(&self, at: usize, what: &str) -> Error {
        let message = format!("the column {} of a row {what}", self.column(at));
        Error::new(ErrorKind::Corrupt, message).in_store(DB::DIALECT.store)
    }

    /// This is not the table that `migrate` makes, and no row of it says anything about a
    /// session.
    fn of_another_type(&self, at: usize, source: sqlx::Error) -> Error {
        let message = format!(
            "the column {} has another type than migrate() gives it; make the table with \
             migrate(), or with the published SQL",
            self.column(at)
        );
        let error = Error::new(ErrorKind::Misconfigured, message).in_store(DB::DIALECT.store);
        with_source(error, source)
    }
}
