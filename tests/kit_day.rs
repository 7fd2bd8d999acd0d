//! A working day with the kit and nothing else: OpenSSH's programs, bssh, PuTTY's plink and Ansible, through the real gateway to a real
//! sshd, and the lines that each of them leaves.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use door::{JANE, Ran, Setup, ran};
use jiff::Timestamp;
use machine::{HOST, RULES, Stage};
use serde_json::Value;
use tokio::process::Command;

/// Of `content` and a line feed.
const CONTENT: &str = "sha256:434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53";

/// A gateway that knows its names, jane's kit of it in `DIR/kit`, and a home that holds nothing.
struct Day {
    stage: Stage,
    began: Timestamp,
}

impl Day {
    async fn begins() -> Self {
        Self::with_a_phone_that_takes(Duration::ZERO).await
    }

    async fn with_a_phone_that_takes(phone_latency: Duration) -> Self {
        let setup = Setup { rules: Some(RULES.into()), phone_latency, ..Setup::default() };
        let stage = Stage::with("", setup).await;
        let dir = stage.door.path();
        let file = dir.join("policy/gateway.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("names = [\"127.0.0.1:{}\"]\n{text}", stage.door.port)).unwrap();
        stage.door.reload().await;
        std::fs::create_dir(dir.join("home")).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let mut convert = Command::new("puttygen");
        convert.args([&at("jane"), "-O", "private", "-o", &at("jane.ppk")]).env("PUTTYDIR", at("seed"));
        assert_eq!(ran(convert).await.code, 0);
        let mut kit = Command::new(env!("CARGO_BIN_EXE_pforte"));
        kit.args(["kit", JANE, "--config", &at("."), "--out", &at("kit"), "--identity", &at("jane")]);
        kit.args([
            "--control-dir",
            dir.to_str().unwrap(),
            "--ppk",
            &at("jane.ppk"),
            "--email",
            "jane.doe@firm.example",
        ]);
        let made = ran(kit).await;
        assert!(made.code == 0 && made.stdout.contains(HOST), "{made:?}");
        Self { stage, began: Timestamp::now() }
    }

    /// A program of hers, in `DIR`.
    async fn run(&self, program: impl AsRef<Path>, words: &[&str]) -> Ran {
        let dir = self.stage.door.path();
        let program = program.as_ref();
        let mut command =
            Command::new(if program.starts_with("kit") { dir.join(program) } else { program.to_owned() });
        command.args(words).current_dir(dir).stdin(std::process::Stdio::null()).kill_on_drop(true);
        command.env("HOME", dir.join("home")).env("LANG", "C").env_remove("SSH_AUTH_SOCK");
        command.env("PUTTYDIR", dir.join("kit/putty"));
        // Ansible asks for no file of the machine's either.
        command.env("ANSIBLE_CONFIG", dir.join("no-ansible.cfg")).env("ANSIBLE_NOCOLOR", "1");
        ran(command).await
    }

    /// At the machine.
    fn there(&self, name: &str) -> PathBuf {
        self.stage.sshd.path().join(name)
    }

    /// Where scp, sftp and rsync find it.
    fn target(&self, name: &str) -> String {
        format!("{HOST}:{}", self.there(name).display())
    }

    fn here(&self, name: &str) -> PathBuf {
        self.stage.door.path().join(name)
    }

    /// The journal has this command begun and ended, by jane, today, at the machine; gives the last line.
    async fn is_on_record(&self, command: &str) -> Value {
        let is_it = |line: &&Value| line["command"].as_str().is_some_and(|c| c.contains(command));
        for _ in 0..500 {
            let lines = self.stage.door.journal();
            let finished = lines.iter().filter(is_it).find(|line| line["event"] == "finished");
            if let Some(finished) = finished {
                let started = lines.iter().filter(is_it).find(|line| line["event"] == "started").unwrap();
                for line in [started, finished] {
                    assert_eq!((&line["user"], &line["firm"]), (&JANE.into(), &"firm".into()), "{line}");
                    assert_eq!(
                        (&line["site"], &line["target"]),
                        (&"praxis-mueller".into(), &"host/backup".into())
                    );
                    let time: Timestamp = line["time"].as_str().unwrap().parse().unwrap();
                    assert!(self.began <= time && time <= Timestamp::now(), "{line}");
                }
                return finished.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no finished line of {command:?}: {:#?}", self.stage.door.journal());
    }

    /// The program; its inventory is in `DIR/inventory`.
    fn ansible(&self) -> PathBuf {
        let venv = std::env::var("PFORTE_VENV")
            .expect("PFORTE_VENV names no Python environment; tests/run makes one");
        let way = format!("-F {} -J gateway", self.here("kit/ssh_config").display());
        let host =
            format!("{HOST} ansible_python_interpreter=/usr/bin/python3 ansible_ssh_common_args='{way}'\n");
        std::fs::write(self.here("inventory"), host).unwrap();
        Path::new(&venv).join("bin/ansible")
    }

    fn questions(&self) -> u64 {
        self.stage.door.phone.questions()
    }

    async fn ends(self) {
        // The shared connection outlives its first session.
        self.run("ssh", &["-F", "kit/ssh_config", "-O", "exit", "gateway"]).await;
        self.stage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_scp_sftp_rsync_and_bssh_work_by_the_kit_alone_with_one_approval_and_leave_their_lines() {
    let day = Day::begins().await;
    let known = std::fs::read_to_string(day.here("kit/known_hosts")).unwrap();

    let uname = day.run("ssh", &["-F", "kit/ssh_config", HOST, "uname -a"]).await;
    assert!(uname.code == 0 && uname.stdout.starts_with("Linux "), "{uname:?}");
    assert!(day.is_on_record("uname -a").await["recording"].is_null());

    let terminal = day.run("ssh", &["-tt", "-F", "kit/ssh_config", HOST, "tty; echo $EMAIL; exit 5"]).await;
    assert!(terminal.code == 5 && terminal.stdout.starts_with("/dev/pts/"), "{terminal:?}");
    assert!(terminal.stdout.contains("jane.doe@firm.example"), "{terminal:?}");
    let line = day.is_on_record("tty; echo $EMAIL").await;
    assert!(line["recording"].is_string() && line["exit"] == 5, "{line}");

    std::fs::write(day.here("file"), "content\n").unwrap();
    let scp = day.run("scp", &["-q", "-F", "kit/ssh_config", "file", &day.target("copied")]).await;
    assert_eq!(scp.code, 0, "{scp:?}");
    assert_eq!(std::fs::read_to_string(day.there("copied")).unwrap(), "content\n");
    day.is_on_record("subsystem sftp").await;
    let sftp = day.run("sftp", &["-q", "-F", "kit/ssh_config", &day.target("copied"), "fetched"]).await;
    assert_eq!(sftp.code, 0, "{sftp:?}");
    assert_eq!(std::fs::read_to_string(day.here("fetched")).unwrap(), "content\n");
    // One up, one down, beside what scp says of the file's size and mode.
    day.stage.door.wait_for("file", 3).await;
    let copied = day.there("copied").display().to_string();
    for change in ["upload", "download"] {
        let files = day.stage.door.events("file");
        let file = files.iter().find(|file| file["change"] == change).unwrap();
        assert_eq!((&file["user"], &file["path"]), (&JANE.into(), &copied.as_str().into()), "{file}");
        assert_eq!(file["sha256"], CONTENT, "{file}");
    }

    std::fs::create_dir(day.here("many")).unwrap();
    for n in 0..1000 {
        std::fs::write(day.here(&format!("many/{n}")), format!("file {n}\n").repeat(n % 40)).unwrap();
    }
    let configuration = day.run("kit/bssh", &["--print-config"]).await.stdout;
    let shell = format!("ssh -F {}", configuration.trim());
    let rsync = day.run("rsync", &["-a", "-e", &shell, "many/", &day.target("many/")]).await;
    assert_eq!(rsync.code, 0, "{rsync:?}");
    for n in 0..1000 {
        let name = format!("many/{n}");
        assert_eq!(std::fs::read(day.here(&name)).unwrap(), std::fs::read(day.there(&name)).unwrap());
    }
    day.is_on_record("rsync --server").await;

    let bssh = day.run("kit/bssh", &["praxis-mueller.example", "echo by $EMAIL; exit 9"]).await;
    assert_eq!((bssh.code, bssh.stdout.as_str()), (9, "by jane.doe@firm.example\n"), "{bssh:?}");
    day.is_on_record("exit 9").await;

    assert_eq!(
        (day.questions(), day.stage.door.events("login").len()),
        (1, 1),
        "one connection carried them all"
    );
    let ended = day.run("kit/bssh", &["-O", "exit"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let anew = day.run("kit/bssh", &["praxis-mueller.example", "true"]).await;
    assert!(anew.code == 0 && anew.stderr.contains("confirm on your phone"), "{anew:?}");
    assert_eq!(day.questions(), 2, "and the next one is asked about");
    assert_eq!(
        std::fs::read_to_string(day.here("kit/known_hosts")).unwrap(),
        known,
        "no client wrote into the kit"
    );
    assert_eq!(std::fs::read_dir(day.here("home")).unwrap().count(), 0, "nor beside it");
    day.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plink_runs_a_command_by_the_saved_session_and_by_the_one_for_old_putty() {
    let day = Day::begins().await;
    for (questions, session) in
        [(1, "Fernwartung praxis-mueller Backup"), (2, "Fernwartung praxis-mueller Backup (plink)")]
    {
        let command = format!("echo {questions} by $EMAIL");
        let plink = day.run("plink", &["-batch", "-load", session, &command]).await;
        let said = format!("{questions} by jane.doe@firm.example\n");
        assert_eq!((plink.code, plink.stdout), (0, said), "{}", plink.stderr);
        day.is_on_record(&command).await;
        assert_eq!(day.questions(), questions);
    }
    // A PuTTY that knows another key of the gateway's does not go on.
    let keys = day.here("kit/putty/sshhostkeys");
    std::fs::write(&keys, std::fs::read_to_string(&keys).unwrap().replace(":backup.", ":other.")).unwrap();
    std::fs::remove_dir_all(day.here("kit/putty/sshhostcas")).unwrap();
    let refused = day.run("plink", &["-batch", "-load", "Fernwartung praxis-mueller Backup", "true"]).await;
    assert!(refused.code == 1 && refused.stderr.contains("Cannot confirm a host key"), "{refused:?}");
    day.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ansible_pings_and_copies_through_the_jump_with_one_approval() {
    let day = Day::begins().await;
    let ansible = day.ansible();
    let ping = day.run(&ansible, &["all", "-i", "inventory", "-m", "ping"]).await;
    assert!(ping.code == 0 && ping.stdout.contains("\"ping\": \"pong\""), "{ping:?}");
    day.is_on_record("AnsiballZ_ping.py").await;
    std::fs::write(day.here("file"), "of the playbook\n").unwrap();
    let there = day.there("placed").display().to_string();
    let copy = format!("src={} dest={there} mode=0600", day.here("file").display());
    let copied = day.run(&ansible, &["all", "-i", "inventory", "-m", "copy", "-a", &copy]).await;
    assert!(copied.code == 0 && copied.stdout.contains("CHANGED"), "{copied:?}");
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "of the playbook\n");
    day.is_on_record("AnsiballZ_copy.py").await;
    assert_eq!((day.questions(), day.stage.door.events("login").len()), (1, 1));
    // Without the phone, neither.
    day.run("ssh", &["-F", "kit/ssh_config", "-O", "exit", "gateway"]).await;
    std::fs::remove_dir_all(day.here("home/.ansible")).unwrap();
    day.stage.door.phone_does("deny");
    let refused = day.run(&ansible, &["all", "-i", "inventory", "-m", "ping"]).await;
    assert!(refused.code == 4 && refused.stdout.contains("UNREACHABLE"), "{refused:?}");
    day.ends().await;
}

/// docs/hops.md says so.
#[tokio::test(flavor = "multi_thread")]
async fn ansible_waits_ten_seconds_for_the_phone_unless_it_is_told_to_wait_longer() {
    let day = Day::with_a_phone_that_takes(Duration::from_secs(12)).await;
    let ansible = day.ansible();
    let words = ["all", "-i", "inventory", "-m", "ping"];
    let early = day.run(&ansible, &words).await;
    assert!(early.code == 4 && early.stdout.contains("timed out during banner exchange"), "{early:?}");
    let patient = day.run(&ansible, &[&words[..], &["-T", "60"]].concat()).await;
    assert!(patient.code == 0 && patient.stdout.contains("pong"), "{patient:?}");
    day.ends().await;
}
