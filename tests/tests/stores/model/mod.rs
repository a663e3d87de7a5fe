//! Random operations against models, with virtual time: sessions against a
//! plain map, stores against `MapStore`.
//!
//! 1,000 cases by default; `CLOAKROOM_CASES` sets another number.

mod sessions;
mod stores;

use proptest::test_runner::Config;

fn config() -> Config {
    let cases = std::env::var("CLOAKROOM_CASES").ok();
    Config {
        cases: cases.map_or(1_000, |cases| cases.parse().expect("a number of cases")),
        failure_persistence: None,
        ..Config::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}
