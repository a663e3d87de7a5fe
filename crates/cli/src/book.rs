//! The commands that the book and the README name are ones of this build.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::Command;

/// The words of a command, to where a comment, a pipe or a redirection begins.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        let mut pieces = part.split(' ');
        words.last_mut().unwrap().push_str(pieces.next().unwrap());
        words.extend(pieces.map(str::to_owned));
    }
    let ends = |word: &String| ["#", "|", ">"].contains(&word.as_str());
    let words = words.into_iter().take_while(|word| !ends(word));
    words.filter(|word| !word.is_empty()).collect()
}

/// Every line of code, in a block or within a line, that calls the command.
fn calls(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines();
    let inline = page.split('`').filter(|code| !code.contains('\n'));
    // `cloakroom = { … }` stands in a Cargo.toml.
    let calls_it = |code: &&str| code.starts_with("cloakroom ") && !code.starts_with("cloakroom =");
    lines.chain(inline).filter(calls_it).map(words).collect()
}

#[test]
fn each_command_of_the_book_is_one_of_this_build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let others = [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
    ];
    let mut seen = 0;
    for page in pages.chain(others.map(|name| root.join(name))) {
        for call in calls(&fs::read_to_string(&page).unwrap()) {
            // Names for what a reader puts in their place.
            let stands_for = ["SUBCOMMAND", "FROM", "URL"];
            if call.iter().any(|word| stands_for.contains(&word.as_str())) {
                continue;
            }
            seen += 1;
            if let Err(error) = Command::try_parse_from(&call) {
                // A file of another machine.
                let is_file = call.iter().any(|word| word.starts_with('@'));
                let is_meant = match error.kind() {
                    ErrorKind::ValueValidation => is_file,
                    ErrorKind::DisplayHelp => true,
                    // A sentence that names the subcommand alone.
                    ErrorKind::MissingRequiredArgument => call.len() == 2,
                    _ => false,
                };
                assert!(is_meant, "{}: {call:?}: {error}", page.display());
            }
        }
    }
    assert!(seen > 20, "the search finds {seen} commands");
}

#[test]
fn a_command_is_read_as_a_shell_reads_it() {
    let page = "```sh\ncloakroom revoke 0a --note 'lost phone'  # one\n```\nor `cloakroom sweep`";
    let read = [
        &["cloakroom", "revoke", "0a", "--note", "lost phone"][..],
        &["cloakroom", "sweep"],
    ];
    assert_eq!(calls(page), read);
    assert!(Command::try_parse_from(["cloakroom", "sweep", "--no-such"]).is_err());
}
