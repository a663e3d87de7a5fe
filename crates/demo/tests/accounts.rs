//! The accounts and their file.

use std::fs;

use cloakroom_demo::{AccountError, Accounts, DemoError};

const PASSWORD: &str = "correct horse";

#[tokio::test]
async fn an_account_outlives_the_process_and_its_name_is_taken() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new").join("folder");
    let accounts = Accounts::open(&folder).unwrap();
    let ada = accounts.register(" ada ", PASSWORD).await.unwrap();
    assert_eq!(ada.name, "ada");
    assert_eq!(ada.id.len(), 32);
    let grace = accounts.register("grace", PASSWORD).await.unwrap();
    assert_ne!(ada.id, grace.id);
    let taken = accounts.register("ada", "another one").await;
    assert_eq!(taken, Err(AccountError::Taken));
    drop(accounts);

    let text = fs::read_to_string(folder.join("accounts.json")).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert!(!text.contains(PASSWORD));
    let accounts = Accounts::open(&folder).unwrap();
    assert_eq!(accounts.check("ada", PASSWORD).await, Ok(Some(ada.clone())));
    assert_eq!(accounts.check("ada", "correct horsf").await, Ok(None));
    assert_eq!(accounts.check("ida", PASSWORD).await, Ok(None));
    assert_eq!(accounts.check_id(&ada.id, PASSWORD).await, Ok(true));
    assert_eq!(accounts.check_id("ada", PASSWORD).await, Ok(false));
    let taken = accounts.register("grace", "another one").await;
    assert_eq!(taken, Err(AccountError::Taken));
    assert!(!format!("{accounts:?}").contains("argon2"));
}

#[tokio::test]
async fn of_many_registrations_at_once_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(folder.path()).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let accounts = accounts.clone();
            let name = format!("user {}", number / 2);
            tokio::spawn(async move { accounts.register(&name, PASSWORD).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error, AccountError::Taken),
        }
    }
    assert_eq!(made, 4);
    let accounts = Accounts::open(folder.path()).unwrap();
    for number in 0..4 {
        let name = format!("user {number}");
        assert!(accounts.check(&name, PASSWORD).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(folder.path()).unwrap();
    accounts.register("ada", PASSWORD).await.unwrap();
    let file = folder.path().join("accounts.json");
    let whole = fs::read_to_string(&file).unwrap();
    let cut = &whole[..whole.len() - 10];
    for damaged in [
        "",
        "{}",
        cut,
        &whole.replace("\"version\": 1", "\"version\": 2"),
        &whole.replace("$argon2id$", "$"),
        &whole.replace("\"password\"", "\"pass\""),
    ] {
        fs::write(&file, damaged).unwrap();
        let error = Accounts::open(folder.path()).unwrap_err();
        assert!(matches!(error, DemoError::Accounts { .. }));
        let text = error.to_string();
        assert!(
            text.contains("accounts.json") && !text.contains('\n'),
            "{text}"
        );
        assert!(!text.contains("m=19456"), "{text}");
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Accounts::open(&file.join("inside")).unwrap_err();
    assert!(matches!(error, DemoError::Folder { .. }), "{error}");
    assert!(error.to_string().contains("inside"));
}

#[cfg(unix)]
#[tokio::test]
async fn folder_and_file_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("folder");
    let accounts = Accounts::open(&folder).unwrap();
    let leftover = folder.join("accounts.json.new");
    fs::write(&leftover, "half").unwrap();
    accounts.register("ada", PASSWORD).await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("accounts.json")), 0o600);
    assert!(!leftover.exists());
}
