//! The demo as somebody new runs it: its machines are real, unprivileged, and gone with it.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real programs")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const HOST: &str = "backup.praxis-mueller.example";
const PFORTE: &str = env!("CARGO_BIN_EXE_pforte");

#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn ran(mut command: Command) -> Ran {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(90), command.output()).await.expect("it hangs").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// `pforte demo WORDS` in a view of the machine where this was done first.
async fn demo_where(first: &str, words: &[&str]) -> Ran {
    let mut unshare = Command::new("unshare");
    let script = format!("{first} && exec \"$@\"");
    unshare.args(["--mount", "sh", "-c", &script, "sh", PFORTE, "demo"]).args(words);
    ran(unshare).await
}

/// `pforte demo --stay`, once it is ready.
struct Stay {
    dir: TempDir,
    demo: Child,
}

impl Stay {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut demo = Command::new(PFORTE);
        demo.args(["demo", "--stay", "--dir"]).arg(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        let log = std::fs::File::create(dir.path().with_extension("log")).unwrap();
        let demo = demo.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let stay = Self { dir, demo };
        for _ in 0..3000 {
            if stay.said().contains("until Ctrl-C") {
                return stay;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not stay: {}", stay.said());
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().with_extension("log")).unwrap()
    }

    async fn client(&self, program: impl AsRef<Path>, words: &[&str]) -> Ran {
        let mut client = Command::new(program.as_ref());
        client.args(words).current_dir(self.dir.path()).env("PUTTYDIR", self.path("putty"));
        ran(client).await
    }

    async fn ssh(&self, words: &[&str]) -> Ran {
        self.client("ssh", &[&["-F", "ssh_config"], words].concat()).await
    }

    /// Every process that has to do with this demo's folder or its machines.
    fn processes(&self) -> Vec<String> {
        let mine = |pid: &str| {
            // A machine's sshd names a path of its own view; its log is below the folder.
            let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let mut open = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
            open.any(|file| file.starts_with(self.path("hosts")))
                .then(|| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| mine(entry.file_name().to_str()?)).collect()
    }

    /// All of them gone, soon.
    async fn nothing_is_left(&self) {
        for _ in 0..500 {
            if self.processes().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("left behind: {:?}", self.processes());
    }

    async fn signal(&mut self, signal: &str) {
        let pid = self.demo.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        tokio::time::timeout(Duration::from_secs(20), self.demo.wait()).await.expect("it stays").unwrap();
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        std::fs::remove_file(self.dir.path().with_extension("log")).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_backs_up_goes_on_to_the_backup_machine_and_shows_the_lines() {
    let mut demo = Command::new(PFORTE);
    demo.arg("demo");
    let demo = ran(demo).await;
    assert_eq!(demo.code, 0, "{demo:?}");
    assert!(demo.stdout.contains("\ndone at backup as support, uid 65534\n"), "{demo:?}");
    let line = demo.stdout.lines().find(|l| l.contains(" finished ") && l.contains("done at")).unwrap();
    assert!(line.contains("firm-jane.doe @praxis-mueller host/backup") && line.contains("exit=0"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_to_try_works_and_the_machines_end_with_ctrl_c() {
    let mut stay = Stay::start().await;
    let ready: Value = serde_json::from_str(&std::fs::read_to_string(stay.path("ready")).unwrap()).unwrap();
    assert_eq!(ready["pid"], stay.demo.id().unwrap());
    // Each host with a terminal, as nobody, in its own folder, with no way back to root.
    for (host, name) in
        [("praxis-mueller.example", "portal"), ("portal.praxis-mueller.example", "portal"), (HOST, "backup")]
    {
        let ssh =
            stay.ssh(&["-tt", host, "pwd; id -u; uname -n; grep NoNewPrivs /proc/self/status; exit 3"]).await;
        assert_eq!(ssh.code, 3, "{ssh:?}");
        let said = format!("/home/support\r\n65534\r\n{name}\r\nNoNewPrivs:\t1\r\n");
        assert_eq!(ssh.stdout, said, "{ssh:?}");
    }
    let closed = ["/etc/shadow", stay.path("id_ed25519").to_str().unwrap()]
        .map(|f| format!("test -r {f} && echo readable"));
    for test in closed {
        assert_eq!(stay.ssh(&[HOST, &test]).await.stdout, "");
    }
    std::fs::write(stay.path("batch"), "put ssh_config put\nls\n").unwrap();
    let sftp = stay.client("sftp", &["-b", "batch", "-F", "ssh_config", HOST]).await;
    assert!(sftp.code == 0 && sftp.stdout.contains("README"), "{sftp:?}");
    assert!(stay.path("hosts/backup/support/put").exists(), "its own folder");
    let bssh = stay.client(stay.path("kit/bssh"), &["praxis-mueller.example", "id -un"]).await;
    assert_eq!((bssh.code, bssh.stdout.as_str()), (0, "support\n"), "{bssh:?}");
    let session = ["-batch", "-load", "Fernwartung praxis-mueller Portal", "uname -n"];
    let plink = stay.client("plink", &session).await;
    assert_eq!((plink.code, plink.stdout.as_str()), (0, "portal\n"), "{plink:?}");
    assert!(stay.path("putty/putty-pforte.reg").exists());
    let checked = stay.client(PFORTE, &["kit", "--check", "kit", "--config", "."]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let search = stay.client(PFORTE, &["journal", "search", "--json", "--config", "."]).await;
    let recorded = search.stdout.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["recording"].as_str().map(|_| line["session"].as_str().unwrap().to_owned())
    });
    let played = stay.client(PFORTE, &["play", &recorded.unwrap(), "--export", "-", "--config", "."]).await;
    assert!(played.code == 0 && played.stdout.contains("NoNewPrivs"), "{played:?}");

    std::fs::write(stay.path("phone"), "deny").unwrap();
    let denied = stay.ssh(&[HOST, "true"]).await;
    assert!(denied.code == 255 && denied.stderr.contains("denied on the phone"), "{denied:?}");
    std::fs::write(stay.path("phone"), "approve").unwrap();
    let mut open = Command::new("ssh");
    open.args(["-F", "ssh_config", HOST, "sleep 100"]).current_dir(stay.dir.path()).stdin(Stdio::null());
    let mut open = open.kill_on_drop(true).spawn().unwrap();
    while stay.processes().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stay.signal("-INT").await;
    stay.nothing_is_left().await;
    tokio::time::timeout(Duration::from_secs(10), open.wait()).await.expect("its client is told").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_killed_leaves_no_machine_behind() {
    let mut stay = Stay::start().await;
    let mut open = Command::new("ssh");
    open.args(["-F", "ssh_config", HOST, "sleep 100"]).current_dir(stay.dir.path()).stdin(Stdio::null());
    let open = open.kill_on_drop(true).spawn().unwrap();
    while stay.processes().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stay.signal("-KILL").await;
    stay.nothing_is_left().await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_sshd_one_line_says_so_and_the_rest_is_shown() {
    let demo = demo_where("mount --bind /dev/null /usr/sbin/sshd", &[]).await;
    assert_eq!(demo.code, 0, "{demo:?}");
    let line = "\nNo sshd is installed here (openssh-server), so portal and backup are left out.\n";
    assert!(demo.stdout.contains(line), "{demo:?}");
    assert!(
        demo.stdout.contains("Decrypted again and compared") && !demo.stdout.contains("ssh backup"),
        "{demo:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn as_an_ordinary_user_the_machines_let_in_that_user() {
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(1234), Some(1234)).unwrap();
    // The program itself may lie where others cannot look.
    let pforte = home.path().join("pforte");
    std::fs::copy(PFORTE, &pforte).unwrap();
    let passwd = home.path().join("passwd");
    let account = format!("tester:*:1234:1234::{}:/bin/bash\n", home.path().display());
    std::fs::write(&passwd, account + &std::fs::read_to_string("/etc/passwd").unwrap()).unwrap();
    let mut unshare = Command::new("unshare");
    let script = "mount --bind \"$1/passwd\" /etc/passwd && HOME=$1 exec setpriv --reuid=1234 --regid=1234 --clear-groups \"$1/pforte\" demo --lang de";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(home.path());
    let demo = ran(unshare).await;
    assert_eq!(demo.code, 0, "{demo:?}");
    assert!(demo.stdout.contains(" as tester, uid 1234\n"), "{demo:?}");
}
