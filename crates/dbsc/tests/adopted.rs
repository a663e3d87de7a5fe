//! A session that was adopted from another library, and is bound: its former cookie opens it
//! until the visitor has come back with the engine's own, and proves no device.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod browser;

use browser::{BOUND, Browser, COOKIE, Site};
use cloakroom_core::store::{BoxFuture, EndReason};
use cloakroom_core::{Error, Subject, Timestamp};
use cloakroom_dbsc::Dbsc;
use cloakroom_testkit::Call;
use cloakroom_web::{CookiePolicy, DeviceProof, FormerId, FormerSession, FormerSessions, Prefix};

/// The former site, where ada is logged in for ever.
struct Former(CookiePolicy);

impl FormerSessions for Former {
    fn name(&self) -> &str {
        "former"
    }

    fn cookie(&self) -> &CookiePolicy {
        &self.0
    }

    fn read_cookie(&self, value: &str) -> Option<FormerId> {
        Some(FormerId::new(value))
    }

    fn load<'a>(
        &'a self,
        _: &'a FormerId,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<FormerSession>, Error>> {
        Box::pin(async move {
            let year = std::time::Duration::from_secs(365 * 24 * 3_600);
            let mut session = FormerSession::new(now.saturating_add(year));
            session.subject = Some(Subject::new("ada").unwrap());
            Ok(Some(session))
        })
    }

    fn delete<'a>(&'a self, _: &'a FormerId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

fn site(dbsc: Dbsc) -> Site {
    Site::with(|builder| {
        let cookie = CookiePolicy::builder().prefix(Prefix::None).name("sid");
        let former = Former(cookie.build().unwrap());
        builder.device_bound(dbsc).adopt(former)
    })
}

fn with_former_cookie(site: &Site) -> Browser<'_> {
    let mut browser = Browser::new(site);
    browser.jar.insert("sid".to_owned(), "id-ada".to_owned());
    browser
}

#[tokio::test]
async fn a_former_cookie_proves_no_device() {
    for (dbsc, opens) in [
        (Dbsc::observe(), true),
        (Dbsc::prefer(), false),
        (Dbsc::require(), false),
    ] {
        let site = site(dbsc);
        let mut browser = with_former_cookie(&site);
        let thief = browser.copied();
        let page = browser.page(async |session| drop(session.subject())).await;
        let offer = page.challenge().expect("its first page offers");
        assert!(browser.jar.contains_key(COOKIE) && browser.jar.contains_key(BOUND));
        assert_eq!(browser.register(&offer).await.status, 200);

        let mut thief = thief;
        let mut seen = None;
        let page = thief.page(async |session| {
            let why = session.ended_because().map(|ended| ended.because);
            seen = Some((session.subject().is_some(), why));
        });
        let page = page.await;
        let why = (!opens).then_some(EndReason::BindingFailed);
        assert_eq!(seen, Some((opens, why)));
        assert_eq!(page.proof, DeviceProof::Unproven);
        // Who is refused keeps the cookie, and gets no other.
        let holds = ["sid", COOKIE].map(|name| thief.jar.contains_key(name));
        assert_eq!(holds, [!opens, opens]);
        if opens {
            // From here on it is the session's own cookie.
            continue;
        }
        // What it writes has nowhere to go, and a logout ends the session all the same.
        let written = thief.page(async |session| session.insert("n", 1).unwrap());
        assert_eq!(written.await.status, 409);
        assert_eq!(browser.who().await.as_deref(), Some("ada"));
        thief.page(async |session| session.flush().unwrap()).await;
        assert_eq!(browser.who().await, None);
    }
}

/// And where none answers in time, it ends the session as any cookie does.
#[tokio::test]
async fn a_former_cookie_that_no_device_answers_for_ends_its_session() {
    let site = site(Dbsc::require());
    let mut browser = with_former_cookie(&site);
    let mut late = browser.copied();
    assert_eq!(browser.who().await.as_deref(), Some("ada"));
    site.wait(331);
    let mut why = None;
    let page = late.page(async |session| why = session.ended_because());
    assert!(page.await.calls.contains(&Call::Delete));
    assert_eq!(
        why.map(|ended| ended.because),
        Some(EndReason::BindingFailed)
    );
    assert_eq!(browser.who().await, None);
}
