//! The exec hook: claims about a program that answers, hangs, floods, hides, or is not ours.
//! Absent on purpose: what follows from a verdict.

use crate::factor_common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use factor_common::question;
use pforte::clock::Clock;
use pforte::factor::exec::program::BadProgram;
use pforte::factor::exec::{Exec, ExecConfig, ExecError};
use pforte::factor::{Cause, Purpose, Push, Verdict};

/// Writes `script` with `mode` and gives its path.
fn program(directory: &Path, script: &str, mode: u32) -> String {
    let path = directory.join("hook");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn exec(directory: &Path, script: &str, timeout: Duration) -> Exec {
    let argv = vec![program(directory, script, 0o700), "an argument; $(exit 0)".to_owned()];
    Exec::new(ExecConfig { argv, timeout, at_once: 16 }, Clock::system()).unwrap()
}

async fn verdict(script: &str) -> Verdict {
    let directory = tempfile::tempdir().unwrap();
    exec(directory.path(), script, Duration::from_secs(10)).ask(&question(30)).await
}

fn alive(pid: &str) -> bool {
    // A zombie has ended: its state, after the last parenthesis, is Z.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

async fn until(mut claim: impl FnMut() -> bool) {
    let start = Instant::now();
    while !claim() {
        assert!(start.elapsed() < Duration::from_secs(10), "did not come true in 10 s");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exit_codes_are_the_answer_and_everything_else_a_refusal() {
    assert_eq!(verdict("exit 0").await, Verdict::Allowed);
    assert_eq!(verdict("exit 1").await, Verdict::Denied);
    assert_eq!(verdict("exit 2").await, Verdict::Fraud);
    assert_eq!(verdict("exit 3").await, Verdict::TimedOut);
    for code in [4, 64, 127, 255] {
        let refused = verdict(&format!("exit {code}")).await;
        assert_eq!(refused, Verdict::Failed(Cause::ExitCode(code)));
    }
    assert_eq!(verdict("kill -KILL $$").await, Verdict::Failed(Cause::Killed));
    assert_eq!(verdict("kill -TERM $$").await, Verdict::Failed(Cause::Killed));
}

#[tokio::test]
async fn stdin_is_the_question_as_one_line_of_json_with_the_command_inert() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let exec = exec(directory.path(), &format!("cat > {}", seen.display()), Duration::from_secs(10));
    let mut question = question(30);
    question.purpose = Purpose::Command {
        command: "konnektor backup \"; rm -rf / #\n$(id)".into(),
        site: Some("praxis-mueller".parse().unwrap()),
    };
    assert_eq!(exec.ask(&question).await, Verdict::Allowed);
    let text = std::fs::read_to_string(seen).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "tx": question.tx.to_string(), "user": "firm-jane.doe", "firm": "firm", "key_fp": question.key.as_str(),
        "client_ip": "203.0.113.7", "client_port": 50122, "session": question.session.to_string(),
        "purpose": "command", "command": "konnektor backup \"; rm -rf / #\n$(id)", "site": "praxis-mueller",
        "code": 47, "expires_at": question.expires.to_string(),
        "message_de": pforte::factor::message(&question, true),
        "message_en": pforte::factor::message(&question, false),
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn the_program_sees_no_environment_of_ours_and_no_shell_reads_its_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let script = format!("exec > {}; env; pwd; printf '%s\\n' \"$#\" \"$1\"", seen.display());
    let exec = exec(directory.path(), &script, Duration::from_secs(10));
    assert!(std::env::vars_os().count() > 3, "nothing to leak, nothing shown");
    assert_eq!(exec.ask(&question(30)).await, Verdict::Allowed);
    let text = std::fs::read_to_string(seen).unwrap();
    // PWD, OLDPWD, SHLVL and _ are the test script's own shell's.
    let own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let mut lines: Vec<&str> = text.lines().filter(|l| !own.iter().any(|o| l.starts_with(o))).collect();
    lines[..2].sort_unstable();
    assert_eq!(lines, ["LANG=C.UTF-8", "PATH=/usr/bin:/bin", "/", "1", "an argument; $(exit 0)"]);
}

#[tokio::test]
async fn the_program_inherits_no_file_and_no_socket_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let exec =
        exec(directory.path(), &format!("ls -l /proc/self/fd > {}", seen.display()), Duration::from_secs(10));
    let file = std::fs::File::create(directory.path().join("journal")).unwrap();
    let (listener, _) = factor_common::listener().await;
    let links = [file.as_raw_fd(), listener.as_raw_fd()]
        .map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().display().to_string());
    assert_eq!(exec.ask(&question(30)).await, Verdict::Allowed);
    let text = std::fs::read_to_string(seen).unwrap();
    assert!(text.contains("seen"), "{text}");
    for link in links {
        assert!(!text.contains(&link), "{link} leaked:\n{text}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_its_question_may_still_answer() {
    assert_eq!(verdict("exec <&-; exit 0").await, Verdict::Allowed);
}

#[tokio::test]
async fn a_hanging_program_is_killed_with_its_grandchildren() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "sleep 1000 & echo $! > {p}.new; echo $$ >> {p}.new; mv {p}.new {p}; wait",
        p = pids.display()
    );
    let exec = exec(directory.path(), &script, Duration::from_secs(2));
    assert_eq!(exec.ask(&question(30)).await, Verdict::TimedOut);
    let text = std::fs::read_to_string(pids).unwrap();
    assert_eq!(text.lines().count(), 2);
    until(|| !text.lines().any(alive)).await;
}

#[tokio::test]
async fn dropping_the_question_kills_the_program_and_its_grandchildren() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "sleep 1000 & echo $! > {p}.new; echo $$ >> {p}.new; mv {p}.new {p}; wait",
        p = pids.display()
    );
    let exec = exec(directory.path(), &script, Duration::from_mins(1));
    let question = question(60);
    tokio::select! {
        verdict = exec.ask(&question) => panic!("answered {verdict:?}"),
        () = until(|| pids.exists()) => {}
    }
    let text = std::fs::read_to_string(pids).unwrap();
    until(|| !text.lines().any(alive)).await;
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipe_do_not_keep_us_waiting_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let exec = exec(
        directory.path(),
        &format!("sleep 1000 & echo $! > {}; exit 1", pid.display()),
        Duration::from_secs(30),
    );
    let start = Instant::now();
    assert_eq!(exec.ask(&question(60)).await, Verdict::Denied);
    assert!(start.elapsed() < Duration::from_secs(10));
    let pid = std::fs::read_to_string(pid).unwrap();
    until(|| !alive(&pid)).await;
}

#[tokio::test]
async fn a_grandchild_in_a_session_of_its_own_does_not_keep_us_waiting() {
    let start = Instant::now();
    assert_eq!(verdict("setsid sleep 8 & exit 0").await, Verdict::Allowed);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_on_either_output_is_refused() {
    assert_eq!(verdict("yes; exit 0").await, Verdict::Failed(Cause::OutputTooLarge));
    assert_eq!(verdict("yes >&2; exit 0").await, Verdict::Failed(Cause::OutputTooLarge));
    assert_eq!(verdict("head -c 65536 /dev/zero; exit 0").await, Verdict::Allowed);
    assert_eq!(verdict("head -c 65537 /dev/zero; exit 0").await, Verdict::Failed(Cause::OutputTooLarge));
}

#[tokio::test]
async fn no_more_than_configured_run_at_once_and_waiting_ends_with_the_question() {
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let script = format!("echo >> {}; sleep 1000", started.display());
    let config = ExecConfig {
        argv: vec![program(directory.path(), &script, 0o700)],
        timeout: Duration::from_secs(3),
        at_once: 1,
    };
    let exec = Exec::new(config, Clock::system()).unwrap();
    let (first, second) = (question(60), question(1));
    let second = async {
        until(|| started.exists()).await;
        exec.ask(&second).await
    };
    let (first, second) = tokio::join!(exec.ask(&first), second);
    assert_eq!((first, second), (Verdict::TimedOut, Verdict::Failed(Cause::Busy)));
    assert_eq!(std::fs::read_to_string(started).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn an_expired_question_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let exec = exec(directory.path(), &format!("touch {}", started.display()), Duration::from_secs(5));
    assert_eq!(exec.ask(&question(0)).await, Verdict::TimedOut);
    assert!(!started.exists());
}

#[tokio::test]
async fn a_program_that_cannot_start_is_a_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let exec = exec(directory.path(), "exit 0", Duration::from_secs(5));
    std::fs::write(directory.path().join("hook"), "#!/nonexistent/interpreter\n").unwrap();
    assert_eq!(exec.ask(&question(30)).await, Verdict::Failed(Cause::NotStarted));
    std::fs::remove_file(directory.path().join("hook")).unwrap();
    assert_eq!(exec.ask(&question(30)).await, Verdict::Failed(Cause::NotStarted));
}

#[test]
fn a_program_that_others_could_change_or_that_is_none_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let new = |argv: &[&str]| {
        let argv = argv.iter().map(|&a| a.to_owned()).collect();
        Exec::new(ExecConfig::new(argv), Clock::system()).map(drop)
    };
    let here = |mode| program(directory.path(), "exit 0", mode);
    assert!(new(&[&here(0o755)]).is_ok());
    assert!(matches!(new(&[&here(0o644)]), Err(ExecError::Program(BadProgram::NotExecutable(_)))));
    assert!(matches!(new(&[&here(0o775)]), Err(ExecError::Program(BadProgram::Writable(_)))));
    assert!(matches!(new(&[&here(0o757)]), Err(ExecError::Program(BadProgram::Writable(_)))));
    assert!(matches!(new(&[]), Err(ExecError::Program(BadProgram::NotAbsolute))));
    assert!(matches!(new(&["sh"]), Err(ExecError::Program(BadProgram::NotAbsolute))));
    assert!(matches!(new(&["/nonexistent/hook"]), Err(ExecError::Program(BadProgram::Missing { .. }))));
    assert!(matches!(new(&["/tmp"]), Err(ExecError::Program(BadProgram::NotExecutable(_)))));

    let link = directory.path().join("link");
    std::os::unix::fs::symlink(here(0o777), &link).unwrap();
    assert!(
        matches!(new(&[link.to_str().unwrap()]), Err(ExecError::Program(BadProgram::Writable(_)))),
        "a link hides nothing"
    );

    let path = here(0o700);
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(
        matches!(new(&[&path]), Err(ExecError::Program(BadProgram::Writable(_)))),
        "others could put another in its place"
    );
}
