//! The first connection to a server, which tells what the pool would keep to itself.

use std::net::IpAddr;
use std::time::Duration;

use cloakroom_core::Error;
use sqlx::Connection;
use tokio::time::{sleep, timeout};

use super::settings::SqlStoreBuilder;
use crate::driver::Driver;
use crate::error::Target;

/// The pause before a server is asked again that is about to be ready.
const PAUSE: Duration = Duration::from_millis(100);

/// Says where what is sent to a server may be read on the way: where TLS is only
/// preferred, somebody in between decides.
pub(super) fn warn_of_plaintext(target: &Target, host: &str, advice: &str) {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => address == "localhost" || address.ends_with(".localhost"),
    };
    if !is_loopback {
        tracing::warn!(
            event = "plaintext_connection",
            host,
            "sessions travel to {} in plaintext, or may be made to: set {advice}",
            target.address
        );
    }
}

impl SqlStoreBuilder {
    /// Connects to a server once. The pool would try for as long as a connection may take
    /// where the server refuses it, and then say only that none was free.
    pub(super) async fn connect_once<DB: Driver>(
        &self,
        options: &<DB::Connection as Connection>::Options,
    ) -> Result<DB::Connection, Error> {
        let target = self.target::<DB>(options);
        let within = self.timeouts.acquire;
        let connected = timeout(within, async {
            loop {
                match DB::Connection::connect_with(options).await {
                    // It is starting up, or has clients enough.
                    Err(sqlx::Error::Database(error)) if error.is_transient_in_connect_phase() => {
                        sleep(PAUSE).await;
                    }
                    connected => break connected,
                }
            }
        });
        match connected.await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(sqlx::Error::Io(source))) => {
                Err(target.unreachable(&source).with_source(source))
            }
            Ok(Err(source)) => Err(DB::failed(&target, source).error),
            Err(_) => Err(target.unreachable(format_args!("no connection within {within:?}"))),
        }
    }
}
