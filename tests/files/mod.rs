//! What the tests of SFTP on the gateway share: rules, a kept backup, real clients, and packets by hand.
//! Absent on purpose: any way to the vault but a client's, and its folder.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real clients; helpers of tests are tests"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::door::{Door, JANE, Ran, Setup, ran};

/// All that is about files, at the example's site.
pub const RULES: &str = r#"
[[rule]]
who = ["firm-jane.doe"]
may = ["konnektor backup", "konnektor backups", "konnektor show", "konnektor restore"]
on = ["praxis-mueller"]
"#;

/// A gateway with these rules, and one backup that jane has made; its path by SFTP, and its content as `konnektor show` has it.
pub async fn with_backup(setup: Setup) -> (Door, String, String) {
    let door = Door::open(setup).await;
    let made = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let name = made.stdout.split_whitespace().nth(1).unwrap().to_owned();
    let shown = door.ssh(&["konnektor", "show", "-f", &name]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    (door, format!("/praxis-mueller/main/{name}"), shown.stdout)
}

pub fn with_rules(rules: &str) -> Setup {
    Setup { rules: Some(rules.to_owned()), ..Setup::default() }
}

/// `sftp` or `scp`, with jane's key.
pub fn openssh(door: &Door, program: &str) -> Command {
    openssh_as(door, program, "jane")
}

fn openssh_as(door: &Door, program: &str, key: &str) -> Command {
    let mut client = Command::new(program);
    client.args(["-F", "none", "-P", &door.port.to_string(), "-i"]).arg(door.path().join(key));
    // sftp's -b says BatchMode=yes, with which ssh asks no phone; what is said first counts.
    client.args([
        "-o",
        "BatchMode=no",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "IdentityAgent=none",
        "-o",
        "HostKeyAlias=gateway",
        "-o",
    ]);
    client.arg(format!("UserKnownHostsFile={}", door.path().join("known_hosts").display()));
    client.current_dir(door.path()).stdin(Stdio::null()).kill_on_drop(true);
    client
}

/// OpenSSH's sftp with these lines; it stops at the first that fails, unless that begins with `-`.
pub async fn sftp(door: &Door, lines: &[&str]) -> Ran {
    sftp_as(door, JANE, "jane", lines).await
}

/// The same as anybody, with the private key `DIR/key`.
pub async fn sftp_as(door: &Door, user: &str, key: &str, lines: &[&str]) -> Ran {
    let batch = tempfile::NamedTempFile::new_in(door.path()).unwrap();
    std::fs::write(batch.path(), lines.join("\n") + "\n").unwrap();
    let mut client = openssh_as(door, "sftp", key);
    client.arg("-b").arg(batch.path()).arg(format!("{user}@127.0.0.1"));
    ran(client).await
}

/// Lines of a session's listing without the echo of the commands.
pub fn listed(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().filter(|line| !line.starts_with("sftp>")).map(str::trim).collect()
}

/// What the journal has of SFTP: event and command.
pub fn asked(door: &Door) -> Vec<(String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines = door.journal().into_iter().filter(|line| text(line, "command").starts_with("sftp "));
    lines.map(|line| (text(&line, "event"), text(&line, "command"))).collect()
}

/// Waits until nothing that was begun is without its last line.
pub async fn settled(door: &Door) {
    for _ in 0..1000 {
        let all = asked(door);
        let count = |event: &str| all.iter().filter(|(e, _)| e == event).count();
        if count("started") == count("finished") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something has no end: {:#?}", asked(door));
}

/// All that lies below a folder.
pub fn everything_below(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything_below(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            found.push((path.display().to_string(), content));
        }
    }
    found
}

/// Files of the gateway's that hold this text.
pub fn holding(door: &Door, text: &str) -> Vec<String> {
    let all = everything_below(&door.path().join("state"));
    let holds = |content: &[u8]| content.windows(text.len()).any(|window| window == text.as_bytes());
    all.into_iter().filter(|(_, content)| holds(content)).map(|(path, _)| path).collect()
}

/// SFTP by hand, over the system's ssh.
pub struct Hand {
    pub child: Child,
    pub to: ChildStdin,
    pub from: ChildStdout,
    number: u32,
}

/// One reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: u8,
    pub number: u32,
    pub body: Vec<u8>,
}

impl Reply {
    /// Of STATUS: its code.
    pub fn code(&self) -> u32 {
        assert_eq!(self.kind, 101, "{self:?}");
        u32::from_be_bytes(self.body[..4].try_into().unwrap())
    }

    /// Of STATUS: its sentence.
    pub fn sentence(&self) -> String {
        let length = u32::from_be_bytes(self.body[4..8].try_into().unwrap());
        String::from_utf8(self.body[8..8 + length as usize].to_vec()).unwrap()
    }

    /// Of HANDLE: as a field of a request.
    pub fn handle(&self) -> Vec<u8> {
        assert_eq!(self.kind, 102, "{}", String::from_utf8_lossy(&self.body));
        self.body.clone()
    }

    /// Of DATA.
    pub fn data(&self) -> &[u8] {
        assert_eq!(self.kind, 103, "{self:?}");
        &self.body[4..]
    }
}

pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

pub const READ: u32 = 1;
pub const WRITE: u32 = 0x1a;

impl Hand {
    /// The subsystem, nothing said yet.
    pub fn begin(door: &Door) -> Self {
        Self::over(door.ssh_command(JANE, "jane"))
    }

    /// The same over an ssh with everything but its host.
    pub fn over(mut ssh: Command) -> Self {
        ssh.args(["-s", "127.0.0.1", "sftp"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = ssh.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from, number: 0 }
    }

    /// The same, greeted.
    pub async fn open(door: &Door) -> Self {
        let mut hand = Self::begin(door);
        hand.greet().await;
        hand
    }

    /// INIT and VERSION.
    pub async fn greet(&mut self) {
        self.raw(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await;
        let version = self.reply().await.unwrap();
        assert_eq!((version.kind, version.number), (2, 3));
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).await.unwrap();
    }

    /// Sends a request; gives its number.
    pub async fn send(&mut self, kind: u8, fields: &[&[u8]]) -> u32 {
        self.number += 1;
        let body = fields.concat();
        let length = u32::try_from(body.len() + 5).unwrap().to_be_bytes();
        let packet = [&length[..], &[kind], &self.number.to_be_bytes(), &body].concat();
        self.raw(&packet).await;
        self.number
    }

    /// The next reply; `None` if the channel has ended.
    pub async fn reply(&mut self) -> Option<Reply> {
        let reply = async {
            let length = self.from.read_u32().await.ok()?;
            let mut packet = vec![0; length as usize];
            self.from.read_exact(&mut packet).await.ok()?;
            let number = u32::from_be_bytes(packet[1..5].try_into().unwrap());
            Some(Reply { kind: packet[0], number, body: packet[5..].to_vec() })
        };
        tokio::time::timeout(Duration::from_mins(1), reply).await.expect("no reply")
    }

    /// A request and its reply.
    pub async fn ask(&mut self, kind: u8, fields: &[&[u8]]) -> Reply {
        let number = self.send(kind, fields).await;
        let reply = self.reply().await.expect("the channel has ended");
        assert_eq!(reply.number, number);
        reply
    }

    pub async fn open_file(&mut self, path: impl AsRef<[u8]>, flags: u32) -> Reply {
        self.ask(3, &[&text(path), &flags.to_be_bytes(), &[0; 4]]).await
    }

    pub async fn read(&mut self, handle: &[u8], offset: u64, len: u32) -> Reply {
        self.ask(5, &[handle, &offset.to_be_bytes(), &len.to_be_bytes()]).await
    }

    pub async fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Reply {
        self.ask(6, &[handle, &offset.to_be_bytes(), &text(data)]).await
    }

    pub async fn close(&mut self, handle: &[u8]) -> Reply {
        self.ask(4, &[handle]).await
    }

    /// Hands a whole file in; the reply to CLOSE.
    pub async fn upload(&mut self, path: &str, content: &[u8]) -> Reply {
        let handle = self.open_file(path, WRITE).await.handle();
        for (n, piece) in content.chunks(32 << 10).enumerate() {
            assert_eq!(self.write(&handle, (n * (32 << 10)) as u64, piece).await.code(), 0);
        }
        self.close(&handle).await
    }

    /// EOF; the exit code of the session.
    pub async fn end(mut self) -> i32 {
        drop(self.to);
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_mins(1), self.child.wait()).await;
        ended.expect("ssh hangs").unwrap().code().unwrap_or(-1)
    }
}
