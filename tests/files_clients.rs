//! Kept backups as files, in the hands of real clients: sftp, scp, psftp, paramiko, sshfs.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::files;

use std::process::Stdio;
use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use files::{RULES, asked, holding, listed, openssh, settled, sftp, with_backup, with_rules};
use serde_json::Value;
use sha2::Digest as _;
use tokio::process::Command;

const EDITED: &str = "{\"edited\": \"Praxis Dr. Müller\", \"marker\": \"Kein-Klartext-Auf-Der-Platte\"}\n";

fn read(door: &Door, name: &str) -> String {
    std::fs::read_to_string(door.path().join(name)).unwrap()
}

fn sha256(text: &str) -> String {
    sha2::Sha256::digest(text).iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The `file` lines so far: change, path, bytes, hash.
fn moved(door: &Door) -> Vec<(String, String, u64, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines = door.events("file");
    let all = lines.iter().map(|line| {
        (text(line, "change"), text(line, "path"), line["bytes"].as_u64().unwrap_or(0), text(line, "sha256"))
    });
    all.collect()
}

fn is_done(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_lists_fetches_hands_in_renames_and_removes_and_all_of_it_is_on_record() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    std::fs::write(door.path().join("edited.json"), EDITED).unwrap();
    let name = backup.rsplit('/').next().unwrap();

    let all = sftp(
        &door,
        &[
            "ls /",
            "ls /praxis-mueller",
            "ls -l /praxis-mueller/main",
            &format!("get {backup} fetched.json"),
            "put edited.json /praxis-mueller/incoming/",
            "ls /praxis-mueller/incoming",
            "rename /praxis-mueller/incoming/edited.json /praxis-mueller/incoming/other.json",
            "get /praxis-mueller/incoming/other.json back.json",
            "rm /praxis-mueller/incoming/other.json",
        ],
    )
    .await;
    is_done(&all);
    let shown_size = shown.len().to_string();
    let listing = listed(&all);
    assert!(listing.contains(&"/praxis-mueller"), "{all:?}");
    assert!(
        all.stdout.contains("/praxis-mueller/incoming") && all.stdout.contains("/praxis-mueller/main"),
        "{all:?}"
    );
    let long = listing.iter().find(|line| line.starts_with("-r--r--r--")).expect("a long name");
    assert!(long.contains(JANE) && long.contains(&shown_size) && long.ends_with(name), "{long}");
    assert_eq!(read(&door, "fetched.json"), shown);
    assert_eq!(read(&door, "back.json"), EDITED);

    settled(&door).await;
    let incoming = "/praxis-mueller/incoming";
    for (verb, path) in [
        ("list", "/".to_owned()),
        ("list", "/praxis-mueller/".to_owned()),
        ("list", "/praxis-mueller/main/".to_owned()),
        ("open", backup.clone()),
        ("upload", format!("{incoming}/edited.json")),
        ("rename", format!("{incoming}/edited.json {incoming}/other.json")),
        ("open", format!("{incoming}/other.json")),
        ("remove", format!("{incoming}/other.json")),
    ] {
        for event in ["started", "finished"] {
            let wanted = (event.to_owned(), format!("sftp {verb} {path}"));
            let close = (event.to_owned(), format!("sftp {verb} {}", path.trim_end_matches('/')));
            let on_record = asked(&door);
            assert!(on_record.contains(&wanted) || on_record.contains(&close), "{wanted:?}: {on_record:#?}");
        }
    }
    let opened = door.journal().into_iter().find(|line| {
        line["event"] == "finished" && line["command"] == format!("sftp open {backup}").as_str()
    });
    let opened = opened.unwrap();
    assert_eq!((&opened["bytes_out"], &opened["exit"]), (&(shown.len() as u64).into(), &0.into()));
    assert_eq!((&opened["site"], &opened["target"]), (&"praxis-mueller".into(), &"konnektor/main".into()));
    let (other, edited) = (format!("{incoming}/other.json"), format!("{incoming}/edited.json"));
    let size = EDITED.len() as u64;
    assert_eq!(
        moved(&door),
        [
            ("download".into(), backup, shown.len() as u64, sha256(&shown)),
            ("upload".into(), edited.clone(), size, sha256(EDITED)),
            ("renamed".into(), edited, 0, String::new()),
            ("download".into(), other.clone(), size, sha256(EDITED)),
            ("removed".into(), other, 0, String::new()),
        ]
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_read_or_handed_in_lies_anywhere_in_the_clear() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    std::fs::write(door.path().join("edited.json"), EDITED).unwrap();
    let moved =
        sftp(&door, &[&format!("get {backup} fetched.json"), "put edited.json /praxis-mueller/incoming/"])
            .await;
    is_done(&moved);
    settled(&door).await;
    assert!(shown.contains("\"infomodell\"") && EDITED.contains("Kein-Klartext-Auf-Der-Platte"));
    for secret in ["Kein-Klartext-Auf-Der-Platte", "\"infomodell\""] {
        assert_eq!(holding(&door, secret), [""; 0], "{secret}");
    }
    // The same look does find what is there.
    assert!(!holding(&door, "sftp upload").is_empty());
    let sealed = door.path().join("state/vault/praxis-mueller/incoming/edited.json.age");
    assert!(std::fs::read(sealed).unwrap().starts_with(b"age-encryption.org/v1\n"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scp_brings_and_hands_in_and_its_old_protocol_is_told_so() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    std::fs::write(door.path().join("edited.json"), EDITED).unwrap();
    let scp = async |options: &[&str], from: &str, to: &str| {
        let mut scp = openssh(&door, "scp");
        scp.args(options).args([from, to]);
        ran(scp).await
    };
    let at = |path: &str| format!("{JANE}@127.0.0.1:{path}");
    is_done(&scp(&[], &at(&backup), "fetched.json").await);
    assert_eq!(read(&door, "fetched.json"), shown);
    is_done(&scp(&["-p"], "edited.json", &at("/praxis-mueller/incoming/by-scp.json")).await);
    is_done(&scp(&[], "edited.json", &at("~/praxis-mueller/incoming/")).await);
    is_done(&scp(&[], &at("praxis-mueller/incoming/*.json"), ".").await);
    assert_eq!(read(&door, "by-scp.json"), EDITED);

    let refused = scp(&["-O"], &at(&backup), "never.json").await;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("use sftp, or scp without -O"), "{refused:?}");
    assert!(!door.path().join("never.json").exists());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psftp_lists_fetches_and_hands_in() {
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    std::fs::write(door.path().join("edited.json"), EDITED).unwrap();
    std::fs::write(door.path().join("bad.json"), "{ no json").unwrap();
    // Makes the .ppk.
    is_done(&door.plink(JANE, "jane", &["-batch"], &["whoami"]).await);
    let psftp = async |lines: &str| {
        std::fs::write(door.path().join("batch"), lines).unwrap();
        let mut psftp = Command::new("psftp");
        psftp
            .env("PUTTYDIR", door.path().join("putty"))
            .args(["-batch", "-noagent", "-P", &door.port.to_string(), "-l", JANE, "-i"])
            .arg(door.path().join("jane.ppk"))
            .args(["-hostkey", &door.host_key_fingerprint(), "-b", "batch", "127.0.0.1"])
            .current_dir(door.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        ran(psftp).await
    };
    let (folder, name) = backup.rsplit_once('/').unwrap();
    let done = psftp(&format!(
        "cd {folder}\nls\nget {name} fetched.json\ncd ../incoming\nput edited.json\nls\nmv edited.json again.json\nget again.json\ndel again.json\nquit\n"
    ))
    .await;
    is_done(&done);
    assert_eq!((read(&door, "fetched.json"), read(&door, "again.json")), (shown, EDITED.to_owned()));
    assert!(done.stdout.contains("Remote directory is now /praxis-mueller/incoming"), "{done:?}");

    let refused = psftp("cd /praxis-mueller/incoming\nput bad.json\nls\n").await;
    assert!(refused.stdout.contains("error while closing: failure"), "{refused:?}");
    settled(&door).await;
    let causes: Vec<Value> = door.events("finished").iter().map(|line| line["cause"].clone()).collect();
    assert!(causes.contains(&"incoming=not-json line=1 column=3".into()), "{causes:?}");
    assert!(!door.path().join("state/vault/praxis-mueller/incoming/bad.json.age").exists());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paramiko_brings_what_konnektor_show_shows() {
    // It answers no question here: its key is held until the phone has said yes.
    let gateway_more = format!("\n[users.\"{JANE}\"]\nbatch = \"hold-key\"\n");
    let (door, backup, shown) = with_backup(Setup { gateway_more, ..with_rules(RULES) }).await;
    std::fs::write(door.path().join("edited.json"), EDITED).unwrap();
    let script = format!(
        r#"
import json, sys, paramiko
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", {port}, "{JANE}", key_filename="jane", allow_agent=False, look_for_keys=False, auth_timeout=60)
sftp = client.open_sftp()
sftp.get("{backup}", "fetched.json")
with sftp.open("{backup}") as f:
    f.seek(10); middle = f.read(20).decode()
sftp.put("edited.json", "/praxis-mueller/incoming/p.json.filepart")
before = sftp.listdir("/praxis-mueller/incoming")
sftp.posix_rename("/praxis-mueller/incoming/p.json.filepart", "/praxis-mueller/incoming/p.json")
sftp.utime("/praxis-mueller/incoming/p.json", (0, 0))
tried = {{}}
for what, path in (("open", "{backup}"), ("remove", "{backup}"), ("mkdir", "/praxis-mueller/x"), ("link", "/praxis-mueller/incoming/l.json")):
    try:
        if what == "open": sftp.open(path, "w")
        if what == "remove": sftp.remove(path)
        if what == "mkdir": sftp.mkdir(path)
        if what == "link": sftp.symlink("/etc/passwd", path)
        tried[what] = "done"
    except OSError as e:
        tried[what] = e.errno
print(json.dumps(dict(middle=middle, before=before, after=sftp.listdir("/praxis-mueller/incoming"), tried=tried, root=sftp.normalize("."))))
client.close()
"#,
        port = door.port
    );
    let venv = std::env::var("PFORTE_VENV").expect("PFORTE_VENV names no Python environment with paramiko");
    let mut python = Command::new(format!("{venv}/bin/python"));
    python.args(["-W", "ignore", "-c", &script]).current_dir(door.path()).kill_on_drop(true);
    let done = ran(python).await;
    is_done(&done);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(read(&door, "fetched.json"), shown);
    assert_eq!(told["middle"].as_str().unwrap(), &shown[10..30]);
    assert_eq!((&told["before"][0], &told["after"][0]), (&"p.json.filepart".into(), &"p.json".into()));
    assert_eq!(told["root"], "/");
    for what in ["open", "remove", "mkdir", "link"] {
        assert_eq!(told["tried"][what], 13, "{what}: {told}");
    }
    door.close().await;
}

/// A mount that ends with the test.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("fusermount").arg("-uz").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sshfs_shows_the_tree_as_a_folder() {
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: there is no /dev/fuse here, so sshfs was not tried");
        return;
    }
    let (door, backup, shown) = with_backup(with_rules(RULES)).await;
    let at = door.path().join("mounted");
    std::fs::create_dir(&at).unwrap();
    let mut sshfs = Command::new("sshfs");
    sshfs
        .arg(format!("{JANE}@127.0.0.1:/"))
        .arg(&at)
        .args([
            "-p",
            &door.port.to_string(),
            "-F",
            "none",
            "-o",
            "HostKeyAlias=gateway",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-o")
        .arg(format!("IdentityFile={}", door.path().join("jane").display()))
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", door.path().join("known_hosts").display()))
        .stdin(Stdio::null());
    let mounted = ran(sshfs).await;
    if mounted.stderr.contains("Operation not permitted") {
        eprintln!("SKIPPED: this machine lets nobody mount: {mounted:?}");
        return;
    }
    is_done(&mounted);
    let mount = Mounted(at.clone());
    let (file, incoming) = (at.join(&backup[1..]), at.join("praxis-mueller/incoming"));
    let kept = door.path().join("state/vault/praxis-mueller/incoming/a.json.age");
    let expected = shown.clone();
    tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::FileExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), expected.len() as u64);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        let mut middle = [0; 16];
        std::fs::File::open(&file).unwrap().read_exact_at(&mut middle, 100).unwrap();
        assert_eq!(middle, expected.as_bytes()[100..116]);
        assert!(std::fs::write(&file, "x").is_err());
        assert!(std::fs::remove_file(&file).is_err());
        assert!(std::os::unix::fs::symlink("/etc/passwd", incoming.join("l.json")).is_err());
        assert!(std::fs::create_dir(incoming.join("x")).is_err());
        assert!(std::fs::read_dir(at.join("praxis-nirgends")).is_err());

        std::fs::write(incoming.join("a.json"), EDITED).unwrap();
        assert_eq!(std::fs::read_to_string(incoming.join("a.json")).unwrap(), EDITED);
        // What is there is written over, as an editor does.
        std::fs::write(incoming.join("a.json"), "{\"again\": 1}").unwrap();
        assert_eq!(std::fs::read_to_string(incoming.join("a.json")).unwrap(), "{\"again\": 1}");
        std::fs::rename(incoming.join("a.json"), incoming.join("b.json")).unwrap();
        std::fs::rename(incoming.join("b.json"), incoming.join("a.json")).unwrap();
    })
    .await
    .unwrap();
    assert!(kept.exists());
    drop(mount);
    for _ in 0..500 {
        if door.events("finished").iter().any(|line| line["command"].is_null()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    settled(&door).await;
    door.close().await;
}
