//! The book in `docs`: its pages, links and code, and that mdBook builds it.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a page of the book names what lies outside of `docs`.
const REPOSITORY: &str = "https://github.com/cloakroom-rs/cloakroom/";

/// Pages that are tables to look things up in, and the first one of all.
const WITHOUT_TROUBLE: [&str; 3] = ["SUMMARY.md", "audit.md", "glossary.md"];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of a folder by name, `SUMMARY.md` too.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    assert!(names.len() > 30, "{names:?}");
    let texts = names
        .iter()
        .map(|name| read(&root().join("docs").join(name)));
    let texts: Vec<_> = texts.collect();
    names.into_iter().zip(texts).collect()
}

/// The lines of a page, each with the info string of the code block that it is in.
fn lines(page: &str) -> Vec<(Option<&str>, &str)> {
    let mut block = None;
    let mut found = Vec::new();
    for line in page.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(info) if block.is_none() => block = Some(info),
            Some(_) => block = None,
            None => found.push((block, line)),
        }
    }
    assert_eq!(block, None, "a code block has no end");
    found
}

/// The prose of a page, without code.
fn prose(page: &str) -> String {
    let lines = lines(page).into_iter().filter(|(block, _)| block.is_none());
    let text: Vec<_> = lines.map(|(_, line)| line).collect();
    let text = text.join("\n");
    let parts = text.split('`').enumerate();
    let kept = parts.map(|(at, part)| if at % 2 == 0 { part } else { "code" });
    kept.collect()
}

fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let inline = prose.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split_once(')'));
    let named = prose.lines().filter(|line| line.starts_with('['));
    let named = named.filter_map(|line| line.split_once("]: "));
    let targets = inline.map(|(target, _)| target);
    let targets = targets.chain(named.map(|(_, target)| target));
    targets
        .map(|target| target.replace(char::is_whitespace, ""))
        .collect()
}

/// The anchors of a page: those of its headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let lines = lines(page).into_iter();
    let headings = lines.filter(|(block, line)| block.is_none() && line.starts_with('#'));
    let slug = |(_, line): (_, &str)| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// What is wrong with a link of the page at `from`.
fn broken(from: &Path, link: &str) -> Option<String> {
    let in_book = from.parent() == Some(&root().join("docs"));
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let ours = ["blob/main/", "tree/main/"];
    let ours = ours
        .iter()
        .find_map(|kind| path.strip_prefix(REPOSITORY)?.strip_prefix(kind));
    let to = match ours {
        Some(path) => root().join(path),
        None if path.contains("://") => return None,
        None if path.is_empty() => from.to_owned(),
        None => from.parent().unwrap().join(path),
    };
    let Ok(to) = to.canonicalize() else {
        return Some(format!("there is no {}", to.display()));
    };
    let leaves = in_book && !to.starts_with(root().join("docs"));
    if leaves && ours.is_none() {
        return Some(format!(
            "a page of the book names it {REPOSITORY}blob/main/…"
        ));
    }
    if !in_book && ours.is_some() && from.extension().is_some_and(|ending| ending == "md") {
        return Some("it lies in this repository: name it by its path".to_owned());
    }
    let is_missing = !anchor.is_empty() && !anchors(&read(&to)).contains(anchor);
    is_missing.then(|| format!("{} has no heading of it", to.display()))
}

/// Every Markdown file of the repository but those of tools.
fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !["target", "node_modules", "corpus"].contains(&&*name)
            && !name.starts_with('.')
        {
            markdown(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut files = Vec::new();
    markdown(&root(), &mut files);
    assert!(files.len() > 40, "{}", files.len());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for from in files {
        for link in links(&read(&from)) {
            seen += 1;
            if let Some(why) = broken(&from, &link) {
                wrong.push(format!("{}: {link}: {why}", from.display()));
            }
        }
    }
    assert!(seen > 200, "the search finds {seen} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = root().join("docs/keys.md");
    for link in ["nowhere.md", "#nowhere", "redis.md#nowhere", "../README.md"] {
        assert!(broken(&page, link).is_some(), "{link}");
    }
    for link in [
        "redis.md",
        "redis.md#when-it-goes-wrong",
        "https://example.org/",
    ] {
        assert_eq!(broken(&page, link), None);
    }
    assert_eq!(
        links("[a](b.md#c) `[d](e)`\n```\n[f](g)\n```\n[h]: i"),
        ["b.md#c", "i"]
    );
}

#[test]
fn the_crates_pages_lead_to_pages_of_the_book() {
    let mut seen = 0;
    let crates = fs::read_dir(root().join("crates")).unwrap();
    for krate in crates {
        let Ok(lib) = fs::read_to_string(krate.unwrap().path().join("src/lib.rs")) else {
            continue;
        };
        for rest in lib.split(&format!("{REPOSITORY}blob/main/")).skip(1) {
            let path = rest.split([')', '#', '>', '\n', ' ']).next().unwrap();
            assert!(root().join(path).exists(), "{path}");
            seen += usize::from(path.starts_with("docs/"));
        }
    }
    assert!(seen > 10, "the search finds {seen}");
}

#[test]
fn every_page_is_in_the_summary_once() {
    let pages = pages();
    let summary = &pages
        .iter()
        .find(|(name, _)| name == "SUMMARY.md")
        .unwrap()
        .1;
    let mut listed = links(summary);
    listed.sort();
    let names = pages.iter().map(|(name, _)| name.clone());
    let names: Vec<_> = names.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, names);
}

#[test]
fn every_page_ends_with_what_goes_wrong() {
    for (name, page) in pages() {
        if WITHOUT_TROUBLE.contains(&name.as_str()) {
            continue;
        }
        let lines = lines(&page)
            .into_iter()
            .filter(|(block, _)| block.is_none());
        let mut headings = lines
            .map(|(_, line)| line)
            .filter(|line| line.starts_with('#'));
        assert!(
            headings.next().is_some_and(|first| first.starts_with("# ")),
            "{name}"
        );
        assert_eq!(
            headings.next_back(),
            Some("## When it goes wrong"),
            "{name}"
        );
    }
}

#[test]
fn every_block_of_code_is_compiled_or_run() {
    let compiled = read(&root().join("tests/book/src/lib.rs"));
    // Python and SQL are run by the tests of format.md and writing-a-store.md.
    let known = ["rust", "rust,no_run", "toml", "sh", "text", "python", "js"];
    for (name, page) in pages() {
        for (block, _) in lines(&page) {
            let Some(block) = block else { continue };
            assert!(known.contains(&block), "{name}: a block of `{block}`");
            let is_there = compiled.contains(&format!("\"{name}\""));
            assert!(
                is_there || !block.starts_with("rust"),
                "{name} is not in tests/book"
            );
        }
    }
}

/// The commands in the blocks for a shell, a line each. Those of `cloakroom` are read by a test
/// of that crate.
fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, page) in pages() {
        for (block, line) in lines(&page) {
            let command = line.split('#').next().unwrap().trim();
            if block == Some("sh") && !command.is_empty() && !command.starts_with("cloakroom ") {
                found.push((name.clone(), command.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_command_for_a_shell_can_be_given() {
    let recipes = read(&root().join("justfile"));
    for (name, command) in commands() {
        let words: Vec<_> = command.split_whitespace().collect();
        let is_there = match words[..] {
            ["just", recipe] => recipes.contains(&format!("\n{recipe} *args:")),
            ["cd", folder, "&&", "cargo", "run", ..] => root().join(folder).is_dir(),
            ["cargo", "install", "--path", path, "--locked"] => root().join(path).is_dir(),
            // The projects that these begin are built by a test of the pages.
            ["git", "clone", url] => url == REPOSITORY.trim_end_matches('/'),
            ["cargo", "new", "shop", "&&", "cd", "shop"] => true,
            ["export", setting] => setting.starts_with("CLOAKROOM_STORE="),
            ["(umask", "077", ..] => makes_a_key_file(&command),
            _ => false,
        };
        assert!(is_there, "{name}: {command}");
    }
}

fn makes_a_key_file(command: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    let done = shell
        .args(["-c", command])
        .current_dir(folder.path())
        .status();
    let ring = cloakroom::cookie::KeyRing::from_file(folder.path().join("session.keys"));
    done.unwrap().success() && ring.is_ok()
}

#[test]
fn mdbook_builds_the_book_and_its_links_hold() {
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new("mdbook")
        .args(["build", "--dest-dir"])
        .args([folder.path(), &root().join("docs")])
        .output();
    let Ok(built) = built else {
        let ci = std::env::var("CI").is_ok_and(|ci| ci != "false" && !ci.is_empty());
        assert!(!ci, "mdbook is not installed");
        println!("SKIPPED: mdbook is not installed: cargo install mdbook");
        return;
    };
    let log = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !log.contains("WARN"), "{log}");
    for (name, _) in pages() {
        let name = name.replace(".md", ".html");
        if name == "SUMMARY.html" {
            continue;
        }
        let html = read(&folder.path().join(&name));
        for attribute in ["href=\"", "src=\""] {
            for rest in html.split(attribute).skip(1) {
                let link = rest.split('"').next().unwrap();
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                if path.contains(':') {
                    continue;
                }
                let to = if path.is_empty() { &*name } else { path };
                let to = folder.path().join(to);
                assert!(to.is_file(), "{name}: {link}");
                if to.extension().is_some_and(|ending| ending == "html") && !anchor.is_empty() {
                    let is_there = read(&to).contains(&format!("id=\"{anchor}\""));
                    assert!(is_there, "{name}: {link}");
                }
            }
        }
    }
}
