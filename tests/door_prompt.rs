//! The prompt as a person has it: the system's ssh on a real terminal, and what the screen then shows.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use door::{Door, JANE, Setup};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// ssh on a pseudo-terminal, and the screen that its output makes.
struct Terminal {
    ssh: Child,
    keyboard: File,
    output: mpsc::Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

fn side(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap()
}

fn winsize(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Logged in, with the prompt on the screen.
    async fn open(door: &Door, lang: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(24, 80)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || {
            let path = std::ffi::OsStr::from_bytes(name.as_bytes());
            File::options().read(true).write(true).open(path).unwrap()
        };
        // setsid makes it ssh's controlling terminal, which is where a resize is told.
        let mut ssh = Command::new("setsid");
        let plain = door.ssh_command(JANE, "jane");
        ssh.args(["-c", "ssh", "-tt", "-o", "SendEnv=LANG"]).args(plain.as_std().get_args()).arg("127.0.0.1");
        ssh.env("TERM", "xterm-256color").env_remove("LC_ALL").env("LANG", lang);
        ssh.stdin(slave()).stdout(slave()).stderr(slave()).kill_on_drop(true);
        let child = ssh.spawn().unwrap();
        drop(ssh);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, output) = mpsc::channel(64);
        std::thread::spawn(move || {
            let mut piece = vec![0; 4096];
            // EIO once ssh has gone.
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                if sender.blocking_send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(side(24), side(80), 1000);
        let mut terminal = Self { ssh: child, keyboard, output, screen, raw: Vec::new() };
        terminal.until("the prompt", |screen| screen.trim_end().ends_with("pforte>")).await;
        terminal
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&mut self, rows: u16, cols: u16) {
        self.screen.screen_mut().set_size(side(rows), side(cols));
        tcsetwinsize(&self.keyboard, winsize(rows, cols)).unwrap();
    }

    /// Reads until the screen's text is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.until_screen(what, |screen| wanted(&screen.contents())).await
    }

    async fn until_screen(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        loop {
            let shown = self.screen.screen().contents();
            if wanted(self.screen.screen()) {
                return shown;
            }
            match tokio::time::timeout(Duration::from_secs(20), self.output.recv()).await {
                Ok(Some(piece)) => {
                    self.raw.extend(&piece);
                    self.screen.process(&piece);
                }
                Ok(None) | Err(_) => panic!("{what} does not come:\n{shown}"),
            }
        }
    }

    /// Enters a line and waits for the next prompt on an empty line; gives what stands between the two.
    async fn enter(&mut self, line: &str) -> String {
        self.press("\x0c");
        self.until("an empty screen", |screen| screen.trim_end() == "pforte>").await;
        self.press(&format!("{line}\r"));
        let line = line.to_owned();
        let shown = self
            .until(&line, |screen| {
                let mut lines = screen.trim_end().lines();
                lines.next_back() == Some("pforte>") && lines.next().is_some()
            })
            .await;
        let mut lines: Vec<&str> = shown.trim_end().lines().skip(1).collect();
        lines.pop();
        lines.join("\n")
    }

    /// ssh's exit code, and what the screen held at last.
    async fn end(mut self) -> (i32, String) {
        let status = tokio::time::timeout(Duration::from_secs(20), self.ssh.wait()).await;
        let status = status.expect("ssh stays").unwrap();
        while let Ok(Some(piece)) = tokio::time::timeout(Duration::from_secs(1), self.output.recv()).await {
            self.screen.process(&piece);
        }
        (status.code().unwrap_or(-1), self.screen.screen().contents())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_greeted_helped_remembered_and_let_go() {
    let door = Door::open(Setup::default()).await;
    let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
    let shown = terminal.screen.screen().contents();
    assert!(shown.contains("firm-jane.doe: help shows what there is, Ctrl-D leaves."), "{shown}");
    assert!(shown.contains("Confirm on your phone."), "{shown}");

    let help = terminal.enter("help konnektor").await;
    assert!(help.contains("konnektor backup [-i SITE[/KONNEKTOR]] [-f FILE|-]"), "{help}");
    let whoami = terminal.enter("whoami").await;
    assert!(whoami.starts_with("user: firm-jane.doe\nfirm: firm\n"), "{whoami}");
    // Twice up is help; down and enter is whoami again.
    terminal.press("\x1b[A\x1b[A");
    terminal
        .until("help from the history", |screen| screen.trim_end().ends_with("pforte> help konnektor"))
        .await;
    terminal.press("\x1b[B\r");
    terminal.until("whoami again", |screen| screen.matches("user: firm-jane.doe").count() == 2).await;
    // Tab completes what the table holds.
    terminal.press("konnektor li\t");
    terminal.until("a completion", |screen| screen.trim_end().ends_with("pforte> konnektor list")).await;
    terminal.press("\r");
    terminal.until("the list", |screen| screen.contains("praxis-mueller/main")).await;
    terminal.until("the prompt", |screen| screen.trim_end().ends_with("pforte>")).await;
    terminal.press("exit\r");
    let (code, _) = terminal.end().await;
    assert_eq!(code, 0);
    assert_eq!(door.phone.questions(), 1, "one push a connection");
    let commands: Vec<String> =
        door.events("started").iter().map(|l| l["command"].as_str().unwrap().into()).collect();
    assert_eq!(commands, ["help konnektor", "whoami", "whoami", "konnektor list"]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_running_backup_and_the_journal_has_its_end() {
    let door = Door::open(Setup { box_latency: Duration::from_millis(300), ..Setup::default() }).await;
    let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
    terminal.press("konnektor backup\r");
    door.wait_for("started", 1).await;
    while door.konnektor.requests().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    terminal.press("\x03");
    terminal
        .until("the next prompt", |screen| screen.contains("^C") && screen.trim_end().ends_with("pforte>"))
        .await;
    let finished = door.wait_for("finished", 1).await;
    assert_eq!(finished[0]["command"], "konnektor backup");
    assert_ne!(finished[0]["exit"], 0, "{}", finished[0]);
    assert!(finished[0]["cause"].is_string(), "{}", finished[0]);
    let requests = door.konnektor.requests().len();
    assert!(requests < 19, "it was in the middle: {requests}");
    // Nothing goes on behind it, and the prompt works on.
    let listed = terminal.enter("konnektor backups").await;
    assert!(listed.contains("Nothing is kept of praxis-mueller/main yet."), "{listed}");
    assert_eq!(door.konnektor.requests().len(), requests);
    // Ctrl-C on a line half typed drops that line.
    terminal.press("konnektor back\x03");
    terminal.until("an empty line", |screen| screen.trim_end().ends_with("^C\npforte>")).await;
    terminal.press("\x04");
    assert_eq!(terminal.end().await.0, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_d_leaves_with_the_last_commands_exit_code() {
    let door = Door::open(Setup::default()).await;
    for (line, code) in [("whoami", 0), ("konnektor backup; id", 64), ("konnektor backup -i nowhere", 77)] {
        let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
        let said = terminal.enter(line).await;
        assert!(!said.is_empty());
        terminal.press("\x04");
        assert_eq!(terminal.end().await.0, code, "{line}");
    }
    let refused = door.wait_for("refused", 2).await;
    assert_eq!(refused[0]["command"], "konnektor backup; id");
    assert!(door.konnektor.requests().is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_beyond_ascii_are_shown_and_refused_politely() {
    let door = Door::open(Setup::default()).await;
    let mut terminal = Terminal::open(&door, "de_DE.UTF-8").await;
    let shown = terminal.screen.screen().contents();
    assert!(shown.contains("help zeigt, was es gibt; Strg-D beendet."), "{shown}");
    let said = terminal.enter("konnektor sichern größe").await;
    assert!(
        said.replace('\n', "").contains("der Befehl enthält andere Zeichen als einfache Buchstaben"),
        "{said}"
    );
    let refused = door.wait_for("refused", 1).await;
    assert_eq!(refused[0]["command"], "konnektor sichern größe");
    assert_eq!(refused[0]["cause"], "characters");
    let whoami = terminal.enter("whoami").await;
    assert!(whoami.starts_with("Benutzer: firm-jane.doe"), "{whoami}");
    terminal.press("\x04");
    assert_eq!(terminal.end().await.0, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paste_with_line_ends_runs_nothing_unseen() {
    let door = Door::open(Setup::default()).await;
    let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
    // The gateway has switched bracketed pastes on, so this is how a terminal sends one.
    let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(raw.contains("\x1b[?2004h"), "{raw:?}");
    terminal.press("\x1b[200~whoami\rkonnektor backup\r\x1b[201~");
    terminal
        .until("the paste in one line", |screen| screen.contains("pforte> whoami konnektor backup"))
        .await;
    assert!(door.events("started").is_empty(), "nothing has run");
    terminal.press("\x03");
    terminal.until("an empty line", |screen| screen.trim_end().ends_with("pforte>")).await;
    let whoami = terminal.enter("whoami").await;
    assert!(whoami.starts_with("user: firm-jane.doe"), "{whoami}");
    assert_eq!(door.events("started").len(), 1);
    assert!(door.konnektor.requests().is_empty());
    terminal.press("\x04");
    assert_eq!(terminal.end().await.0, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_survives_a_resize_of_the_window() {
    let door = Door::open(Setup::default()).await;
    let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
    terminal.press("konnektor show -i praxis-mueller/main");
    terminal.until("the line", |screen| screen.contains("show -i praxis-mueller/main")).await;
    terminal.resize(10, 30);
    terminal.press(" -f 2026-01-02-03-04.json");
    let whole = "konnektor show -i praxis-mueller/main -f 2026-01-02-03-04.json";
    terminal
        .until("the whole line in thirty columns", |screen| screen.replace('\n', "").contains(whole))
        .await;
    // Home finds the line's beginning two rows up, which only somebody who knows the width can.
    terminal.press("\x01");
    let at_home = |screen: &vt100::Screen| {
        let (row, column) = screen.cursor_position();
        column == 8 && screen.rows(0, 30).nth(row.into()).is_some_and(|text| text.starts_with("pforte> konn"))
    };
    terminal.until_screen("the cursor at the beginning", at_home).await;
    terminal.press("\r");
    terminal.until("the next prompt", |screen| screen.trim_end().ends_with("pforte>")).await;
    let started = door.wait_for("started", 1).await;
    assert_eq!(started[0]["command"], whole);
    terminal.press("\x04");
    assert_eq!(terminal.end().await.0, 64, "there is no such backup");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_at_the_prompt_shows_a_bar_and_then_its_table() {
    let door = Door::open(Setup::default()).await;
    let mut terminal = Terminal::open(&door, "en_US.UTF-8").await;
    let shown = terminal.enter("konnektor backup").await;
    assert_eq!(shown.lines().filter(|line| line.contains('\t') || !line.is_empty()).count(), 20, "{shown}");
    assert!(shown.starts_with("praxis-mueller/main 20"), "{shown}");
    assert!(String::from_utf8_lossy(&terminal.raw).contains("[###################]"));
    terminal.ssh.kill().await.unwrap();
    // Whoever closes the window is written down as gone.
    let finished = door.wait_for("finished", 2).await;
    assert_eq!((&finished[0]["exit"], &finished[0]["command"]), (&json!(0), &json!("konnektor backup")));
    assert_eq!(finished[1].get("command"), None::<&Value>);
    door.close().await;
}
