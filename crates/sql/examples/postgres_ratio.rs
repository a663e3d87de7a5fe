//! What a load and an update cost beside a prepared SELECT and UPDATE by the primary key,
//! on a PostgreSQL of this machine: `cargo run --release -p cloakroom-sql --features postgres
//! --example postgres_ratio`. Ours and the raw one take turns, so that they share whatever else
//! the machine does, and go first by turns: the first read after a write finds a server that
//! was waiting for its disk. Read the ratios of the medians.

use std::time::{Duration, Instant};

use cloakroom_core::store::SessionStore as _;
use cloakroom_sql::SqlStore;
use cloakroom_testkit::{key, sample};
use sqlx::{Connection as _, PgConnection};

const ROUNDS: usize = 5_000;

const SELECT: &str = "SELECT format, moved_to, revision, created_at, last_seen_at, expires_at, \
                      absolute_deadline, expiry, site, subject, label, flushes, ended, data \
                      FROM cloakroom_sessions WHERE digest = $1";
const UPDATE: &str = "UPDATE cloakroom_sessions SET revision = revision + 1, data = $2 \
                      WHERE digest = $1";

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = cloakroom_servers::Postgres::start() else {
        return Ok(());
    };
    for behind_pooler in [false, true] {
        let builder = SqlStore::builder().behind_pooler(behind_pooler);
        let store = builder.connect(&server.url()).await?;
        store.migrate().await?;
        let mut raw = PgConnection::connect(&server.url()).await?;
        let (digest, other, mut record) = (key().digest(), key().digest(), sample("x"));
        let data = record.data.as_bytes().to_vec();
        record.revision = store.create(&digest, &record).await?;
        store.create(&other, &record).await?;
        let other = other.as_bytes().as_slice();
        let mut times: [Vec<Duration>; 4] = Default::default();
        for writes in [false, true] {
            for round in 0..ROUNDS {
                for turn in 0..2 {
                    let is_ours = (round + turn) % 2 == 0;
                    // Now and then a connection is pinged behind the answer.
                    tokio::task::yield_now().await;
                    let begun = Instant::now();
                    match (is_ours, writes) {
                        (true, false) => drop(store.load(&digest).await?),
                        (true, true) => record.revision = store.update(&digest, &record).await?,
                        (false, false) => {
                            let select = sqlx::query(SELECT).bind(other);
                            select.fetch_one(&mut raw).await?;
                        }
                        (false, true) => {
                            let update = sqlx::query(UPDATE).bind(other).bind(&data);
                            update.execute(&mut raw).await?;
                        }
                    }
                    times[2 * usize::from(writes) + usize::from(!is_ours)].push(begun.elapsed());
                }
            }
        }
        let [load, select, update, raw_update] = times.each_mut().map(|times| median(times));
        let ratio = |ours: Duration, raw: Duration| ours.as_secs_f64() / raw.as_secs_f64();
        println!(
            "behind a pooler: {behind_pooler}; load {load:?} / SELECT {select:?} = {:.2}; \
             update {update:?} / UPDATE {raw_update:?} = {:.2}",
            ratio(load, select),
            ratio(update, raw_update)
        );
    }
    Ok(())
}
