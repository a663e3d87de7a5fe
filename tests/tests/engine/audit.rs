//! An engine, held against what standards ask of sessions.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::audit::{Audit, Profile, Verdict};
use cloakroom::cookie::{CookieStore, EpochStore, KeyRing};
use cloakroom::engine::OsEntropy;
use cloakroom::stores::Cached;
use cloakroom::{BearerPolicy, CookiePolicy, Engine, EngineBuilder, Expiry, Prefix, SameSite};
use cloakroom_testkit::MapStore;
use cloakroom_tests::in_process::COOKIE;

const MINUTE: Duration = Duration::from_secs(60);

fn engine() -> EngineBuilder {
    Engine::builder(MapStore::default())
}

fn audit(builder: EngineBuilder, profile: Profile) -> Audit {
    builder.build().unwrap().audit(profile)
}

/// The ids that fail, each once.
fn failing(builder: EngineBuilder, profile: Profile) -> Vec<&'static str> {
    let audit = audit(builder, profile);
    let mut ids: Vec<_> = audit.failures().map(|finding| finding.id).collect();
    ids.dedup();
    ids
}

fn verdict(builder: EngineBuilder, profile: Profile, id: &str) -> Verdict {
    let audit = audit(builder, profile);
    let found = audit.findings().iter().find(|finding| finding.id == id);
    found.unwrap().verdict.clone()
}

#[test]
fn each_preset_passes_its_own_level_and_none_above() {
    let presets = [Expiry::aal1(), Expiry::aal2(), Expiry::aal3()];
    let levels = [Profile::NistAal1, Profile::NistAal2, Profile::NistAal3];
    for (preset, expiry) in presets.into_iter().enumerate() {
        for (level, profile) in levels.into_iter().enumerate() {
            let failing = failing(engine().expiry(expiry), profile);
            assert_eq!(
                failing.is_empty(),
                preset >= level,
                "{profile}: {failing:?}"
            );
        }
    }
    assert_eq!(failing(engine(), Profile::NistAal1), ["5.1"], "persistent");
    assert_eq!(failing(engine(), Profile::PciDss4), ["8.2.8"]);
    let quarter = |minutes| Expiry::new(minutes * MINUTE, None).unwrap();
    assert!(failing(engine().expiry(quarter(15)), Profile::PciDss4).is_empty());
    assert_eq!(
        failing(engine().expiry(quarter(16)), Profile::PciDss4),
        ["8.2.8"]
    );
}

#[test]
fn over_a_store_on_the_server_little_is_left_to_choose() {
    assert_eq!(failing(engine(), Profile::Asvs5L3), ["14.3.1", "14.3.2"]);
    let cookie = CookiePolicy::builder().clear_site_data().build().unwrap();
    let chosen = engine().cookie(cookie).no_store(true);
    assert!(failing(chosen, Profile::Asvs5L3).is_empty());
}

#[test]
fn a_higher_level_asks_for_all_that_a_lower_one_does() {
    let ids = |profile| -> Vec<_> {
        let audit = audit(engine(), profile);
        audit.findings().iter().map(|finding| finding.id).collect()
    };
    let levels = [Profile::Asvs5L1, Profile::Asvs5L2, Profile::Asvs5L3].map(ids);
    assert!(levels[0].iter().all(|id| levels[1].contains(id)));
    assert!(levels[1].iter().all(|id| levels[2].contains(id)));
    assert_eq!(levels.map(|ids| ids.len()), [8, 26, 28]);
}

#[test]
fn each_choice_of_a_cookie_shows() {
    let b = CookiePolicy::builder;
    let of = |cookie: CookiePolicy| failing(engine().cookie(cookie), Profile::Asvs5L3);
    let with = |ids: &[&'static str]| {
        let mut all = ids.to_vec();
        all.extend(["14.3.1", "14.3.2"]);
        all
    };
    assert_eq!(of(CookiePolicy::loopback_http()), with(&["3.3.1", "3.3.3"]));
    let no_prefix = b().prefix(Prefix::None).build().unwrap();
    assert_eq!(of(no_prefix), with(&["3.3.1", "3.3.3"]));
    let secure = b().prefix(Prefix::Secure).build().unwrap();
    assert_eq!(of(secure), with(&["3.3.3"]));
    let readable = b().readable_by_scripts().build().unwrap();
    assert_eq!(of(readable), with(&["3.3.4"]));
    let anywhere = b().same_site(SameSite::None).build().unwrap();
    assert_eq!(of(anywhere), with(&["3.3.2"]));
    let host_http = b().prefix(Prefix::HostHttp).build().unwrap();
    assert_eq!(of(host_http), with(&[]));
    // That other hosts get it is for the site to say.
    let shared = b()
        .prefix(Prefix::Secure)
        .domain("example.org")
        .build()
        .unwrap();
    let judged = verdict(engine().cookie(shared), Profile::Asvs5L2, "3.3.3");
    assert!(matches!(judged, Verdict::Application { .. }), "{judged:?}");
}

#[test]
fn what_a_cookie_store_cannot_do_fails_with_what_to_do() {
    let ring = KeyRing::generate(&OsEntropy).unwrap();
    let store = || CookieStore::builder(COOKIE, &ring);
    let epochs = || Arc::new(EpochStore::in_non_evicting(MapStore::default()));
    let of = |store: CookieStore| {
        let cookie = CookiePolicy::builder().clear_site_data().build().unwrap();
        let builder = Engine::builder(store).cookie(cookie).no_store(true);
        failing(builder, Profile::Asvs5L3)
    };
    let unlisted = ["7.4.3", "7.4.5", "7.5.2"];
    let plain = ["7.2.4", "7.4.1", "7.4.2", "7.4.3", "7.4.5", "7.5.2"];
    assert_eq!(of(store().build().unwrap()), plain);
    let signed = [&plain[..], &["14.3.3"]].concat();
    assert_eq!(of(store().signed().build().unwrap()), signed);
    let revocable = store().revocation(epochs());
    let kept = ["7.2.4", "7.4.1", "7.4.3", "7.4.5", "7.5.2"];
    assert_eq!(of(revocable.build().unwrap()), kept);
    let ends = store().revocation(epochs()).logout_ends_all();
    assert_eq!(of(ends.build().unwrap()), unlisted);

    let signed = Engine::builder(store().signed().build().unwrap());
    let judged = verdict(signed, Profile::NistAal1, "5.1.1 (7)");
    assert!(judged.is_failure(), "{judged:?}");
}

#[test]
fn without_an_absolute_lifetime_each_standard_objects() {
    let endless = || engine().expiry(Expiry::new(MINUTE, None).unwrap());
    let fails = |profile, id| verdict(endless(), profile, id).is_failure();
    assert!(fails(Profile::Asvs5L2, "7.3.2"));
    assert!(fails(Profile::NistAal1, "2.1.3"));
    assert!(fails(Profile::NistAal2, "2.2.3"));
    assert!(fails(Profile::NistAal3, "2.3.3"));
    assert!(fails(Profile::NistAal1, "5.1 (5)"));
    assert!(fails(Profile::NistAal1, "5.1.1 (4)"));
    let days = |profile| verdict(engine(), profile, "5.1 (5)").is_failure();
    assert!(!days(Profile::NistAal2), "a time is recommended there");
    assert!(days(Profile::NistAal3), "and required there");
}

/// What the engine cannot see is not said to hold.
#[test]
fn what_is_the_applications_own_is_left_to_it() {
    let own = || engine().entropy(Arc::new(OsEntropy));
    for id in ["7.2.2", "7.2.3"] {
        let judged = verdict(own(), Profile::Asvs5L1, id);
        assert!(matches!(judged, Verdict::Application { .. }), "{judged:?}");
        let judged = verdict(engine(), Profile::Asvs5L1, id);
        assert!(matches!(judged, Verdict::Holds { .. }), "{judged:?}");
    }
    let bearer = || engine().bearer(BearerPolicy::default());
    let judged = verdict(bearer(), Profile::Asvs5L2, "3.3.4");
    assert!(matches!(judged, Verdict::Application { .. }), "{judged:?}");
    let judged = verdict(bearer(), Profile::NistAal2, "5.1.1 (1)");
    assert!(matches!(judged, Verdict::Holds { .. }), "no cookie");
}

/// A near cache may answer an ended session for a while, and says so.
#[test]
fn the_bound_of_a_near_cache_is_told() {
    let cached = Cached::with_staleness_max(MapStore::default(), Duration::from_secs(5));
    let because = |builder| match verdict(builder, Profile::Asvs5L1, "7.4.1") {
        Verdict::Holds { because } => because,
        verdict => panic!("{verdict:?}"),
    };
    let text = because(Engine::builder(cached));
    assert!(text.contains("on others within 5 seconds"), "{text}");
    let text = because(engine());
    assert!(text.contains("on every node at once"), "{text}");
}

#[test]
fn people_can_read_the_table() {
    for profile in Profile::ALL {
        let audit = audit(engine(), profile);
        let text = audit.to_string();
        assert!(text.starts_with(profile.title()), "{text}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= 96 && line.trim_end() == line,
                "{line:?}"
            );
        }
        for finding in audit.findings() {
            assert!(text.contains(&format!("{:<10} ", finding.id)), "{text}");
        }
        for finding in audit.failures() {
            let Verdict::Fails { mend, .. } = finding.verdict else {
                panic!("{finding:?}");
            };
            assert!(!mend.is_empty());
        }
        assert!(text.contains("DOES NOT") == (audit.failures().count() > 0));
    }
}
