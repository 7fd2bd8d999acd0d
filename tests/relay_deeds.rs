//! What is done in a relayed session is on record: commands, typed lines, files, scripts; and what was not echoed is not.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::load;
use crate::machine;

use std::process::Stdio;

use door::{JANE, ran};
use machine::{HOST, Stage};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Types these lines into `ssh -tt HOST`, each once the screen shows what goes before it; gives what the screen showed.
async fn typing(stage: &Stage, steps: &[(&str, &str)], command: &[&str]) -> String {
    typing_at(stage, HOST, steps, command).await
}

async fn typing_at(stage: &Stage, host: &str, steps: &[(&str, &str)], command: &[&str]) -> String {
    let steps = serde_json::to_string(steps).unwrap();
    let mut words: Vec<String> = ["ssh", "-tt", "-F"].map(ToOwned::to_owned).to_vec();
    words.extend([stage.config.display().to_string(), host.to_owned()]);
    words.extend(command.iter().map(ToString::to_string));
    let script = "import pty,os,json,sys,select,time,fcntl,termios,struct\n\
         steps=json.loads(sys.argv[1]); words=json.loads(sys.argv[2])\n\
         pid,fd=pty.fork()\n\
         if pid==0: os.environ['TERM']='xterm'; os.execvp(words[0],words)\n\
         fcntl.ioctl(fd,termios.TIOCSWINSZ,struct.pack('HHHH',24,80,0,0))\n\
         out=b''; at=0; end=time.time()+60\n\
         def more():\n\
         \x20 global out\n\
         \x20 if select.select([fd],[],[],0.1)[0]: out+=os.read(fd,65536)\n\
         \x20 if time.time()>end: print(out.decode(errors='replace')); sys.exit('late')\n\
         try:\n\
         \x20 for wait,keys in steps:\n\
         \x20   while wait.encode() not in out[at:]: more()\n\
         \x20   at=len(out); time.sleep(0.15); os.write(fd,keys.encode())\n\
         \x20 while True: more()\n\
         except OSError: pass\n\
         print(out.decode(errors='replace'))\n";
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", script, &steps, &serde_json::to_string(&words).unwrap()]).kill_on_drop(true);
    let ran = ran(python).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

/// What `pforte play --export -` gives of the session's only recording.
async fn played(stage: &Stage, name: &str) -> String {
    let mut pforte = tokio::process::Command::new(env!("CARGO_BIN_EXE_pforte"));
    let which = name.split_once('/').unwrap().1.replace('-', "/");
    pforte.args(["play", &which, "--export", "-", "--config"]).arg(stage.door.path());
    let exported = ran(pforte).await;
    assert_eq!(exported.code, 0, "{exported:?}");
    exported.stdout
}

fn inputs(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|l| (l["command"].as_str().unwrap(), l["obtained"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_lines_are_journalled_and_a_password_is_nowhere() {
    let stage = Stage::set("").await;
    let secret = "Ganz+Geheim-4711";
    let steps = [
        ("$ ", "echo eins\r"),
        ("eins\r\n", "echo zwo\x7f\x7fwei\r"),
        ("zwei\r\n", "read -s -p 'Passwort: ' x; echo; echo hat ${#x}\r"),
        ("Passwort: ", &format!("{secret}\r")),
        ("hat 16", "exit 3\r"),
    ];
    let shown = typing(&stage, &steps, &["PS1='$ ' exec bash --norc --noprofile"]).await;
    assert!(shown.contains("hat 16"), "{shown}");
    let finished = stage.door.wait_for("finished", 3).await;
    let line = finished.iter().find(|l| l["recording"].is_string()).unwrap();
    assert_eq!((&line["exit"], &line["user"]), (&3.into(), &JANE.into()));
    let typed = stage.door.events("input");
    let lines = inputs(&typed);
    assert_eq!(lines[0], ("echo eins", "screen"), "{lines:?}");
    assert_eq!(lines[1], ("echo zwei", "screen"), "{lines:?}");
    assert!(lines.iter().any(|(l, _)| l.starts_with("read -s -p")), "{lines:?}");
    assert!(lines.iter().any(|(l, _)| *l == "exit 3"), "{lines:?}");
    assert!(
        typed
            .iter()
            .all(|l| l["site"] == "praxis-mueller" && l["user"] == JANE && l["recording"].is_string())
    );
    let cast = played(&stage, line["recording"].as_str().unwrap()).await;
    assert!(cast.contains("eins") && cast.contains("hat 16"), "{cast}");
    let journal: String = stage.door.journal().iter().map(ToString::to_string).collect();
    assert!(!cast.contains(secret) && !journal.contains(secret));
    let file =
        stage.door.path().join(format!("state/recordings/{}.rec", line["recording"].as_str().unwrap()));
    assert_eq!(line["sha256"], hash(&std::fs::read(file).unwrap()));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_journalled_with_path_direction_size_and_hash() {
    let stage = Stage::set("").await;
    let content = load::block(3);
    let (here, there) = (stage.door.path().join("here"), stage.sshd.path().join("there"));
    std::fs::write(&here, &content).unwrap();
    for options in [vec![], vec!["-O"]] {
        let mut scp = stage.command("scp");
        scp.args(&options).arg("-q").arg(&here).arg(format!("{HOST}:{}", there.display()));
        assert_eq!(ran(scp).await.code, 0);
        let mut scp = stage.command("scp");
        scp.args(&options)
            .arg("-q")
            .arg(format!("{HOST}:{}", there.display()))
            .arg(stage.door.path().join("back"));
        assert_eq!(ran(scp).await.code, 0);
    }
    let files = stage.door.wait_for("file", 4).await;
    let moved: Vec<&Value> = files.iter().filter(|l| l["sha256"].is_string()).collect();
    assert_eq!(moved.len(), 4, "{files:#?}");
    for (line, change) in moved.iter().zip(["upload", "download", "upload", "download"]) {
        assert_eq!(line["change"], change);
        assert_eq!(line["bytes"], content.len());
        assert_eq!(line["sha256"], hash(&content));
        assert_eq!((&line["user"], &line["site"]), (&JANE.into(), &"praxis-mueller".into()));
        let path = if change == "upload" && line["to"].is_string() { &line["to"] } else { &line["path"] };
        assert_eq!(path, &Value::from(there.display().to_string()), "{line}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_are_a_thousand_lines() {
    let stage = Stage::set("").await;
    let many = stage.door.path().join("many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..1000 {
        std::fs::write(many.join(format!("{n}")), format!("{n}\n")).unwrap();
    }
    let mut scp = stage.command("scp");
    scp.args(["-q", "-r"]).arg(&many).arg(format!("{HOST}:{}", stage.sshd.path().join("many").display()));
    assert_eq!(ran(scp).await.code, 0);
    let files = stage.door.wait_for("file", 1000).await;
    let uploads: std::collections::BTreeSet<&str> =
        files.iter().filter(|l| l["change"] == "upload").map(|l| l["path"].as_str().unwrap()).collect();
    assert_eq!(uploads.len(), 1000);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_on_standard_input_is_kept_with_its_hash() {
    let stage = Stage::set("").await;
    let script = "echo from the script\nexit 4\n";
    let mut ssh = stage.command("ssh");
    ssh.args(["-T", HOST]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(4));
    let typed = stage.door.wait_for("input", 1).await;
    assert_eq!(inputs(&typed), [(script, "script")]);
    assert_eq!(typed[0]["sha256"], hash(script.as_bytes()));
    assert!(played(&stage, typed[0]["recording"].as_str().unwrap()).await.contains("from the script"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_recorded_does_not_start() {
    let stage = Stage::set("").await;
    // A file where the day's folder would be made.
    let folder = stage.door.path().join("state/recordings");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    let mut ssh = stage.command("ssh");
    ssh.args(["-tt", HOST, "echo never"]);
    let refused = ran(ssh).await;
    assert_eq!(refused.code, 254, "{refused:?}");
    assert!(
        !refused.stdout.contains("never") && refused.stdout.contains("cannot be recorded"),
        "{refused:?}"
    );
    let finished = stage.door.wait_for("finished", 3).await;
    let line = finished.iter().find(|l| l["command"] == "echo never").unwrap();
    assert!(line["cause"].as_str().unwrap().starts_with("cannot-record"), "{line}");
    // What has no terminal is written down elsewhere, and goes on.
    assert_eq!(stage.ssh(&["true"]).await.code, 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_mebibytes_of_text_on_a_terminal_end_with_their_code() {
    let stage = Stage::set("").await;
    std::fs::write(
        stage.sshd.path().join("text"),
        "Zeile mit etwas Text darin, immer wieder.\n".repeat(1_500_000),
    )
    .unwrap();
    let mut ssh = stage.command("ssh");
    ssh.args(["-tt", HOST, &format!("cat {}; exit 9", stage.sshd.path().join("text").display())])
        .stdout(Stdio::piped());
    let output =
        tokio::time::timeout(std::time::Duration::from_secs(90), ssh.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(9));
    // A terminal makes CR LF of each line feed.
    assert_eq!(output.stdout.len(), 1_500_000 * 43);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_prompt_a_recorded_shell_opens_and_the_prompt_is_there_again() {
    let stage = Stage::set("").await;
    let steps = [
        ("pforte> ", "connect backup\r"),
        ("# ", "export PS1='$ '; stty size\r"),
        ("24 80", "echo dort\r"),
        ("dort\r\n", "exit 5\r"),
        ("pforte> ", "whoami\r"),
        ("user: firm-jane.doe", "exit\r"),
    ];
    let shown = typing_at(&stage, "gateway", &steps, &[]).await;
    assert!(shown.contains("user: firm-jane.doe"), "{shown}");
    let typed = stage.door.events("input");
    let lines = inputs(&typed);
    assert!(lines.contains(&("echo dort", "screen")) && lines.contains(&("exit 5", "screen")), "{lines:?}");
    let finished = stage.door.wait_for("finished", 4).await;
    let shell = finished.iter().find(|l| l["recording"].is_string()).unwrap();
    assert_eq!((&shell["exit"], &shell["target"]), (&5.into(), &"host/backup".into()));
    let started = stage.door.events("started");
    assert!(
        started.iter().any(|l| l["command"] == "connect backup" && l["target"] == "host/backup"),
        "{started:#?}"
    );
    assert_eq!(stage.door.phone.questions(), 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_where_no_rule_or_no_terminal_is() {
    let stage = Stage::set("").await;
    let at_gateway = async |words: &[&str]| {
        let mut ssh = stage.command("ssh");
        ssh.arg("gateway").args(words);
        ran(ssh).await
    };
    let plain = at_gateway(&["connect backup -i praxis-mueller"]).await;
    assert_eq!(plain.code, 64, "{plain:?}");
    assert!(plain.stderr.contains("wants a terminal"), "{plain:?}");
    let mut portal = stage.command("ssh");
    portal.args(["-tt", "gateway", "connect portal -i praxis-mueller"]);
    let portal = ran(portal).await;
    assert_eq!(portal.code, 77, "{portal:?}");
    let mut nowhere = stage.command("ssh");
    nowhere.args(["-tt", "gateway", "connect backup -i praxis-nowhere"]);
    let nowhere = ran(nowhere).await;
    assert_eq!(nowhere.code, 77, "{nowhere:?}");
    assert_eq!(
        portal.stdout.replace("portal", "backup").replace("praxis-mueller", "praxis-nowhere"),
        nowhere.stdout,
        "unknown and forbidden look the same"
    );
    assert_eq!(stage.sshd.connections(), 0);
    stage.close().await;
}
