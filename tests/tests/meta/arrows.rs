//! The floors of ARCHITECTURE.md: a crate imports from lower floors alone.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Which floor each crate stands on. A new crate must be given one.
const FLOORS: [(&str, u8); 28] = [
    ("cloakroom-core", 0),
    ("cloakroom-disk", 0),
    ("cloakroom-map", 0),
    ("cloakroom-cached", 1),
    ("cloakroom-file", 1),
    ("cloakroom-keyring", 1),
    ("cloakroom-memory", 1),
    ("cloakroom-migrating", 1),
    ("cloakroom-redb", 1),
    ("cloakroom-redis", 1),
    ("cloakroom-sled", 1),
    ("cloakroom-sql", 1),
    ("cloakroom-sqlite", 1),
    ("cloakroom-testkit", 1),
    ("cloakroom-web", 1),
    ("cloakroom-actix", 2),
    ("cloakroom-adopt", 2),
    ("cloakroom-cookie", 2),
    ("cloakroom-dbsc", 2),
    ("cloakroom-oidc", 2),
    ("cloakroom-sealed", 2),
    ("cloakroom-tower", 2),
    ("cloakroom-tower-sessions", 2),
    ("cloakroom-axum", 3),
    ("cloakroom", 4),
    ("cloakroom-admin", 5),
    ("cloakroom-demo", 6),
    ("cloakroom-cli", 7),
];

/// Members that test, measure or show, and may import anything.
const ABOVE_ALL: [&str; 6] = [
    "cloakroom-tests",
    "cloakroom-benches",
    "cloakroom-book",
    "cloakroom-compile-errors",
    "cloakroom-examples",
    "cloakroom-instructions",
];

/// Starts what the tests of any crate need, and knows none of them.
const SERVERS: &str = "cloakroom-servers";

fn workspace() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps();
    command.exec().expect("cargo describes this workspace")
}

fn wrong_arrows(package: &Package, floors: &BTreeMap<&str, u8>) -> Vec<String> {
    let from = package.name.as_str();
    let floor = floors[from];
    package
        .dependencies
        .iter()
        .filter_map(|dependency| {
            let to = dependency.name.as_str();
            let below = to != SERVERS && *floors.get(to)? < floor;
            // Tests of a lower floor may use the testkit and the servers, and only those.
            let kit = dependency.kind == DependencyKind::Development
                && ["cloakroom-testkit", SERVERS].contains(&to);
            (!below && !kit).then(|| format!("{from} -> {to}"))
        })
        .collect()
}

#[test]
fn every_arrow_points_down() {
    let floors = BTreeMap::from(FLOORS);
    let metadata = workspace();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if ABOVE_ALL.contains(&name) || name == SERVERS {
            assert_eq!(package.publish, Some(Vec::new()), "{name} is not published");
            continue;
        }
        assert!(
            floors.contains_key(name),
            "{name} has no floor; give it one above"
        );
        seen += 1;
        wrong.extend(wrong_arrows(package, &floors));
    }
    assert_eq!(seen, FLOORS.len(), "a crate with a floor is missing");
    assert!(wrong.is_empty(), "arrows that do not point down: {wrong:?}");
}

#[test]
fn an_arrow_that_points_up_is_seen() {
    let mut floors = BTreeMap::from(FLOORS);
    floors.insert("cloakroom-core", 9);
    let metadata = workspace();
    let memory = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == "cloakroom-memory")
        .expect("a member");
    assert_eq!(
        wrong_arrows(memory, &floors),
        ["cloakroom-memory -> cloakroom-core"]
    );
}

#[test]
fn the_servers_know_no_other_crate_and_only_tests_know_them() {
    let floors = BTreeMap::from(FLOORS);
    let metadata = workspace();
    let member = |name: &str| {
        let all = metadata.workspace_packages();
        let found = all
            .into_iter()
            .find(|package| package.name.as_str() == name);
        found.expect("a member").clone()
    };
    let servers = member(SERVERS);
    let known = servers.dependencies.iter().map(|to| to.name.as_str());
    assert_eq!(known.collect::<Vec<_>>(), [""; 0]);

    let mut axum = member("cloakroom-axum");
    let mut arrow = axum.dependencies[0].clone();
    arrow.name = SERVERS.to_owned();
    arrow.kind = DependencyKind::Development;
    axum.dependencies = vec![arrow];
    assert_eq!(wrong_arrows(&axum, &floors), [""; 0]);
    axum.dependencies[0].kind = DependencyKind::Normal;
    assert_eq!(
        wrong_arrows(&axum, &floors),
        ["cloakroom-axum -> cloakroom-servers"]
    );
}

#[test]
fn the_facade_with_one_backend_has_no_other() {
    let manifest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/cloakroom/Cargo.toml"
    );
    for (feature, own, others) in [
        (
            "memory",
            "cloakroom-map",
            &["fs4", "sled", "redb", "hkdf", "axum-core"][..],
        ),
        (
            "cached",
            "cloakroom-map",
            &["fs4", "sled", "redb", "hkdf", "axum-core"],
        ),
        (
            "file",
            "fs4",
            &["cloakroom-map", "sled", "redb", "hkdf", "axum-core"],
        ),
        (
            "sled",
            "sled",
            &[
                "cloakroom-file",
                "cloakroom-map",
                "redb",
                "hkdf",
                "axum-core",
            ],
        ),
        (
            "redb",
            "redb",
            &["fs4", "cloakroom-map", "sled", "hkdf", "axum-core"],
        ),
        (
            "cookie",
            "hmac",
            &["fs4", "cloakroom-map", "sled", "redb", "ring", "axum-core"],
        ),
        (
            "sealed",
            "hkdf",
            &["fs4", "cloakroom-map", "sled", "redb", "ring", "axum-core"],
        ),
        (
            "tower",
            "tower-layer",
            &["fs4", "cloakroom-map", "sled", "redb", "hkdf", "axum-core"],
        ),
        (
            "axum",
            "axum-core",
            &["fs4", "cloakroom-map", "sled", "redb", "hkdf", "actix-web"],
        ),
        (
            "actix",
            "actix-web",
            &["fs4", "cloakroom-map", "sled", "redb", "hkdf", "axum-core"],
        ),
    ] {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = std::process::Command::new(cargo)
            .args(["tree", "--offline", "--prefix", "none", "--edges", "normal"])
            .args(["--no-default-features", "--features", feature])
            .args(["--manifest-path", manifest])
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).expect("crate names are text");
        let names: Vec<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
        assert!(names.contains(&own), "{feature} brings {own}");
        for other in others {
            assert!(!names.contains(other), "{feature} brings {other}");
        }
    }
}
