//! The front door's own certificate: clients that know its authority ask nothing, those that know the key alone neither.
#![allow(clippy::disallowed_methods, reason = "tests run real clients")]

use crate::door;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use jiff::SignedDuration;
use pforte::clock::Clock;
use pforte::house::{self, House};
use pforte::random::Random;
use tokio::process::Command;

fn public(door: &Door, name: &str) -> String {
    std::fs::read_to_string(door.path().join(name)).unwrap().trim().to_owned()
}

/// The second field of the authority's public key.
fn ca_blob(door: &Door) -> String {
    public(door, "state/host_ca.pub").split(' ').nth(1).unwrap().to_owned()
}

/// ssh that knows these lines and nothing else.
async fn ssh(door: &Door, known_hosts: &str) -> Ran {
    let known = door.path().join("known");
    std::fs::write(&known, format!("{known_hosts}\n")).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-v",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
    ])
    .arg(format!("UserKnownHostsFile={}", known.display()))
    .args([
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "IdentityAgent=none",
        "-p",
        &door.port.to_string(),
        "-l",
        JANE,
        "-i",
    ])
    .arg(door.path().join("jane"))
    .args(["127.0.0.1", "whoami"])
    .stdin(std::process::Stdio::null())
    .kill_on_drop(true);
    ran(ssh).await
}

/// What the door shows to somebody who asks for its certificate: `ssh-keygen -L`.
async fn shown(door: &Door) -> String {
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-c", "-t", "ed25519", "-p", &door.port.to_string(), "127.0.0.1"]);
    let certificate = ran(scan).await.stdout;
    assert!(certificate.starts_with("ssh-ed25519-cert-v01@openssh.com "), "{certificate:?}");
    std::fs::write(door.path().join("shown-cert.pub"), certificate).unwrap();
    let mut list = Command::new("ssh-keygen");
    list.env("TZ", "UTC").args(["-L", "-f"]).arg(door.path().join("shown-cert.pub"));
    ran(list).await.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_that_knows_the_authority_or_the_key_alone_connects_without_a_question() {
    let door = Door::open(Setup::default()).await;
    let (ca, key) = (public(&door, "state/host_ca.pub"), public(&door, "state/host_ed25519.pub"));
    let at = format!("[127.0.0.1]:{}", door.port);
    let by_authority = ssh(&door, &format!("@cert-authority {at} {ca}")).await;
    assert_eq!(by_authority.code, 0, "{by_authority:?}");
    assert!(by_authority.stderr.contains("Server host certificate: ssh-ed25519-cert"), "{by_authority:?}");
    let by_key = ssh(&door, &format!("{at} {key}")).await;
    assert_eq!(by_key.code, 0, "{by_key:?}");
    let both = ssh(&door, &format!("@cert-authority {at} {ca}\n{at} {key}")).await;
    assert_eq!(both.code, 0, "{both:?}");
    // Another authority, another key: not a question either, but an end.
    let other = door.make_key("other");
    for stranger in [format!("@cert-authority {at} {other}"), format!("{at} {other}")] {
        let refused = ssh(&door, &stranger).await;
        assert_eq!(refused.code, 255, "{refused:?}");
        assert!(refused.stderr.contains("Host key verification failed"), "{refused:?}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_that_knows_the_authority_or_the_key_alone_connects_without_a_question() {
    let door = Door::open(Setup::default()).await;
    door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    let plink = async |putty: &str| {
        let mut plink = Command::new("plink");
        plink
            .env("PUTTYDIR", door.path().join(putty))
            .args(["-ssh", "-v", "-batch", "-noagent", "-P", &door.port.to_string(), "-l", JANE, "-i"])
            .arg(door.path().join("jane.ppk"))
            .args(["127.0.0.1", "whoami"])
            .stdin(std::process::Stdio::null());
        ran(plink).await
    };
    let authority = |dir: &str, blob: &str| {
        let cas = door.path().join(dir).join("sshhostcas");
        std::fs::create_dir_all(&cas).unwrap();
        let text = format!(
            "PublicKey={blob}\nValidity=127.0.0.1\nPermitRSASHA1=0\nPermitRSASHA256=1\nPermitRSASHA512=1\n"
        );
        std::fs::write(cas.join("pforte"), text).unwrap();
    };
    authority("putty-ca", &ca_blob(&door));
    let by_authority = plink("putty-ca").await;
    assert_eq!(by_authority.code, 0, "{by_authority:?}");
    assert!(by_authority.stderr.contains("Accepted certificate"), "{by_authority:?}");
    authority("putty-other", door.make_key("other").split(' ').nth(1).unwrap());
    let refused = plink("putty-other").await;
    assert!(refused.code == 1 && refused.stderr.contains("Cannot confirm a host key"), "{refused:?}");
    // A PuTTY without authorities, or older than they are.
    let fingerprint = door.plink(JANE, "jane", &["-batch"], &["whoami"]).await;
    assert_eq!(fingerprint.code, 0, "{fingerprint:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_names_are_on_the_certificate_of_the_next_connection() {
    let door = Door::open(Setup::default()).await;
    assert!(shown(&door).await.contains("127.0.0.1"));
    let file = door.path().join("policy/gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("names = [\"Gateway.firm.example:2222\", \"[2001:db8::1]\"]\n{text}"))
        .unwrap();
    door.reload().await;
    let shown = shown(&door).await;
    assert!(shown.contains("gateway.firm.example\n") && shown.contains("2001:db8::1\n"), "{shown}");
    assert!(!shown.contains("127.0.0.1"), "{shown}");
    // Read again without other names: the certificate stays.
    let before = self::shown(&door).await;
    door.register("firm-john.doe", &door.make_key("john"));
    door.reload().await;
    assert_eq!(self::shown(&door).await, before);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_server_shows_the_gateways_own_key_under_the_hosts_names() {
    let door = Door::open(Setup::default()).await;
    let names = ["portal.a.example".to_owned(), "a.example".to_owned()];
    let authorities = door.house.nameplate().authorities();
    let identity = authorities.identity(&names, Clock::system().now()).unwrap();
    let shown = identity.key.public_key().key_data().clone();
    assert_eq!(
        shown,
        public(&door, "state/host_ed25519.pub").parse::<ssh_key::PublicKey>().unwrap().key_data().clone()
    );
    assert_eq!(*identity.certificate.public_key(), shown);
    assert_eq!(identity.certificate.valid_principals(), names);
    assert_eq!(identity.certificate.signature_key(), authorities.host.public_key().key_data());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_runs_renews_its_certificate_at_half_its_life() {
    let days = Arc::new(AtomicI64::new(0));
    let (begin, passed) = (Clock::system().now(), days.clone());
    let clock = Clock::of(move || begin + SignedDuration::from_hours(24 * passed.load(Ordering::SeqCst)));
    let door = Door::open(Setup { clock, ..Setup::default() }).await;
    let a_while = || door.house.follow(tokio::time::sleep(Duration::from_millis(1200)));
    let serial = |text: &str| text.lines().find(|l| l.contains("Serial")).map(str::to_owned);
    let first = shown(&door).await;
    assert!(serial(&first).is_some(), "{first}");
    days.store(44, Ordering::SeqCst);
    a_while().await;
    assert_eq!(serial(&shown(&door).await), serial(&first), "before half its life");
    days.store(46, Ordering::SeqCst);
    a_while().await;
    let second = shown(&door).await;
    assert_ne!(serial(&second), serial(&first), "after half its life");
    let until = (begin + SignedDuration::from_hours(24 * 136)).strftime("to %Y-%m-%d").to_string();
    assert!(second.contains(&until), "{until}: {second}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_without_authorities_gets_them_at_its_start_and_keeps_them() {
    let mut door = Door::open(Setup::default()).await;
    door.house.close().await;
    let files = ["state/host_ca", "state/host_ca.pub", "state/user_ca", "state/user_ca.pub"];
    for file in files {
        std::fs::remove_file(door.path().join(file)).unwrap();
    }
    let reopen = async || {
        let loaded = house::load(door.path()).unwrap_or_else(|problems| panic!("{problems}"));
        House::open(door.path(), loaded, Clock::system(), Random::system()).await
    };
    reopen().await.unwrap().close().await;
    let made = files.map(|file| std::fs::read(door.path().join(file)).unwrap());
    reopen().await.unwrap().close().await;
    assert_eq!(made, files.map(|file| std::fs::read(door.path().join(file)).unwrap()));
    // One that others can read is refused, as the host key is.
    let ca = door.path().join("state/host_ca");
    assert_eq!(std::fs::metadata(&ca).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&ca, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = format!("{:#}", reopen().await.err().unwrap());
    assert!(refused.contains("host authority") && refused.contains("chmod go-rwx"), "{refused}");
}
