//! The demo, held against what standards ask of sessions; docs/audit.md shows it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use cloakroom::audit::{Profile, Verdict};
use cloakroom::{CookiePolicy, Engine, EngineBuilder, Expiry};
use cloakroom_testkit::MapStore;

/// A row that fails, the call that it names, and that call.
type Mend = (
    &'static str,
    &'static str,
    fn(EngineBuilder) -> EngineBuilder,
);

/// What the demo does not meet of the strictest level of each standard.
const MENDS: [(Profile, &[Mend]); 3] = [
    (
        Profile::Asvs5L3,
        &[
            ("3.3.1", "CookiePolicy::default()", https),
            ("3.3.3", "CookiePolicy::default()", https),
            ("14.3.1", "clear_site_data()", clearing),
            ("14.3.2", ".no_store(true)", |builder| {
                builder.no_store(true)
            }),
        ],
    ),
    (
        Profile::NistAal3,
        &[
            ("2.3.3", "Expiry::aal3()", aal3),
            ("2.3.3", "Expiry::aal3()", aal3),
            ("5.1", "Expiry::aal1() to aal3()", aal3),
            ("5.1 (4)", "CookiePolicy::default()", https),
            ("5.1 (5)", "Expiry::aal1() to aal3()", aal3),
            ("5.1", "CookiePolicy::default()", https),
            ("5.1.1 (1)", "CookiePolicy::default()", https),
            ("5.1.1 (5)", "CookiePolicy::default()", https),
        ],
    ),
    (Profile::PciDss4, &[("8.2.8", ".expiry(", aal3)]),
];

fn https(builder: EngineBuilder) -> EngineBuilder {
    builder.cookie(CookiePolicy::default())
}

fn clearing(builder: EngineBuilder) -> EngineBuilder {
    let cookie = CookiePolicy::builder().clear_site_data();
    builder.cookie(cookie.build().unwrap())
}

fn aal3(builder: EngineBuilder) -> EngineBuilder {
    builder.expiry(Expiry::aal3())
}

/// As the demo builds it.
fn demo() -> EngineBuilder {
    Engine::builder(MapStore::default()).cookie(CookiePolicy::loopback_http())
}

#[test]
fn each_row_that_fails_is_mended_by_the_call_that_it_names() {
    for (profile, mends) in MENDS {
        let audit = cloakroom_demo::engine(MapStore::default())
            .unwrap()
            .audit(profile);
        assert_eq!(
            audit.to_string(),
            demo().build().unwrap().audit(profile).to_string()
        );
        let failing: Vec<_> = audit.failures().collect();
        let ids: Vec<_> = failing.iter().map(|finding| finding.id).collect();
        let expected: Vec<_> = mends.iter().map(|(id, ..)| *id).collect();
        assert_eq!(ids, expected, "{profile}");
        for (finding, (_, call, mend)) in failing.iter().zip(mends) {
            let Verdict::Fails { mend: named, .. } = finding.verdict else {
                panic!("{finding:?}");
            };
            assert!(named.contains(call), "{named}");
            let mended = mend(demo()).build().unwrap().audit(profile);
            let mut rows = mended.findings().iter();
            let same = |row: &&_| {
                let row: &cloakroom::audit::Finding = row;
                (row.id, row.requirement) == (finding.id, finding.requirement)
            };
            let row = rows.find(same).unwrap();
            assert!(!row.verdict.is_failure(), "{row:?}");
        }
        let all = clearing(aal3(demo())).no_store(true);
        let mended = all.build().unwrap().audit(profile);
        assert_eq!(mended.failures().count(), 0, "{mended}");
    }
}

#[test]
fn the_page_shows_what_the_audit_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit.md");
    let text = std::fs::read_to_string(page).unwrap();
    for profile in [Profile::Asvs5L3, Profile::NistAal3, Profile::PciDss4] {
        let audit = demo().build().unwrap().audit(profile);
        let shown = format!("```text\n{audit}```\n");
        assert!(text.contains(&shown), "docs/audit.md lacks this:\n{shown}");
    }
}
