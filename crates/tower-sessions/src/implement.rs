//! Their traits, once for each version of their core.

macro_rules! implement {
    ($feature:literal, $module:ident, $core:ident) => {
        #[cfg(feature = $feature)]
        mod $module {
            use async_trait::async_trait;
            use cloakroom_core::store::SessionStore;
            use cloakroom_core::{Error, ErrorKind, Timestamp};
            use time::{OffsetDateTime, PrimitiveDateTime};
            use $core::session::{Id, Record};
            use $core::session_store::{self, ExpiredDeletion, Result};

            use crate::CloakroomStore;

            #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
            #[async_trait]
            impl<S: SessionStore> session_store::SessionStore for CloakroomStore<S> {
                async fn create(&self, record: &mut Record) -> Result<()> {
                    let until = deadline(record.expiry_date);
                    let draw = || Id::default().0;
                    let created = self.create_session(&mut record.data, until, draw).await;
                    record.id = Id(created.map_err(not_saved)?);
                    Ok(())
                }

                async fn save(&self, record: &Record) -> Result<()> {
                    let until = deadline(record.expiry_date);
                    let saved = self.save_session(record.id.0, &record.data, until).await;
                    saved.map_err(not_saved)
                }

                async fn load(&self, id: &Id) -> Result<Option<Record>> {
                    let loaded = self.load_session(id.0).await.map_err(not_loaded)?;
                    Ok(loaded.map(|(data, until)| Record {
                        id: *id,
                        data,
                        expiry_date: date(until),
                    }))
                }

                async fn delete(&self, id: &Id) -> Result<()> {
                    self.end_session(id.0).await.map_err(not_loaded)
                }
            }

            /// Sweeps the store. A failure is an event and no error: their
            /// `continuously_delete_expired` ends at the first error.
            #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
            #[async_trait]
            impl<S: SessionStore> ExpiredDeletion for CloakroomStore<S> {
                async fn delete_expired(&self) -> Result<()> {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(event = "expired_not_removed", %error, "expired sessions were not removed");
                    }
                    Ok(())
                }
            }

            fn not_saved(error: Error) -> session_store::Error {
                match error.kind() {
                    ErrorKind::TooLarge | ErrorKind::Mismatch => {
                        session_store::Error::Encode(error.to_string())
                    }
                    _ => session_store::Error::Backend(error.to_string()),
                }
            }

            fn not_loaded(error: Error) -> session_store::Error {
                match error.kind() {
                    ErrorKind::Unsupported | ErrorKind::UnknownKey | ErrorKind::Mismatch => {
                        session_store::Error::Decode(error.to_string())
                    }
                    _ => session_store::Error::Backend(error.to_string()),
                }
            }

            /// In whole milliseconds, fractions dropped; before 1970 is the epoch.
            fn deadline(date: OffsetDateTime) -> Timestamp {
                let millis = date.unix_timestamp_nanos() / 1_000_000;
                Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
            }

            /// An instant that `time` cannot express is the end of the year 9999.
            fn date(instant: Timestamp) -> OffsetDateTime {
                let nanos = i128::from(instant.as_millis()) * 1_000_000;
                OffsetDateTime::from_unix_timestamp_nanos(nanos)
                    .unwrap_or(PrimitiveDateTime::MAX.assume_utc())
            }
        }
    };
}

implement!("v0_14", v0_14, tower_sessions_core_0_14);
implement!("v0_15", v0_15, tower_sessions_core_0_15);
