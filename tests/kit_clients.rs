//! The kit in the hands of real clients: ssh, bssh, scp, sftp, plink, through a gateway to a backup machine.
//!
//! Both are plain sshds here, set up as the gateway shows itself or as it does not: with its host key, its authority's certificate, or
//! one of them alone. The same programs at the real gateway: `kit_day.rs`.
#![allow(clippy::disallowed_methods, reason = "tests run real clients")]

use crate::kit;
use crate::sshd;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use kit::{DOMAIN, JANE, Ran, Workshop, ran};
use pforte::authority::HostAuthority;
use pforte::clock::Clock;
use pforte::house;
use pforte::random::Random;
use sshd::{Sshd, World};
use tokio::process::Command;

/// Where a kit leads: the way in, and the machine behind it.
struct Gateway {
    workshop: Workshop,
    _portal: Sshd,
    _backup: Sshd,
}

/// What the servers show of themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    KeyAndCertificate,
    KeyAlone,
}

impl Gateway {
    /// The gateway on a port of its own, and `backup.DOMAIN` on port 22 of a loopback address of its own.
    async fn open(shows: Shows) -> Self {
        let door = free_port();
        let inside = inner_address(door);
        let workshop = Workshop::new(&format!("\"{door}\""));
        let root = workshop.0.path().to_owned();
        let keys = "AuthorizedKeysFile ".to_owned() + root.join("jane.pub").to_str().unwrap();
        let certify = |name: &str, certified: &[String]| {
            std::fs::copy(root.join("gateway/state/host_ed25519"), root.join(name)).unwrap();
            if shows == Shows::KeyAlone {
                return keys.clone();
            }
            let key = |file: &str| house::private_key(&root.join("gateway/state").join(file), "key").unwrap();
            let authority = HostAuthority::new(key("host_ca"), Random::system());
            let identity =
                authority.identity(&key("host_ed25519"), certified, Clock::system().now()).unwrap();
            let file = root.join(format!("{name}-cert.pub"));
            std::fs::write(&file, identity.certificate.to_openssh().unwrap() + "\n").unwrap();
            format!("{keys}\nHostCertificate {}", file.display())
        };
        let world = World {
            hosts: format!("{} backup.{DOMAIN}\n", inside.ip()),
            passwd: format!("{JANE}:x:0:0::{}:/bin/sh\n", root.join("empty").display()),
        };
        let portal = certify("portal", &["127.0.0.1".to_owned()]);
        let portal = Sshd::start_at(&root, "portal", door, &portal, Some(&world)).await;
        let backup = certify("backup", &[format!("backup.{DOMAIN}")]);
        let backup = Sshd::start_at(&root, "backup", inside, &backup, Some(&world)).await;
        Self { workshop, _portal: portal.expect("the gateway"), _backup: backup.expect("the backup machine") }
    }

    /// The kit for it, with jane's key for PuTTY.
    async fn kit(&self) {
        let ppk = self.workshop.path("jane.ppk").display().to_string();
        let key = self.workshop.path("jane").display().to_string();
        self.workshop.tool("puttygen", &[&key, "-O", "private", "-o", &ppk]).await;
        self.workshop.kit(&["--ppk", &ppk, "--email", "jane.doe@firm.example"]).await;
        assert_eq!(self.workshop.check().await.code, 0);
    }

    async fn run(&self, program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.workshop.0.path()).env("LANG", "C").env_remove("SSH_AUTH_SOCK");
        ran(command).await
    }

    /// plink with the kit's PuTTY sessions, or with other ones.
    async fn plink(&self, putty: &Path, session: &str, command: &str) -> Ran {
        let mut plink = Command::new("plink");
        plink
            .env("PUTTYDIR", putty)
            .env_remove("SSH_AUTH_SOCK")
            .args(["-v", "-batch", "-load", session, command]);
        ran(plink).await
    }
}

impl Drop for Gateway {
    /// The shared connection outlives its first session: it is ended here, whatever became of the test.
    fn drop(&mut self) {
        let mut exit = std::process::Command::new("ssh");
        exit.arg("-F")
            .arg(self.workshop.path("kit/ssh_config"))
            .args(["-O", "exit", "gateway"])
            .output()
            .ok();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The kit asks for port 22, as clients of a gateway do; each gateway's port gives its backup machine an address.
fn inner_address(door: SocketAddr) -> SocketAddr {
    let [high, low] = door.port().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 77, high, low), 22))
}

const BACKUP: &str = "backup.praxis-mueller.example";
const WHO: &str = "echo in as $USER $EMAIL";
const IN: &str = "in as firm-jane.doe jane.doe@firm.example\n";

#[tokio::test(flavor = "multi_thread")]
async fn ssh_scp_sftp_and_rsync_reach_the_backup_machine_by_one_connection_and_without_a_question() {
    let gateway = Gateway::open(Shows::KeyAndCertificate).await;
    gateway.kit().await;
    let ssh = gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, WHO]).await;
    assert_eq!((ssh.code, ssh.stdout.as_str()), (0, IN), "{ssh:?}");
    let failed = gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, "exit 7"]).await;
    assert_eq!(failed.code, 7, "{failed:?}");
    std::fs::write(gateway.workshop.path("there"), "content\n").unwrap();
    let target = |name: &str| format!("{BACKUP}:{}", gateway.workshop.path(name).display());
    let scp = gateway.run("scp", &["-q", "-F", "kit/ssh_config", "there", &target("copied")]).await;
    assert_eq!((scp.code, gateway.workshop.text("copied").as_str()), (0, "content\n"), "{scp:?}");
    let sftp = gateway.run("sftp", &["-q", "-F", "kit/ssh_config", &target("there"), "back"]).await;
    assert_eq!((sftp.code, gateway.workshop.text("back").as_str()), (0, "content\n"), "{sftp:?}");
    let configuration = gateway.run("kit/bssh", &["--print-config"]).await.stdout;
    let shell = format!("ssh -F {}", configuration.trim());
    let rsync = gateway.run("rsync", &["-e", &shell, "there", &target("synced")]).await;
    assert_eq!((rsync.code, gateway.workshop.text("synced").as_str()), (0, "content\n"), "{rsync:?}");
    // All of it was one login at the gateway, where the phone is asked.
    let logins =
        || gateway.workshop.text("portal.log").matches("Accepted publickey for firm-jane.doe").count();
    assert_eq!(logins(), 1);
    let ended = gateway.run("kit/bssh", &["-O", "exit"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let known = gateway.workshop.text("kit/known_hosts");
    gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, "true"]).await;
    assert_eq!(logins(), 2);
    assert_eq!(gateway.workshop.text("kit/known_hosts"), known, "no client writes into the kit");
}

#[tokio::test(flavor = "multi_thread")]
async fn bssh_logs_in_with_another_key_at_both_hops_and_says_when_it_waits() {
    let gateway = Gateway::open(Shows::KeyAndCertificate).await;
    gateway.kit().await;
    let bssh = gateway.run("kit/bssh", &[DOMAIN, WHO]).await;
    assert_eq!((bssh.code, bssh.stdout.as_str()), (0, IN), "{bssh:?}");
    assert!(bssh.stderr.contains("confirm on your phone"), "{bssh:?}");
    let second = gateway.run("kit/bssh", &[DOMAIN, "exit 9"]).await;
    assert_eq!((second.code, second.stderr.as_str()), (9, ""), "the second one waits for nobody");
    for operation in ["check", "exit"] {
        let there = gateway.run("kit/bssh", &["-O", operation]).await;
        assert_eq!(there.code, 0, "{there:?}");
    }
    // The kit's own key is gone; a key with a blank in its name is let in at both hops.
    let key = gateway.workshop.path("a key").display().to_string();
    std::fs::rename(gateway.workshop.path("jane"), &key).unwrap();
    let without = gateway.run("kit/bssh", &[DOMAIN, "true"]).await;
    assert!(without.code == 255 && without.stderr.contains("Permission denied"), "{without:?}");
    let with = gateway.run("kit/bssh", &[DOMAIN, "--", "-i", &key, WHO]).await;
    assert_eq!((with.code, with.stdout.as_str()), (0, IN), "{with:?}");
    let sftp = format!("get {} fetched", gateway.workshop.path("kit/README.txt").display());
    std::fs::write(gateway.workshop.path("batch"), sftp + "\n").unwrap();
    let sftp = gateway.run("kit/bssh", &["--sftp", DOMAIN, "--", "-i", &key, "-b", "batch"]).await;
    assert_eq!(
        (sftp.code, gateway.workshop.text("fetched")),
        (0, gateway.workshop.text("kit/README.txt")),
        "{sftp:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_without_certificates_on_the_other_side_knows_the_plain_keys() {
    let gateway = Gateway::open(Shows::KeyAlone).await;
    gateway.kit().await;
    let ssh = gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, WHO]).await;
    assert_eq!((ssh.code, ssh.stdout.as_str()), (0, IN), "{ssh:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_with_the_authority_alone_needs_no_plain_key_and_with_another_one_refuses() {
    let gateway = Gateway::open(Shows::KeyAndCertificate).await;
    gateway.kit().await;
    let known = gateway.workshop.text("kit/known_hosts");
    let authority: String =
        known.lines().filter(|l| l.starts_with('@')).fold(String::new(), |t, l| t + l + "\n");
    assert_eq!(authority.lines().count(), 1);
    std::fs::write(gateway.workshop.path("kit/known_hosts"), &authority).unwrap();
    let ssh = gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, WHO]).await;
    assert_eq!((ssh.code, ssh.stdout.as_str()), (0, IN), "{ssh:?}");
    assert_eq!(gateway.run("kit/bssh", &["-O", "exit"]).await.code, 0);
    let (old, new) = ("gateway/state/host_ca.pub", "gateway/state/user_ca.pub");
    let other =
        authority.replace(&kit::bare(&gateway.workshop.text(old)), &kit::bare(&gateway.workshop.text(new)));
    assert_ne!(other, authority);
    std::fs::write(gateway.workshop.path("kit/known_hosts"), other).unwrap();
    let refused = gateway.run("ssh", &["-F", "kit/ssh_config", BACKUP, "true"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("Host key verification failed"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_reaches_the_backup_machine_by_the_saved_session_and_by_the_one_for_old_putty() {
    let gateway = Gateway::open(Shows::KeyAlone).await;
    gateway.kit().await;
    let putty = gateway.workshop.path("kit/putty");
    // Beside its random seed, plink keeps there what it learns.
    std::fs::write(putty.join("randomseed"), "").unwrap();
    let before = kit::files_below(&putty);
    let new = gateway.plink(&putty, "Fernwartung praxis-mueller Backup", WHO).await;
    assert_eq!((new.code, new.stdout.as_str()), (0, IN), "{new:?}");
    assert!(new.stderr.contains("Making proxy SSH connection to 127.0.0.1"), "{new:?}");
    let old = gateway.plink(&putty, "Fernwartung praxis-mueller Backup (plink)", WHO).await;
    assert_eq!((old.code, old.stdout.as_str()), (0, IN), "{old:?}");
    assert!(old.stderr.contains("plink -batch -load"), "{old:?}");
    let portal = gateway.plink(&putty, "Fernwartung Gateway", WHO).await;
    assert_eq!((portal.code, portal.stdout.as_str()), (0, IN), "{portal:?}");
    assert_eq!(kit::files_below(&putty), before, "plink learnt nothing that the kit did not say");
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_takes_the_authority_where_no_host_key_is_kept_and_neither_is_refused() {
    let gateway = Gateway::open(Shows::KeyAndCertificate).await;
    gateway.kit().await;
    let putty = gateway.workshop.path("kit/putty");
    std::fs::remove_file(putty.join("sshhostkeys")).unwrap();
    let certified = gateway.plink(&putty, "Fernwartung praxis-mueller Backup", WHO).await;
    assert_eq!((certified.code, certified.stdout.as_str()), (0, IN), "{certified:?}");
    assert_eq!(certified.stderr.matches("Accepted certificate").count(), 2, "{certified:?}");
    std::fs::remove_file(putty.join("sshhostcas/Fernwartung%20Gateway%20CA")).unwrap();
    let refused = gateway.plink(&putty, "Fernwartung praxis-mueller Backup", "true").await;
    assert!(refused.code == 1 && refused.stderr.contains("Cannot confirm a host key"), "{refused:?}");
}

/// The numbers of a host key as plink itself writes them down.
#[tokio::test(flavor = "multi_thread")]
async fn plink_writes_the_same_host_key_numbers_when_it_learns_them_itself() {
    let gateway = Gateway::open(Shows::KeyAlone).await;
    gateway.kit().await;
    let kept = gateway.workshop.text("kit/putty/sshhostkeys");
    let learnt = gateway.workshop.path("learnt");
    std::fs::create_dir_all(learnt.join("sessions")).unwrap();
    let session = "sessions/Fernwartung%20Gateway";
    std::fs::copy(gateway.workshop.path("kit/putty").join(session), learnt.join(session)).unwrap();
    let mut plink = Command::new("sh");
    plink
        .env("PUTTYDIR", &learnt)
        .args(["-c", "echo y | plink -load 'Fernwartung Gateway' -no-antispoof true"]);
    ran(plink).await;
    let line = gateway.workshop.text("learnt/sshhostkeys");
    assert!(line.starts_with("ssh-ed25519@") && kept.lines().any(|l| l == line.trim()), "{line}: {kept}");
}
