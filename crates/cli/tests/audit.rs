//! `cloakroom audit` from outside: its table, its JSON, and its errors.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::path::Path;
use std::process::{Command, Output};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

/// Meets every level.
const STRICT: &str = "
store = \"memory:\"
no_store = true
[expiry]
preset = \"aal3\"
[cookie]
clear_site_data = true
";

fn audit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.arg("audit").args(arguments).current_dir(folder);
    command.env_remove("RUST_LOG").output().unwrap()
}

/// Audits a configuration of these lines.
fn audit_of(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("site.toml"), config).unwrap();
    let arguments = [arguments, &["site.toml"]].concat();
    audit(folder.path(), &arguments)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a failure by this exit code says.
fn failure(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_demos_configuration_gives_what_the_page_shows_and_exit_code_1() {
    let page = std::fs::read_to_string(format!("{DOCS}/audit.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cloakroom-demo")).unwrap();
    let config = format!("{DOCS}/demo.toml");
    for (profile, fails) in [
        ("asvs5-l3", "4 requirements of asvs5-l3 do not hold"),
        ("nist-aal3", "8 requirements of nist-aal3 do not hold"),
        ("pci-dss4", "1 requirement of pci-dss4 does not hold"),
    ] {
        let output = audit(folder.path(), &["--profile", profile, &config]);
        assert!(page.contains(&out(&output)), "{profile}: {}", out(&output));
        let said = failure(&output, 1);
        assert!(said.contains(fails), "{said}");
    }
}

#[test]
fn a_strict_configuration_passes_every_level_with_exit_code_0() {
    for profile in [
        "asvs5-l1",
        "asvs5-l2",
        "asvs5-l3",
        "nist-aal1",
        "nist-aal2",
        "nist-aal3",
        "pci-dss4",
    ] {
        let output = audit_of(STRICT, &["--profile", profile]);
        assert!(output.status.success(), "{output:?}");
        assert!(!out(&output).contains("DOES NOT"), "{}", out(&output));
    }
}

#[test]
fn each_choice_of_the_file_counts() {
    let all = "
store = \"memory:\"
site = \"shop\"
sessions_per_subject_max = 5
renew_key_after_secs = 3600
touch_share_percent = 0
[expiry]
idle_secs = 600
absolute_secs = 3600
ends_with_browser = true
[cookie]
name = \"sid\"
prefix = \"secure\"
domain = \"example.org\"
path = \"/shop\"
same_site = \"none\"
readable_by_scripts = true
chunks_max = 2
";
    let text = out(&audit_of(all, &["--profile", "asvs5-l2"]));
    for part in [
        "5 at once",
        "10 minutes unused, 1 hour at most",
        "`__Secure-sid`",
        "hosts of example.org",
        "SameSite=None",
        "Scripts of the page can read the cookie",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = out(&audit_of(all, &["--profile", "nist-aal2"]));
    for part in [
        "Its Domain is example.org",
        "Each use moves the end on",
        "no Max-Age",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let bearer = "store = \"memory:\"\nbearer = true";
    let text = out(&audit_of(bearer, &["--profile", "asvs5-l2"]));
    assert!(text.contains("There is no cookie"), "{text}");
}

#[test]
fn json_has_the_same_rows() {
    let output = audit_of("store = \"memory:\"", &["--profile", "asvs5-l3", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["profile"], "asvs5-l3");
    assert_eq!(json["failures"], 2);
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 28);
    let cleared = findings.iter().find(|finding| finding["id"] == "14.3.1");
    let cleared = cleared.unwrap();
    assert_eq!(cleared["verdict"], "fails");
    assert_eq!(cleared["mend"], "CookiePolicyBuilder::clear_site_data()");
    assert_eq!(cleared["recommended"], false);
}

#[test]
fn what_cannot_be_audited_is_told_without_a_password() {
    let profile = ["--profile", "asvs5-l1"];
    // A job must not take a store that is down for a requirement that fails.
    let down = audit_of("store = \"redis://:geheim@127.0.0.1:1/0\"", &profile);
    let said = failure(&down, 4);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains("geheim"), "{said}");
    for (config, part) in [
        ("store = \"rodis://:geheim@host\"", "no such scheme"),
        ("store = [\"redis://:geheim@host\"]", "line 1"),
        ("stroe = \"redis://:geheim@host\"", "line 1"),
        (
            "store = \"memory:\"\n\n[cookie]\nprefix = \"redis://:geheim@host\"",
            "line 4",
        ),
        (
            "store = \"memory:\"\nno_store = \"redis://:geheim@host\"",
            "line 2",
        ),
        (
            "store = \"memory:\"\n[expiry]\npreset = \"aal2\"\nidle_secs = 5",
            "leave one out",
        ),
        (
            "store = \"memory:\"\n[expiry]\nabsolute_secs = 5",
            "give idle_secs too",
        ),
        (
            "store = \"memory:\"\n[expiry]\nidle_secs = 0",
            "one millisecond",
        ),
        (
            "store = \"memory:\"\n[cookie]\ndomain = \"example.org\"",
            "no Domain",
        ),
        (
            "store = \"memory:\"\nsessions_per_subject_max = 0",
            "one at least",
        ),
    ] {
        let said = failure(&audit_of(config, &profile), 2);
        assert!(said.contains(part), "{config}: {said}");
        assert!(!said.contains("geheim"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = audit(folder.path(), &["--profile", "asvs5-l1", "none.toml"]);
    let said = failure(&missing, 2);
    assert!(said.contains("cannot read none.toml"), "{said}");
    let unknown = audit_of(STRICT, &["--profile", "asvs4"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("asvs5-l1 asvs5-l2"), "{said}");
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", folder.path().join("sessions.redb").display());
    let held = cloakroom::open(&url).await.unwrap();
    let config = format!("store = \"{url}\"");
    let said = failure(&audit_of(&config, &["--profile", "asvs5-l1"]), 5);
    assert!(said.contains("sessions.redb"), "{said}");
    assert!(said.contains("stop the site"), "{said}");
    held.close().await.unwrap();
}
