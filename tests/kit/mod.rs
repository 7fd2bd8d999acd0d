//! A configuration with hosts to go on to, and the kit that is made of it.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real programs; helpers of tests are tests"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pforte::init::{Start, make_key};
use pforte::random::Random;
use tempfile::TempDir;
use tokio::process::Command;

pub const JANE: &str = "firm-jane.doe";
pub const DOMAIN: &str = "praxis-mueller.example";
pub const RULES: &str =
    "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop portal\", \"hop backup\"]\non = [\"*\"]\n";
pub const HOSTS: &str =
    "\n[hosts.portal]\naddress = \"10.0.0.1:22\"\n\n[hosts.backup]\naddress = \"10.0.0.2:22\"\n";

/// `DIR/gateway` is a configuration, `DIR/kit` will be a kit of it, `DIR/jane` jane's key.
pub struct Workshop(pub TempDir);

impl Workshop {
    /// A gateway with these public names.
    pub fn new(names: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut start = Start::example(&Random::system());
        start.gateway = format!("names = [{names}]\n{}", start.gateway);
        start.rules = RULES.into();
        start.site += HOSTS;
        start.konnektor_password = "not-used".into();
        start.write(&dir.path().join("gateway")).unwrap();
        let jane = make_key(&dir.path().join("jane"), JANE).unwrap().public_key().to_openssh().unwrap();
        std::fs::write(dir.path().join(format!("gateway/keys/{JANE}.pub")), jane + "\n").unwrap();
        Self(dir)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    pub fn text(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap_or_else(|e| panic!("{below}: {e}"))
    }

    /// Changes a file of the configuration.
    pub fn change(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = format!("gateway/{file}");
        std::fs::write(self.path(&path), change(self.text(&path))).unwrap();
    }

    /// `pforte` with these words, run in `DIR`.
    pub async fn pforte(&self, words: &[&str]) -> Ran {
        let mut pforte = Command::new(env!("CARGO_BIN_EXE_pforte"));
        pforte.args(words).current_dir(self.0.path()).env("NO_COLOR", "1");
        ran(pforte).await
    }

    /// `pforte kit firm-jane.doe --out kit`, with sockets in `DIR` and jane's own key; must succeed.
    pub async fn kit(&self, more: &[&str]) -> Ran {
        let (dir, identity) = (self.0.path().to_str().unwrap(), self.path("jane"));
        let words = ["kit", JANE, "--out", "kit", "--config", "gateway", "--control-dir", dir, "--identity"];
        let made = self.pforte(&[&words[..], &[identity.to_str().unwrap()], more].concat()).await;
        assert_eq!(made.code, 0, "{made:?}");
        made
    }

    /// `pforte kit --check kit`.
    pub async fn check(&self) -> Ran {
        self.pforte(&["kit", "--check", "kit", "--config", "gateway"]).await
    }

    /// A program with these arguments, which must succeed; its output.
    pub async fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut tool = Command::new(program);
        tool.args(arguments).current_dir(self.0.path());
        let ran = ran(tool).await;
        assert_eq!(ran.code, 0, "{program} {arguments:?}: {ran:?}");
        ran.stdout
    }
}

/// Type and base64 of a public key's line.
pub fn bare(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end without input, at most a minute.
pub async fn ran(mut command: Command) -> Ran {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), command.output());
    let output = output.await.expect("it hangs").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every file below a folder, by its path there.
pub fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
