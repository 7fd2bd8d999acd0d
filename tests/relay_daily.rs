//! A technician's day through the inner session, with the programs they use, at a real sshd.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::load;
use crate::machine;

use std::process::Stdio;
use std::time::Duration;

use door::{JANE, ran};
use machine::{HOST, Stage};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_and_its_words_and_code_come_back_and_are_in_the_journal() {
    let stage = Stage::set("").await;
    let ran = stage.ssh(&["echo out; echo err >&2; exit 7"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "out\n"), "{ran:?}");
    assert!(ran.stderr.contains("err\n"), "{ran:?}");
    assert_eq!(stage.door.phone.questions(), 1, "one approval");
    let finished = stage.door.wait_for("finished", 3).await;
    let command = finished.iter().find(|l| l["command"] == "echo out; echo err >&2; exit 7").unwrap();
    assert_eq!(command["user"], JANE);
    assert_eq!((&command["site"], &command["target"]), (&"praxis-mueller".into(), &"host/backup".into()));
    assert_eq!((&command["exit"], &command["bytes_out"]), (&7.into(), &8.into()));
    let started = stage.door.events("started");
    assert!(
        started.iter().any(|l| l["command"] == "direct-tcpip backup.praxis-mueller.example:22"),
        "{started:#?}"
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_comes_back_and_output_comes_before_it() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    for code in 0..=255 {
        let ran = ran(stage.over(&master, &[&format!("echo {code}; exit {code}")])).await;
        assert_eq!((ran.code, ran.stdout.trim()), (code, code.to_string().as_str()), "{ran:?}");
    }
    assert_eq!(stage.door.phone.questions(), 1, "one approval for all of them");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_short_commands_lose_no_line_of_their_output() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    // Many at once, as Ansible does.
    for _ in 0..50 {
        let runs = (0..20).map(|n| ran(stage.over(&master, &[format!("seq 1 200; echo end {n}; exit {n}")])));
        for (n, ran) in futures::future::join_all(runs).await.into_iter().enumerate() {
            let n = i32::try_from(n).unwrap();
            assert_eq!(ran.code, n, "{ran:?}");
            assert!(ran.stdout.ends_with(&format!("200\nend {n}\n")), "{ran:?}");
        }
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_the_host_is_told() {
    let stage = Stage::set("").await;
    let ran = stage.ssh(&["kill -9 $$"]).await;
    // OpenSSH's client answers an exit-signal with 255.
    assert_eq!(ran.code, 255, "{ran:?}");
    let finished = stage.door.wait_for("finished", 3).await;
    let line = finished.iter().find(|l| l["command"] == "kill -9 $$").unwrap();
    assert!(line["cause"].as_str().unwrap().contains("KILL"), "{line}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_every_kind_pass_and_so_do_long_lines() {
    let stage = Stage::set("").await;
    let bytes: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
    let mut ssh = stage.command("ssh");
    ssh.args([HOST, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let sent = bytes.clone();
    tokio::spawn(async move { to.write_all(&sent).await.unwrap() });
    let output = child.wait_with_output().await.unwrap();
    assert!(output.stdout == bytes);
    // As long as Linux lets one argument be.
    let long = "x".repeat(100_000);
    let ran = stage.ssh(&[&format!("printf %s {long} | wc -c; head -c 200000 /dev/zero | tr '\\0' y")]).await;
    assert_eq!(ran.stdout, format!("100000\n{}", "y".repeat(200_000)), "{}", ran.stderr);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn language_and_mail_address_pass_and_nothing_else_does() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.env("LANG", "de_DE.UTF-8")
        .env("EMAIL", "jane@firm.example")
        .env("LC_TIME", "C")
        .env("LD_PRELOAD", "x");
    ssh.args(["-o", "SendEnv=LD_PRELOAD", HOST, "echo $LANG $EMAIL $LC_TIME .$LD_PRELOAD."]);
    let ran = ran(ssh).await;
    assert_eq!(ran.stdout.trim(), "de_DE.UTF-8 jane@firm.example C ..", "{ran:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_its_size_and_follows_it() {
    let stage = Stage::set("").await;
    let script = format!(
        "import pty,os,fcntl,termios,struct,time,sys,signal\n\
         pid,fd=pty.fork()\n\
         if pid==0: os.execvp('ssh',['ssh','-tt','-F','{}','{HOST}','stty size; read x; stty size; exit 5'])\n\
         def size(r,c): fcntl.ioctl(fd,termios.TIOCSWINSZ,struct.pack('HHHH',r,c,0,0))\n\
         size(33,111)\n\
         out=b''\n\
         while b'111' not in out and len(out)<4000: out+=os.read(fd,1000)\n\
         for n in range(300): size(20+n%20,80+n%50)\n\
         size(44,122); time.sleep(0.5)\n\
         os.write(fd,b'\\n')\n\
         try:\n\
         \x20 while True: out+=os.read(fd,1000)\n\
         except OSError: pass\n\
         print(out.decode(), os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\n",
        stage.config.display()
    );
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", &script]).kill_on_drop(true);
    let ran = ran(python).await;
    assert!(ran.stdout.contains("33 111") && ran.stdout.contains("44 122"), "{ran:?}");
    assert!(ran.stdout.trim().ends_with(" 5"), "{ran:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_with_scp_in_both_protocols_sftp_and_rsync() {
    let stage = Stage::set("").await;
    let (here, there) = (stage.door.path().join("here"), stage.sshd.path().join("there"));
    std::fs::create_dir(&here).unwrap();
    std::fs::create_dir(&there).unwrap();
    std::fs::write(here.join("datei mit ä"), load::block(7)).unwrap();
    for (n, options) in [vec![], vec!["-O"]].iter().enumerate() {
        let mut scp = stage.command("scp");
        scp.args(options)
            .arg("-q")
            .arg(here.join("datei mit ä"))
            .arg(format!("{HOST}:{}/up{n}", there.display()));
        let up = ran(scp).await;
        assert_eq!(up.code, 0, "{up:?}");
        assert!(std::fs::read(there.join(format!("up{n}"))).unwrap() == load::block(7));
        let mut scp = stage.command("scp");
        scp.args(options)
            .arg("-q")
            .arg(format!("{HOST}:{}/up{n}", there.display()))
            .arg(here.join(format!("down{n}")));
        let down = ran(scp).await;
        assert_eq!(down.code, 0, "{down:?}");
        assert!(std::fs::read(here.join(format!("down{n}"))).unwrap() == load::block(7));
    }
    let many = here.join("many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..1000 {
        std::fs::write(many.join(format!("{n}")), format!("file {n}\n").repeat(n % 40)).unwrap();
    }
    let mut rsync = tokio::process::Command::new("rsync");
    rsync.arg("-a").arg("-e").arg(format!("ssh -F {}", stage.config.display()));
    rsync
        .arg(format!("{}/", many.display()))
        .arg(format!("{HOST}:{}/many/", there.display()))
        .kill_on_drop(true);
    let synced = ran(rsync).await;
    assert_eq!(synced.code, 0, "{synced:?}");
    for n in 0..1000 {
        let name = format!("{n}");
        assert_eq!(
            std::fs::read(many.join(&name)).unwrap(),
            std::fs::read(there.join("many").join(&name)).unwrap()
        );
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_refuses_the_client_learns_as_the_host_said_it() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-s", HOST, "no-such-subsystem"]);
    let refused = ran(ssh).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(refused.stderr.contains("subsystem request failed"), "{refused:?}");
    let finished = stage.door.wait_for("finished", 3).await;
    assert!(
        finished
            .iter()
            .any(|l| l["command"] == "subsystem no-such-subsystem" && l["cause"] == "target-refused")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_is_told_of_on_standard_error_with_a_code() {
    let mut stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args([HOST, "echo begun; sleep 100"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut begun = [0; 6];
    tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut begun).await.unwrap();
    stage.sshd.kill_sessions().await;
    let output =
        tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert!(stderr.contains("was lost"), "{stderr}");
    // The next command logs in anew, or says that the host is away.
    stage.sshd.kill().await;
    let away = stage.ssh(&["true"]).await;
    assert_eq!(away.code, 69, "{away:?}");
    assert!(away.stderr.contains("backup.praxis-mueller.example cannot be reached"), "{away:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_killed_transfers_leave_nothing_behind() {
    let stage = Stage::set("").await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    stage.ssh(&["true"]).await;
    let before = descriptors();
    for n in 0..50 {
        let mut ssh = stage.command("ssh");
        let command = if n % 2 == 0 { "cat /dev/zero" } else { "cat > /dev/null" };
        ssh.args([HOST, command]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ssh.spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let filling = tokio::spawn(async move {
            let block = load::block(1);
            while to.write_all(&block).await.is_ok() {}
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        child.kill().await.unwrap();
        filling.abort();
    }
    for _ in 0..500 {
        if stage.sshd.connections() == 0 && descriptors() <= before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.sshd.connections(), 0);
    assert!(descriptors() <= before, "{before} -> {}", descriptors());
    stage.close().await;
}
