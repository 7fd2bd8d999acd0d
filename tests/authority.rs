//! Issued certificates before the system's own ssh-keygen, sshd and ssh: what they take, and what they refuse.
#![allow(clippy::disallowed_methods, reason = "tests")]

use crate::sshd;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use pforte::authority::{Extension, HostAuthority, UserAuthority};
use pforte::clock::Clock;
use pforte::init::{make_key, write_new};
use pforte::names::{SessionId, Username};
use pforte::random::Random;
use ssh_key::{Certificate, LineEnding};
use sshd::Sshd;
use tokio::process::Command;

fn user() -> Username {
    "firm-jane.doe".parse().unwrap()
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// `ssh-keygen -L`, a line each, without the margin.
async fn shown(dir: &Path, name: &str, certificate: &Certificate) -> Vec<String> {
    let file = dir.join(format!("{name}-cert.pub"));
    std::fs::write(&file, format!("{}\n", certificate.to_openssh().unwrap())).unwrap();
    let listed =
        Command::new("ssh-keygen").arg("-L").arg("-f").arg(&file).env("TZ", "UTC").output().await.unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

/// How a client ended, and all it said.
async fn ran(mut command: Command) -> (Option<i32>, String) {
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn ssh(port: u16, known_hosts: &Path, options: &[&str]) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args([
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "IdentityAgent=none",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .args(["-p", &port.to_string(), "-l", "root"])
        .args(options)
        .args(["127.0.0.1", "echo", "in"]);
    ssh
}

#[tokio::test]
async fn ssh_keygen_reads_both_kinds_as_they_are_meant() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str| make_key(&dir.path().join(name), name).unwrap();
    let host = HostAuthority::new(key("host_ca"), Random::of(|| 42 << 64));
    let names = ["portal.a.example".to_owned(), "a.example".to_owned()];
    let issued = host.host_certificate(key("host").public_key(), &names, now()).unwrap();
    let lines = shown(dir.path(), "host", &issued).await;
    let has = |lines: &[String], wanted: &str| lines.iter().any(|line| line == wanted);
    assert!(has(&lines, "Type: ssh-ed25519-cert-v01@openssh.com host certificate"), "{lines:#?}");
    assert!(
        has(&lines, "Serial: 42") && has(&lines, "a.example") && has(&lines, "portal.a.example"),
        "{lines:#?}"
    );
    assert!(has(&lines, "Key ID: \"pforte host portal.a.example\""), "{lines:#?}");
    let from = (now() - SignedDuration::from_hours(1)).strftime("%Y-%m-%dT%H").to_string();
    assert!(lines.iter().any(|l| l.starts_with(&format!("Valid: from {from}"))), "{from}: {lines:#?}");

    let user_authority = UserAuthority::new(key("user_ca"), Random::system());
    let session = SessionId::new(1, 2);
    let issue = |extensions: &[Extension]| {
        user_authority.user_certificate(&user(), session, &["support".into()], extensions, now()).unwrap()
    };
    let lines = shown(dir.path(), "user", &issue(&[Extension::PermitPty]).certificate).await;
    assert!(has(&lines, "Type: ssh-ed25519-cert-v01@openssh.com user certificate"), "{lines:#?}");
    assert!(has(&lines, &format!("Key ID: \"firm-jane.doe {session}\"")), "{lines:#?}");
    assert!(
        has(&lines, "firm-jane.doe") && has(&lines, "support") && has(&lines, "permit-pty"),
        "{lines:#?}"
    );
    assert!(has(&lines, "Critical Options: (none)") && !has(&lines, "permit-port-forwarding"), "{lines:#?}");
    let lines = shown(dir.path(), "user", &issue(&[Extension::PermitPortForwarding]).certificate).await;
    assert!(has(&lines, "permit-port-forwarding") && !has(&lines, "permit-pty"), "{lines:#?}");
    let lines = shown(dir.path(), "user", &issue(&[]).certificate).await;
    assert!(has(&lines, "Extensions: (none)"), "{lines:#?}");
}

#[tokio::test]
async fn a_server_takes_the_user_certificate_for_five_minutes_and_only_with_its_principal() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let host = make_key(&root.join("host"), "host").unwrap();
    let authority = UserAuthority::new(make_key(&root.join("user_ca"), "ca").unwrap(), Random::system());
    let stranger = UserAuthority::new(make_key(&root.join("stranger"), "ca").unwrap(), Random::system());
    std::fs::write(root.join("principals"), "firm-jane.doe\n").unwrap();
    let more = format!(
        "TrustedUserCAKeys {0}/user_ca.pub\nAuthorizedPrincipalsFile {0}/principals\nAuthorizedKeysFile none",
        root.display()
    );
    let sshd = Sshd::start(root, "host", &more).await;
    let known = root.join("known_hosts");
    let line = host.public_key().to_openssh().unwrap();
    std::fs::write(&known, format!("[127.0.0.1]:{} {line}\n", sshd.port)).unwrap();
    let log_in = async |name: &str,
                        authority: &UserAuthority,
                        user: &str,
                        at: Timestamp,
                        options: &[&str]| {
        let extensions = [Extension::PermitPty];
        let made =
            authority.user_certificate(&user.parse().unwrap(), SessionId::new(1, 2), &[], &extensions, at);
        let made = made.unwrap();
        write_new(&root.join(name), made.key.to_openssh(LineEnding::LF).unwrap().as_bytes(), 0o600).unwrap();
        let certificate = root.join(format!("{name}-cert.pub"));
        std::fs::write(&certificate, made.certificate.to_openssh().unwrap() + "\n").unwrap();
        let identity = root.join(name).display().to_string();
        ran(ssh(sshd.port, &known, &[&["-i", &identity], options].concat())).await
    };
    let jane = "firm-jane.doe";
    let (code, said) = log_in("good", &authority, jane, now(), &[]).await;
    assert_eq!((code, said.trim()), (Some(0), "in"));
    let log = std::fs::read_to_string(root.join("host.log")).unwrap();
    let id = format!("ID {jane} {}", SessionId::new(1, 2));
    assert!(log.contains(&id), "{id} in the target's log: {log}");

    let six_minutes = SignedDuration::from_mins(6);
    for (name, authority, user, at) in [
        ("late", &authority, jane, now() - six_minutes),
        ("early", &authority, jane, now() + six_minutes),
        ("other", &authority, "firm-john.doe", now()),
        ("stranger-made", &stranger, jane, now()),
    ] {
        let (code, said) = log_in(name, authority, user, at, &[]).await;
        assert_eq!(code, Some(255), "{name}: {said}");
        assert!(said.contains("Permission denied"), "{name}: {said}");
    }
    // Forwarding was not asked for: the login holds, the forwarding does not.
    let forward = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"];
    let (code, said) = log_in("forward", &authority, jane, now(), &forward).await;
    assert!(code == Some(255) && said.contains("forwarding failed"), "{code:?} {said}");
}

#[tokio::test]
async fn a_client_takes_the_host_certificate_for_its_names_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let authority = HostAuthority::new(make_key(&root.join("host_ca"), "ca").unwrap(), Random::system());
    let jane = make_key(&root.join("jane"), "jane").unwrap();
    std::fs::write(root.join("authorized_keys"), jane.public_key().to_openssh().unwrap()).unwrap();
    let known = root.join("known_hosts");
    let ca = authority.public_key().to_openssh().unwrap();
    std::fs::write(&known, format!("@cert-authority * {ca}\n")).unwrap();
    let key = make_key(&root.join("host"), "host").unwrap();
    let year = SignedDuration::from_hours(365 * 24);
    for (name, at, taken) in [
        ("127.0.0.1", now(), true),
        ("127.0.0.2", now(), false),
        ("127.0.0.1", now() - year, false),
        ("127.0.0.1", now() + year, false),
    ] {
        let identity = authority.identity(&key, &[name.to_owned()], at).unwrap();
        assert_eq!(identity.key.public_key(), key.public_key());
        std::fs::write(root.join("host-cert.pub"), identity.certificate.to_openssh().unwrap() + "\n")
            .unwrap();
        let more = format!(
            "HostCertificate {0}/host-cert.pub\nAuthorizedKeysFile {0}/authorized_keys",
            root.display()
        );
        let sshd = Sshd::start(root, "host", &more).await;
        let (code, said) =
            ran(ssh(sshd.port, &known, &["-i", &root.join("jane").display().to_string()])).await;
        if taken {
            assert_eq!((code, said.trim()), (Some(0), "in"));
        } else {
            assert_eq!(code, Some(255), "{name} {at}: {said}");
            assert!(said.contains("Certificate invalid"), "{name} {at}: {said}");
        }
    }
}
