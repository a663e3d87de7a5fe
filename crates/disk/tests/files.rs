//! Private folders and files, and what is left where an operation fails.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cloakroom_disk::{
    StagedFile, make_private_file, make_private_folder, remove_file, replace_file,
    reread_from_disk, sync_folder,
};

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into())
        .collect();
    names.sort();
    names
}

#[cfg(unix)]
mod modes {
    use std::os::unix::fs::PermissionsExt as _;

    use cloakroom_disk::{
        check_private_file, check_private_folder, make_private_folder_unsynced, private_options,
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b/c");
        make_private_folder(&inner).unwrap();
        let refused = make_private_folder_unsynced(&inner.join("d/e")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::NotFound);
        for made in ["d", "d/e", "d"] {
            make_private_folder_unsynced(&inner.join(made)).unwrap();
        }
        for made in ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"] {
            assert_eq!(mode(&folder.path().join(made)), 0o700, "{made}");
        }
        let path = folder.path().join("f/file");
        assert!(make_private_file(&path).unwrap());
        assert_eq!(mode(&folder.path().join("f")), 0o700);
        assert_eq!(mode(&path), 0o600);
        let replaced = folder.path().join("replaced");
        replace_file(&replaced, b"new").unwrap();
        assert_eq!(mode(&replaced), 0o600);
        let opened = inner.join("opened");
        let opened_by = private_options().write(true).create(true).open(&opened);
        drop(opened_by.unwrap());
        assert_eq!(mode(&opened), 0o600);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_named_with_the_command_that_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("it's here");
        make_private_folder(&folder).unwrap();
        check_private_folder(&folder).unwrap();
        for open in [0o701, 0o711, 0o754, 0o755, 0o777] {
            set_mode(&folder, open);
            // Making what is there already changes nothing about it.
            make_private_folder(&folder).unwrap();
            let error = check_private_folder(&folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let text = error.to_string();
            assert!(text.contains(folder.to_str().unwrap()), "{text}");
            assert!(text.contains(&format!("mode {open:o}")), "{text}");
            let (_, command) = text.split_once("run: ").unwrap();
            let status = std::process::Command::new("sh")
                .args(["-c", command])
                .status();
            assert!(status.unwrap().success(), "{command}");
            check_private_folder(&folder).unwrap();
        }
        // A container platform gives the group of a volume its rights, and the setgid bit.
        set_mode(&folder, 0o2770);
        check_private_folder(&folder).unwrap();
    }

    #[test]
    fn a_file_that_others_may_use_is_no_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        make_private_file(&path).unwrap();
        for open in [0o666, 0o604, 0o601] {
            set_mode(&path, open);
            let error = make_private_file(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let file = fs::File::open(&path).unwrap();
            let error = check_private_file(&file, &path).unwrap_err();
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
        set_mode(&path, 0o660);
        make_private_file(&path).unwrap();
    }

    /// Only root can give a file away, so this looks only where the tests run as root.
    #[test]
    fn what_another_user_owns_is_refused_through_a_link_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, link) = (folder.path().join("theirs"), folder.path().join("link"));
        make_private_folder(&theirs).unwrap();
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        check_private_folder(&link).unwrap();
        if std::os::unix::fs::chown(&theirs, Some(12_345), None).is_err() {
            eprintln!("SKIPPED: this user cannot give a folder to another");
            return;
        }
        for path in [&theirs, &link] {
            let error = check_private_folder(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("its owner is 12345"), "{error}");
        }
    }

    #[test]
    fn a_leftover_that_others_could_read_gives_nothing_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let left = folder.path().join("file.new");
        fs::write(&left, "left by a crash").unwrap();
        set_mode(&left, 0o666);
        replace_file(&path, b"new").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), [PathBuf::from("file")]);
    }
}

#[test]
fn an_error_names_the_path_that_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = make_private_folder(&file.join("a/b")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()), "{text}");
    let missing = folder.path().join("missing");
    let error = sync_folder(&missing).map_err(|error| error.to_string());
    #[cfg(unix)]
    assert!(error.unwrap_err().contains(missing.to_str().unwrap()));
    #[cfg(not(unix))]
    error.unwrap();
}

#[test]
fn a_file_that_is_there_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(make_private_file(&path).unwrap());
    fs::write(&path, "content").unwrap();
    assert!(!make_private_file(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert!(remove_file(&path).unwrap());
    assert!(!remove_file(&path).unwrap());
}

#[test]
fn a_replacement_that_fails_leaves_the_old_content_and_no_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace_file(&path, b"old").unwrap();
    replace_file(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    // A folder cannot be replaced by a file.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    replace_file(&taken, b"new").unwrap_err();
    assert_eq!(names(folder.path()), ["file", "taken"].map(PathBuf::from));
}

#[test]
fn a_staged_file_is_linked_only_to_a_name_that_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let [staged, path] = ["staged", "path"].map(|name| folder.path().join(name));
    let stage = |content: &[u8]| {
        let mut file = StagedFile::create(staged.clone()).unwrap();
        file.write(content).unwrap();
        file.sync().unwrap();
        file
    };
    stage(b"first").link_to(&path).unwrap();
    let error = stage(b"second").link_to(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    stage(b"third").rename_to(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
    drop(stage(b"fourth"));
    assert_eq!(names(folder.path()), [PathBuf::from("path")]);
}

#[cfg(unix)]
#[test]
fn a_file_has_left_where_its_path_leads_elsewhere_or_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let [path, away] = ["file", "away"].map(|name| folder.path().join(name));
    fs::write(&path, "first").unwrap();
    let identity = cloakroom_disk::FileIdentity::at(&path).unwrap();
    assert!(!identity.has_left(&path));
    fs::rename(&path, &away).unwrap();
    assert!(identity.has_left(&path));
    fs::write(&path, "another").unwrap();
    assert!(identity.has_left(&path));
    fs::rename(&away, &path).unwrap();
    assert!(!identity.has_left(&path));
}

#[test]
fn a_file_that_is_reread_has_its_content_and_one_that_is_gone_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let gone = reread_from_disk(&path).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    let content = vec![b'a'; 100_000];
    fs::write(&path, &content).unwrap();
    reread_from_disk(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
}
