//! A site on actix-web: the script of requests, sessions that several workers write, and
//! a stop while requests are under way.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use cloakroom_tests::script::on_actix::ActixSite;
use cloakroom_tests::{Browser, script};
use futures_util::future::{join, join_all};

use crate::fresh_stores;

#[tokio::test]
async fn actix_gives_the_answers_of_the_script() {
    let site = ActixSite::serve("memory:");
    script::run(site.addr).await;
}

#[tokio::test]
async fn each_of_128_increments_counts_on_each_store() {
    let folder = tempfile::tempdir().unwrap();
    let own = ["redb", "file", "sled"].map(|scheme| {
        let path = folder.path().join(scheme);
        format!("{scheme}:{}", path.display())
    });
    let fresh = fresh_stores::all();
    let others = fresh.iter().map(|fresh| fresh.url.clone());
    for url in own.into_iter().chain(others) {
        println!("{url}");
        let site = ActixSite::serve(&url);
        script::increments(site.addr).await;
        site.stop().await;
    }
}

/// What a worker has opened or begun must not end with it: the others still answer.
#[tokio::test]
async fn a_graceful_stop_loses_no_request_that_has_begun() {
    for fresh in fresh_stores::all() {
        let site = ActixSite::serve(&fresh.url);
        let visitors = (0..16).map(|_| Browser::at(site.addr));
        let visitors = visitors.map(async |browser| {
            let mut answers = 0;
            loop {
                let request = browser.request(Method::POST, "/count").body(Body::empty());
                let Some(response) = browser.try_send(request.unwrap()).await else {
                    return answers;
                };
                assert_eq!(response.status(), 200, "{}", fresh.name);
                answers += 1;
            }
        });
        let visitors = join_all(visitors);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            site.stop().await;
        };
        let (answers, ()) = join(visitors, stop).await;
        let answers: u64 = answers.iter().sum();
        assert!(answers > 100, "{}: {answers}", fresh.name);
    }
}
