//! `--help`, `completions`, and what every subcommand has in common.

use crate::support::{cloakroom, text};

/// Every subcommand but `help`, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = text(cloakroom(&["--help"]).output().unwrap());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_subcommand_has_a_page_with_an_example() {
    let names = subcommands();
    assert!(names.len() >= 6, "{names:?}");
    for name in &names {
        let help = text(cloakroom(&[name, "--help"]).output().unwrap());
        assert!(help.contains("Example"), "{name}: {help}");
        assert!(
            help.contains(&format!("cloakroom {name}")),
            "{name}: {help}"
        );
    }
}

#[test]
fn the_first_page_says_what_the_exit_codes_mean_and_how_a_store_is_named() {
    let help = text(cloakroom(&["--help"]).output().unwrap());
    for part in [
        "Exit codes:",
        "  5  ",
        "env:NAME",
        "@FILE",
        "CLOAKROOM_STORE",
    ] {
        assert!(help.contains(part), "{help}");
    }
    let widest = help.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}: {help}");
}

#[test]
fn a_shell_is_told_of_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(cloakroom(&["completions", shell]).output().unwrap());
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
    }
}
