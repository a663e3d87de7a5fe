//! docs/events.md names every event and every metric of the sources, and no other, and the
//! dashboard shows them.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cloakroom::store::EndReason;
use cloakroom_tests::events_page::{self, page};

/// Applications, whose events are their own, and what only tests use.
const NO_LIBRARIES: [&str; 3] = ["cli", "demo", "testkit"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn libraries() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(crates()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if !NO_LIBRARIES.contains(&name) {
            sources(&folder.join("src"), &mut found);
        }
    }
    found
}

/// The level of each event that a source tells, by its name.
fn told(source: &str) -> Vec<(String, Result<String, String>)> {
    let calls = source.split("tracing::").skip(1).filter_map(|call| {
        let (level, rest) = call.split_once("!(")?;
        let is_level = ["trace", "debug", "info", "warn", "error"].contains(&level);
        is_level.then_some((level, rest))
    });
    let named = calls.map(|(level, rest)| {
        let name = rest.trim_start().strip_prefix("event = \"");
        let name = name.and_then(|rest| rest.split('"').next());
        let begins: String = rest.chars().take(60).collect();
        (level.to_owned(), name.map(str::to_owned).ok_or(begins))
    });
    named.collect()
}

#[test]
fn the_page_lists_each_event_of_the_sources_at_its_level() {
    let mut levels = BTreeMap::new();
    for (path, text) in libraries() {
        for (level, name) in told(&text) {
            let name = name.unwrap_or_else(|begins| {
                panic!("{}: no `event = \"…\"` first in {begins}", path.display())
            });
            let before = levels.insert(name.clone(), level.clone());
            assert!(before.is_none_or(|before| before == level), "{name}");
        }
    }
    let listed = events_page::events(&page()).into_iter();
    let listed: BTreeMap<_, _> = listed.map(|(name, row)| (name, row.level)).collect();
    assert!(listed.len() > 20, "{listed:?}");
    assert_eq!(levels, listed, "the sources, and docs/events.md");
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let words = text.split(|letter| !is_name(letter));
    let is_metric = |word: &&str| {
        let ends = ["_total", "_seconds", "_bytes", "_up"];
        word.starts_with("cloakroom_") && ends.iter().any(|end| word.ends_with(end))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn the_page_lists_each_metric_of_the_sources() {
    let mut named = BTreeSet::new();
    for (path, text) in libraries() {
        if path
            .to_str()
            .is_some_and(|path| path.contains("measure") || path.ends_with("stats.rs"))
        {
            named.append(&mut metrics_in(&text));
        }
    }
    let listed: BTreeSet<_> = events_page::metrics(&page()).into_keys().collect();
    assert!(listed.len() > 20, "{listed:?}");
    assert_eq!(named, listed, "the sources, and docs/events.md");
}

#[test]
fn the_dashboard_shows_each_metric_and_no_other() {
    let path = crates().join("../docs/grafana.json");
    let text = fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            // A histogram is exported with these endings.
            let query = query.replace("_bucket", "").replace("_sum", "");
            let query = query.replace("_count", "");
            let found = metrics_in(&query);
            assert!(!found.is_empty(), "{query}");
            shown.extend(found);
        }
    }
    let listed: BTreeSet<_> = events_page::metrics(&page()).into_keys().collect();
    assert_eq!(shown, listed, "docs/grafana.json, and docs/events.md");
}

/// Each rule of an alarm asks for what there is.
#[test]
fn the_rules_of_alarms_name_metrics_and_labels_of_the_page() {
    let path = crates().join("../docs/watching.md");
    let text = fs::read_to_string(path).unwrap();
    let page = page();
    let listed: BTreeSet<_> = events_page::metrics(&page).into_keys().collect();
    let named = metrics_in(&text);
    assert!(named.len() >= 10 && named.is_subset(&listed), "{named:?}");
    for label in text.replace("=~", "=").split("=\"").skip(1) {
        let (label, _) = label.split_once('"').expect("a label ends");
        for value in label.split("\\|") {
            let is_reason = EndReason::ALL.iter().any(|reason| reason.as_str() == value);
            let is_known = is_reason || page.contains(&format!("`{value}`"));
            assert!(is_known, "{value}");
        }
    }
}
