//! What Prometheus reads: the metrics of the process, at `/metrics`.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{MissedTickBehavior, interval};

/// How often the samples of histograms are summed up. Until then they are kept one by one.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// From a load of an embedded store to a call that times out.
const SECONDS: [f64; 14] = [
    0.000_005, 0.000_02, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5,
    2.0, 10.0,
];

const BYTES: [f64; 8] = [
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

/// The recorder of this process, installed on the first call; it must come before the store is
/// opened. `None` where the process has another one.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    INSTALLED.get_or_init(install).as_ref()
}

fn install() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
    let builder = builder.ok()?;
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES);
    builder.ok()?.install_recorder().ok()
}

/// Sums up the samples of histograms, for ever.
pub(crate) async fn upkeep(metrics: &PrometheusHandle) {
    let mut every = interval(UPKEEP_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

/// The page, beside a site. It asks nobody who they are, so it is only for a site that this
/// machine alone can reach.
pub(crate) fn beside(site: Router, metrics: &'static PrometheusHandle) -> Router {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let page = get(async move || ([(CONTENT_TYPE, text)], metrics.render()));
    site.route("/metrics", page)
}
