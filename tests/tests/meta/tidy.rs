//! Style as a test: what a reader should never meet.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files_ending(endings: &[&str], folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of this project") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files_ending(endings, &path, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn with_text(files: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    assert!(files.len() > 40, "the search finds the sources");
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            (path, text)
        })
        .collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in ["benches", "crates", "examples", "fuzz", "tests"] {
        files_ending(&[".rs"], &root().join(folder), &mut files);
    }
    with_text(files)
}

#[test]
fn no_leftover_stands_in_the_sources() {
    // Put together here, so that this file does not find itself.
    let words = ["todo!", "unimplemented!", "dbg!", "FIX ME", "XX X"].map(|word| {
        let word = word.replace(' ', "");
        if word.ends_with('!') {
            format!("{word}(")
        } else {
            word
        }
    });
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for word in &words {
                assert!(
                    !line.contains(word),
                    "{}:{}: {word}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

/// Where a retired name has another meaning, or is about to go.
const SPARED: [(&str, &[&str]); 1] = [(
    // A Redis cluster has slots.
    "slot",
    &[
        "crates/redis/",
        "tests/servers/",
        "tests/tests/meta/tidy.rs",
    ],
)];

/// The third column of the glossary's tables, where it is written as code.
fn retired_names(glossary: &str) -> Vec<&str> {
    let rows = glossary.lines().filter_map(|line| {
        let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
        row.split(" | ").nth(2)
    });
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether `line` holds `name`, and no longer name around it.
fn holds(line: &str, name: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(name).any(|(at, _)| {
        let after = &line[at + name.len()..];
        !line[..at].ends_with(is_name) && !after.starts_with(is_name)
    })
}

#[test]
fn no_retired_name_comes_back() {
    let glossary = fs::read_to_string(root().join("docs/glossary.md")).expect("the glossary");
    let names = retired_names(&glossary);
    assert!(names.len() > 20, "{names:?}");
    let mut files = Vec::new();
    files_ending(
        &[".rs", ".md", ".sql", ".lua", ".toml"],
        &root(),
        &mut files,
    );
    let mut back = Vec::new();
    for (path, text) in with_text(files) {
        let path = path.strip_prefix(root()).expect("below the root");
        let path = path.to_string_lossy().replace('\\', "/");
        let is_below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        if ["docs/glossary.md", "CHANGELOG.md"].contains(&path.as_str()) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            for name in names.iter().filter(|name| holds(line, name)) {
                let spared = SPARED.iter().find(|(spared, _)| spared == name);
                if !spared.is_some_and(|(_, folders)| is_below(folders)) {
                    back.push(format!("{path}:{number}: {name}"));
                }
            }
        }
    }
    assert!(
        back.is_empty(),
        "docs/glossary.md has another word for:\n{}",
        back.join("\n")
    );
}

#[test]
fn a_retired_name_is_seen() {
    let glossary = "| say | for | not |\n| `b` | `c \\| d` | `e`, f, `mod g` (`h`) |\nthe `i`";
    assert_eq!(retired_names(glossary), ["e", "mod g", "h"]);
    for line in ["slot", "(slot)", "slots slot"] {
        assert!(holds(line, "slot"), "{line}");
    }
    for line in ["slots", "slot_map", "a_slot"] {
        assert!(!holds(line, "slot"), "{line}");
    }
}

/// How each comparison of a secret is written. How long it takes cannot be tested.
const COMPARISONS: [(&str, &str, &str); 5] = [
    (
        "crates/core/src/engine/key.rs",
        "impl PartialEq for SessionKey {",
        "self.bytes.ct_eq(",
    ),
    (
        "crates/core/src/engine/token.rs",
        "impl PartialEq for Token {",
        "self.expose().as_bytes().ct_eq(",
    ),
    (
        "crates/cookie/src/frame.rs",
        "Algorithm::Signed(keyed) => key",
        ".verify_slice(tag)",
    ),
    (
        "crates/admin/src/guard.rs",
        "Ok(!token.is_empty()",
        "token.as_bytes().ct_eq(",
    ),
    (
        "crates/demo/src/csrf.rs",
        "Ok(!token.is_empty()",
        "token.as_bytes().ct_eq(",
    ),
];

#[test]
fn secrets_are_compared_in_constant_time() {
    for (path, begins, compares) in COMPARISONS {
        let text = fs::read_to_string(root().join(path)).expect("a source");
        let (_, rest) = text.split_once(begins).expect(path);
        let compared = rest.lines().take(5).any(|line| line.contains(compares));
        assert!(
            compared,
            "{path}: `{begins}` is not followed by `{compares}`"
        );
    }
    // These are never compared, so nothing may give them a comparison.
    for (path, text) in sources() {
        for secret in ["Secret", "KeyRing", "ServerKey"] {
            for line in [
                format!("impl PartialEq for {secret} "),
                format!("impl PartialEq for {secret}<"),
            ] {
                assert!(!text.contains(&line), "{}: {line}", path.display());
            }
        }
        let mut derives = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[derive(") {
                derives = line.contains("PartialEq");
            } else if line.contains("struct ") {
                let secret = ["SessionKey", "Token", "Secret", "KeyRing", "ServerKey"]
                    .iter()
                    .any(|name| holds(line, name) && line.contains(&format!("struct {name}")));
                assert!(!(derives && secret), "{}: {line}", path.display());
                derives = false;
            }
        }
    }
}

#[test]
fn a_file_that_passes_700_lines_is_split() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_source_file_belongs_to_a_module_or_target() {
    for (path, _) in sources() {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folder = path.parent().expect("a file lies in a folder");
        let folder_name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_target = ["lib", "main", "mod", "build"].contains(&name.as_str())
            || ["tests", "benches", "examples", "bin", "ui", "fuzz_targets"]
                .contains(&folder_name.as_str());
        if is_target {
            continue;
        }
        let declared = format!("mod {name};");
        let parents = [
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.with_extension("rs"),
        ];
        let known = parents
            .iter()
            .filter_map(|parent| fs::read_to_string(parent).ok())
            .any(|text| text.contains(&declared));
        assert!(known, "{} is in no module", path.display());
    }
}

#[test]
fn every_library_takes_the_workspaces_lints_and_begins_with_an_example() {
    for entry in fs::read_dir(root().join("crates")).expect("the crates") {
        let folder = entry.expect("an entry").path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{}",
            folder.display()
        );
        let Ok(lib) = fs::read_to_string(folder.join("src/lib.rs")) else {
            continue;
        };
        let head: String = lib
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            head.contains("```"),
            "{} begins with no example",
            folder.display()
        );
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn the_readmes_test_command_is_the_one_that_ci_calls() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the readme");
    let ci = fs::read_to_string(root().join(".ci/run")).expect("the ci script");
    let command = "cargo test --workspace --all-features";
    assert!(readme.contains(command) && ci.contains(command));
}

#[test]
fn the_readmes_figures_of_speed_are_those_of_its_page() {
    let read = |file: &str| fs::read_to_string(root().join(file)).expect("a page");
    let (readme, page) = (read("README.md"), read("docs/speed.md"));
    let (_, block) = readme.split_once("<!-- speed:readme -->").expect("a mark");
    let (block, _) = block.split_once("<!-- /speed:readme -->").expect("its end");
    let lines: Vec<&str> = block.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 4, "`just compare` writes them: {lines:?}");
    for line in lines {
        assert!(
            page.lines().any(|of_page| of_page == line),
            "docs/speed.md lacks this line of the README; run `just compare report`: {line}"
        );
    }
}
