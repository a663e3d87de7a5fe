//! What a published crate brings along: the texts of both licences, a page for crates.io, and
//! what docs.rs is to build.

use std::fs;
use std::path::Path;
use std::process::Command;

use cargo_metadata::MetadataCommand;

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

#[test]
fn every_published_package_holds_both_licences_and_a_page_and_says_what_docs_rs_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).no_deps();
    let metadata = command.exec().expect("cargo describes this workspace");
    let published = metadata.packages.iter().filter(|package| {
        // `publish = false` reads as no registry at all.
        package.publish.as_ref().is_none_or(|to| !to.is_empty())
    });
    let mut seen = 0;
    for package in published {
        let name = package.name.as_str();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["package", "--list", "--allow-dirty", "--offline"])
            .args(["--manifest-path", package.manifest_path.as_str()])
            .output()
            .expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let list = String::from_utf8(output.stdout).expect("names are text");
        let folder = package.manifest_path.parent().expect("a folder");
        for licence in LICENCES {
            let how = format!("run: ln -s ../../{licence} {folder}");
            let holds = list.lines().any(|file| file == licence);
            assert!(holds, "the package {name} holds no {licence}; {how}");
            let text = |path: &Path| fs::read_to_string(path).expect("a text");
            let (own, ours) = (folder.join(licence), root.join(licence));
            let same = text(own.as_std_path()) == text(&ours);
            assert!(same, "{own} is not the one at the root; {how}");
        }
        let has_page = list.lines().any(|file| file == "README.md");
        assert!(has_page, "{name}: readme.workspace = true");
        let docs = &package.metadata["docs"]["rs"];
        let builds_all = docs["all-features"] == true && docs["rustdoc-args"][1] == "docsrs";
        assert!(
            builds_all,
            "{name}: [package.metadata.docs.rs] as in its siblings"
        );
        let told = [&package.description, &package.repository, &package.license];
        assert!(told.iter().all(|told| told.is_some()), "{name}");
        seen += 1;
    }
    assert!(seen > 10, "the search finds {seen} published crates");
}
