//! The vault in a folder: what it keeps comes back, and what was changed, cut, or meant for others does not.
//! Absent on purpose: object stores elsewhere.
#![allow(clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};

use age::x25519::Identity;
use jiff::Timestamp;
use pforte::names::{BackupName, KonnektorId};
use pforte::vault::{About, Vault, VaultError, generate_identity, read_identities};
use zeroize::Zeroizing;

fn id() -> KonnektorId {
    KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() }
}

fn about(time: &str) -> About {
    let taken: Timestamp = time.parse().unwrap();
    About { product: "KoCoBox MED+".into(), firmware: "5.5.16".into(), by: "firm-jane.doe".into(), taken }
}

fn vault(dir: &Path, identity: &Identity) -> Vault {
    let identity: Identity =
        age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).parse().unwrap();
    Vault::open("file:vault", dir, vec![identity.to_public()], vec![identity]).unwrap()
}

fn content() -> Zeroizing<Vec<u8>> {
    Zeroizing::new((0..300_000_u32).flat_map(u32::to_le_bytes).collect())
}

fn sealed_file(dir: &Path, name: &BackupName) -> PathBuf {
    dir.join("vault/praxis-mueller/main").join(format!("{name}.age"))
}

#[tokio::test]
async fn what_was_kept_comes_back_and_is_listed_without_being_opened() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path(), &Identity::generate());
    let name = vault.put(&id(), &about("2026-11-21T16:04:59Z"), &[], content(), None).await.unwrap();
    assert_eq!(name.as_str(), "2026-11-21-16-04.json");
    assert_eq!(*vault.get(&id(), &name).await.unwrap(), *content());
    let kept = vault.list(&id()).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].bytes, kept[0].about.clone()), (1_200_000, Some(about("2026-11-21T16:04:59Z"))));
    let other = KonnektorId { site: "praxis-meier".parse().unwrap(), ..id() };
    assert_eq!(vault.list(&other).await.unwrap(), []);
    assert_eq!(vault.get(&other, &name).await.unwrap_err(), VaultError::NotFound);
}

#[tokio::test]
async fn nothing_lies_there_in_the_clear_and_others_cannot_look_in() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path(), &Identity::generate());
    let name = vault
        .put(&id(), &about("2026-11-21T16:04:00Z"), &[], Zeroizing::new(b"GEHEIM".repeat(9)), None)
        .await
        .unwrap();
    let folder = sealed_file(dir.path(), &name).parent().unwrap().to_owned();
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "a backup, its sidecar, no temporary file");
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(6).any(|six| six == b"GEHEIM"));
    }
    let mode = std::fs::metadata(dir.path().join("vault")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn the_sites_key_opens_it_too_and_a_strangers_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, site, stranger) = (Identity::generate(), Identity::generate(), Identity::generate());
    let also = [site.to_public()];
    let name = vault(dir.path(), &ours)
        .put(&id(), &about("2026-11-21T16:04:00Z"), &also, content(), None)
        .await
        .unwrap();
    assert!(vault(dir.path(), &ours).get(&id(), &name).await.is_ok());
    assert!(vault(dir.path(), &site).get(&id(), &name).await.is_ok());
    assert_eq!(vault(dir.path(), &stranger).get(&id(), &name).await.unwrap_err(), VaultError::WrongIdentity);
}

#[tokio::test]
async fn a_file_that_was_cut_or_changed_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path(), &Identity::generate());
    let name = vault.put(&id(), &about("2026-11-21T16:04:00Z"), &[], content(), None).await.unwrap();
    let file = sealed_file(dir.path(), &name);
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 1, 50, 200, 70_000, whole.len() - 16, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        assert_eq!(vault.get(&id(), &name).await.unwrap_err(), VaultError::Damaged, "cut to {length}");
    }
    for at in [0, 30, 200, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&file, changed).unwrap();
        let error = vault.get(&id(), &name).await.unwrap_err();
        assert!(matches!(error, VaultError::Damaged | VaultError::WrongIdentity), "{error:?} at {at}");
    }
    std::fs::write(&file, [whole.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(vault.get(&id(), &name).await.unwrap_err(), VaultError::Damaged);
    std::fs::write(&file, whole).unwrap();
    assert!(vault.get(&id(), &name).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_in_one_minute_get_twelve_names_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path(), &Identity::generate());
    let puts = (0..12_u8).map(|n| {
        let vault = vault.clone();
        tokio::spawn(async move {
            let about = about(&format!("2026-11-21T16:04:{n:02}Z"));
            (n, vault.put(&id(), &about, &[], Zeroizing::new(vec![n; 1000]), None).await.unwrap())
        })
    });
    let mut names = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        let (n, name) = put.await.unwrap();
        assert_eq!(*vault.get(&id(), &name).await.unwrap(), vec![n; 1000]);
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 12);
    let listed: Vec<String> =
        vault.list(&id()).await.unwrap().into_iter().map(|kept| kept.name.to_string()).collect();
    assert_eq!(listed[..2], ["2026-11-21-16-04.json", "2026-11-21-16-04-2.json"]);
    assert_eq!(listed[11], "2026-11-21-16-04-12.json");
}

#[tokio::test]
async fn a_missing_or_wrong_sidecar_hides_no_backup_and_foreign_files_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let vault = vault(dir.path(), &Identity::generate());
    let name = vault.put(&id(), &about("2026-11-21T16:04:00Z"), &[], content(), None).await.unwrap();
    let sidecar = sealed_file(dir.path(), &name).with_extension("about");
    for text in [Some("{"), Some(&*"x".repeat(20_000)), None] {
        match text {
            Some(text) => std::fs::write(&sidecar, text).unwrap(),
            None => std::fs::remove_file(&sidecar).unwrap(),
        }
        std::fs::write(sidecar.with_file_name("notes.txt"), "").unwrap();
        let kept = vault.list(&id()).await.unwrap();
        assert_eq!((kept.len(), kept[0].about.is_none()), (1, true));
    }
    assert!(vault.get(&id(), &name).await.is_ok());
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("vault");
    std::fs::create_dir(&small).unwrap();
    let mounted =
        rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=1m"));
    if let Err(error) = mounted {
        println!("not run: a small disk cannot be mounted here ({error})");
        return;
    }
    let vault = vault(dir.path(), &Identity::generate());
    let first =
        vault.put(&id(), &about("2026-11-21T16:04:00Z"), &[], Zeroizing::new(vec![1; 600_000]), None).await;
    let second =
        vault.put(&id(), &about("2026-11-21T16:05:00Z"), &[], Zeroizing::new(vec![2; 600_000]), None).await;
    let names: Vec<String> = std::fs::read_dir(small.join("praxis-mueller/main"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let kept = match &first {
        Ok(name) => vault.get(&id(), name).await.map(|content| content.len()),
        Err(error) => Err(error.clone()),
    };
    drop(vault);
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(kept, Ok(600_000));
    assert_eq!(second, Err(VaultError::Full));
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn an_identity_file_is_its_owners_alone_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let recipient = generate_identity(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = read_identities(&path).unwrap();
    assert_eq!(read[0].to_public().to_string(), recipient.to_string());
    assert!(matches!(generate_identity(&path), Err(VaultError::BadIdentityFile(_))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read_identities(&path), Err(VaultError::BadIdentityFile(_))));
    std::fs::write(&path, "# nothing\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(read_identities(&path), Err(VaultError::BadIdentityFile(_))));
}

#[test]
fn a_vault_elsewhere_or_without_a_key_is_refused_and_a_folder_taken() {
    let dir = tempfile::tempdir().unwrap();
    let key = || vec![Identity::generate().to_public()];
    for url in ["s3://bucket", "vault", "file:", "file://", "file:a?b", "file:%2e"] {
        assert_eq!(Vault::open(url, dir.path(), key(), vec![]).err(), Some(VaultError::BadUrl), "{url}");
    }
    assert_eq!(Vault::open("file:v", dir.path(), vec![], vec![]).err(), Some(VaultError::NoRecipients));
    let absolute = format!("file://{}", dir.path().join("w").display());
    assert!(Vault::open(&absolute, Path::new("/nonexistent"), key(), vec![]).is_ok());
}

#[tokio::test]
async fn a_wanted_name_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Identity::generate();
    let vault = vault(dir.path(), &ours);
    let wanted = "2026-01-01-00-00.json".parse().unwrap();
    let about = about("2026-11-21T16:04:00Z");
    assert_eq!(vault.put(&id(), &about, &[], content(), Some(&wanted)).await.unwrap(), wanted);
    let again = vault.put(&id(), &about, &[], content(), Some(&wanted)).await;
    assert_eq!(again, Err(pforte::vault::VaultError::Exists));
    assert_eq!(vault.list(&id()).await.unwrap().len(), 1);
}

#[test]
fn what_a_killed_process_left_half_written_is_swept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("praxis-mueller/main");
    std::fs::create_dir_all(&folder).unwrap();
    let names = [
        "2026-11-21-16-04.json.age",
        "2026-11-21-16-04.json.age#1",
        "2026-11-21-16-04.json.about#12",
        "notes#1",
        "x.age#",
    ];
    for name in names {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    pforte::vault::sweep(dir.path()).unwrap();
    pforte::vault::sweep(&dir.path().join("not there")).unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["2026-11-21-16-04.json.age", "notes#1", "x.age#"]);
}
