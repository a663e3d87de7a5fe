//! Requests of one session at once.

use std::net::SocketAddr;

use futures_util::future::{join, join_all};

use super::{number, told};
use crate::Browser;

pub(super) async fn run(site: SocketAddr) {
    each_counts(site, 2).await;
    a_write_overtakes_nothing(site).await;
    what_a_login_overtakes_counts_no_more(site).await;
    what_a_logout_overtakes_is_a_conflict(site).await;
}

/// All of them have loaded their session before the first one writes.
pub(super) async fn each_counts(site: SocketAddr, requests: usize) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let path = format!("/together/{requests}");
    let replies = join_all((0..requests).map(|_| browser.post(&path))).await;
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(told(&reply), ["cookie", "private", ""]);
    }
    assert_eq!(number(&browser).await, (1 + requests).to_string());
}

/// What happens while a request that has opened its session waits.
async fn meanwhile(browser: &Browser, path: &str) -> crate::Reply {
    // The tab of before keeps the cookie that it has sent.
    let late = browser.copy();
    let rest = async {
        browser.post("/meet").await;
        let done = browser.post(path).await;
        assert_eq!(done.status, 200);
        browser.post("/meet").await;
    };
    let (reply, ()) = join(late.post("/late"), rest).await;
    reply
}

async fn a_write_overtakes_nothing(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let reply = meanwhile(&browser, "/count").await;
    assert_eq!(
        (reply.status, reply.header("x-handler")),
        (200, vec!["yes"])
    );
    assert_eq!(number(&browser).await, "3");
}

/// Its answer is the session's, and nothing of the handler's.
async fn what_a_logout_overtakes_is_a_conflict(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let reply = meanwhile(&browser, "/logout").await;
    assert_eq!((reply.status, reply.header("x-handler")), (409, vec![]));
    assert_eq!(told(&reply), ["cookie", "private", ""]);
    assert_eq!(number(&browser).await, "-");
}

/// Whoever knows the old key must gain nothing by a request that they hold open.
async fn what_a_login_overtakes_counts_no_more(site: SocketAddr) {
    let browser = Browser::at(site);
    browser.post("/count").await;
    let reply = meanwhile(&browser, "/login/ada").await;
    assert_eq!((reply.status, reply.header("x-handler")), (409, vec![]));
    assert_eq!(told(&reply), ["cookie", "private", ""]);
    assert_eq!(number(&browser).await, "1");
    assert_eq!(browser.get("/whose").await.body, "ada");
}
