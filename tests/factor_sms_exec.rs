//! SMS by a program, gammu's own among them, and what no log may hold.
//! Absent on purpose: the tries at a code; those are `factor_sms`.

use crate::factor_common;
use crate::sms_desk;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factor_common::question;
use pforte::clock::Clock;
use pforte::factor::sms::Bounds;
use pforte::factor::{Cause, Line, Provider, Purpose, Question, Reach, Said, Verdict, Way};
use pforte::random::Random;
use pforte::secret::Secret;
use sms_desk::{Desk, PHONE, Types, code_in, sms, sms_within, talk, with_phone};

/// A program of this script, and its settings with these arguments.
fn program(dir: &Path, script: &str, arguments: &str) -> String {
    let path = dir.join("send");
    std::fs::remove_file(&path).ok();
    pforte::init::write_new(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o700).unwrap();
    format!("service = \"exec\"\ncommand = [\"{}\"{arguments}]\n", path.display())
}

/// Asks; the person types the code that `sent` finds, once it is asked for.
async fn typing(settings: &str, question: &Question, sent: impl Fn() -> String) -> (Verdict, usize) {
    let sms = sms(settings);
    let (mut line, mut theirs) = Line::new(Reach::ALL, false);
    let person = async {
        let mut asked = 0;
        while let Some(said) = theirs.said.recv().await {
            if matches!(said, Said::Ask(..)) {
                asked += 1;
                theirs.answers.send(Secret::new(code_in(&sent()))).await.unwrap();
            }
        }
        asked
    };
    let ask = async {
        let verdict = sms.ask(question, Way::Sms, &mut line).await;
        drop(line);
        verdict
    };
    tokio::join!(ask, person)
}

#[tokio::test]
async fn a_program_is_given_phone_and_text_as_single_arguments_and_no_shell_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let script =
        format!("printf '%s\\n' \"$#\" \"$@\" > {0}.new; cat >> {0}.new; mv {0}.new {0}", seen.display());
    let mut question = with_phone(question(60));
    let command = "$(touch /tmp/x); `id` {to} \"'\n-rf --help ä";
    question.purpose = Purpose::Command { command: command.into(), site: None };
    let settings = program(dir.path(), &script, r#", "TEXT", "{to}", "-text", "{text}", "{to_digits}""#);
    let (verdict, _) = typing(&settings, &question, || std::fs::read_to_string(&seen).unwrap()).await;
    assert_eq!(verdict, Verdict::Allowed);
    let text = std::fs::read_to_string(&seen).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), &lines[..4]), (6, &["5", "TEXT", PHONE, "-text"][..]), "{text}");
    assert!(lines[4].ends_with(
        ": command \"$(touch /tmp/x); 'id' {to} \"'\\n-rf --help ae\". Firm firm, firm-jane.doe, from 203.0.113.7. Not you? Tell nobody."
    ) || lines[4].contains("...\". Firm firm"), "{text}");
    assert!(lines[4].starts_with("Code ") && lines[4].is_ascii() && lines[4].len() <= 160, "{text}");
    assert_eq!(lines[5], "4915112345678");
}

#[tokio::test]
async fn without_a_text_argument_the_text_is_the_programs_input_and_no_argument_shows_the_code() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let script = format!("printf '%s\\n' \"$@\" > {0}.args; cat > {0}", seen.display());
    let settings = program(dir.path(), &script, r#", "--", "{to}""#);
    let (verdict, _) =
        typing(&settings, &with_phone(question(60)), || std::fs::read_to_string(&seen).unwrap()).await;
    assert_eq!(verdict, Verdict::Allowed);
    assert_eq!(std::fs::read_to_string(seen.with_extension("args")).unwrap(), format!("--\n{PHONE}\n"));
}

#[tokio::test]
async fn a_program_that_fails_hangs_or_floods_is_a_refusal_and_runs_once() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    for (script, cause) in [
        ("exit 1", Cause::ExitCode(1)),
        ("exit 127", Cause::ExitCode(127)),
        ("kill -KILL $$", Cause::Killed),
        ("sleep 1000", Cause::TooSlow),
        ("yes", Cause::OutputTooLarge),
    ] {
        std::fs::remove_file(&runs).ok();
        let settings = program(dir.path(), &format!("echo >> {}; {script}", runs.display()), r#", "{to}""#);
        let bounds = Bounds { whole: Duration::from_secs(3), ..Bounds::default() };
        let sms = sms_within(&settings, Clock::system(), Random::system(), bounds);
        let (mut line, mut theirs) = Line::new(Reach::ALL, false);
        let start = Instant::now();
        let verdict = sms.ask(&with_phone(question(60)), Way::Sms, &mut line).await;
        assert_eq!(verdict, Verdict::Failed(cause), "{script}");
        assert!(start.elapsed() < Duration::from_secs(10), "{script}");
        assert!(theirs.said.try_recv().is_err(), "{script}: no code is asked for");
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 1, "{script}");
    }
}

#[tokio::test]
async fn gammus_own_program_takes_the_sms_by_argument_and_by_input() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["in", "out", "sent", "error"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let root = dir.path().display();
    let config = format!(
        "[gammu]\nport = /dev/null\nconnection = at\n[smsd]\nservice = files\nlogfile = {root}/log\n\
         inboxpath = {root}/in/\noutboxpath = {root}/out/\nsentsmspath = {root}/sent/\nerrorsmspath = {root}/error/\n"
    );
    std::fs::write(dir.path().join("rc"), config).unwrap();
    let out = || {
        let mut files: Vec<_> =
            std::fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
    };
    for (nth, text) in [r#", "-text", "{text}""#, ""].into_iter().enumerate() {
        let settings = format!(
            "service = \"exec\"\ncommand = [\"/usr/bin/gammu-smsd-inject\", \"-c\", \"{root}/rc\", \"TEXT\", \"{{to}}\"{text}]\n"
        );
        let (verdict, asked) = typing(&settings, &with_phone(question(60)), || out()[nth].clone()).await;
        assert_eq!(
            (verdict, asked),
            (Verdict::Allowed, 1),
            "gammu-smsd has to be installed: tests/run does it"
        );
        let files = out();
        assert_eq!(files.len(), nth + 1);
        assert!(files[nth].contains(&format!("Number = \"{PHONE}\"")), "{}", files[nth]);
        // The file's comment has lines of its own length.
        let text = files[nth].replace("\n; ", "");
        assert!(text.contains("Code ") && text.contains("firm-jane.doe, from 203.0.113.7"), "{text}");
    }
}

/// Takes down every log line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_and_no_step_holds_a_digit_of_code_or_phone() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::tempdir().unwrap();
    // The worst that a program can do: it says everything it was given.
    let loud = program(dir.path(), "echo \"failed: $*\" >&2; exit 1", r#", "{to}", "{text}""#);
    let desk = Desk::open(200, "").await;
    let mut codes = Vec::new();
    let mut steps = String::new();
    let question = with_phone(question(60));
    let get =
        format!("service = \"http\"\nmethod = \"GET\"\nurl = \"http://{}/{{to}}?t={{text}}\"", desk.address);
    for settings in [loud, desk.http(), get] {
        let sms = sms(&settings);
        let (mut line, mut theirs) = Line::new(Reach::ALL, true);
        let ask = async {
            let verdict = sms.ask(&question, Way::Sms, &mut line).await;
            drop(line);
            verdict
        };
        let person = async {
            while let Some(said) = theirs.said.recv().await {
                steps.extend([format!("{said:?}"), "\n".to_owned()]);
                if matches!(said, Said::Ask(..)) {
                    let sent = desk.sent().pop().unwrap();
                    let code = code_in(&format!("{}{}", sent.uri, sent.body));
                    codes.push(code.clone());
                    theirs.answers.send(Secret::new(code)).await.unwrap();
                }
            }
        };
        let (verdict, ()) = tokio::join!(ask, person);
        assert!(matches!(verdict, Verdict::Allowed | Verdict::Failed(Cause::ExitCode(1))), "{verdict:?}");
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the SMS program says") && log.contains("failed: +#############"), "{log}");
    assert!(steps.contains("one is sent to …78 by http") && steps.contains("the right code"), "{steps}");
    for told in [&log, &steps, &format!("{question:?}")] {
        assert!(
            !told.contains(&codes[0]) && !told.contains("15112345") && !told.contains("5112345678"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_program_that_others_could_change_sends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = program(dir.path(), "exit 0", r#", "{to}""#);
    let path = dir.path().join("send");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o722)).unwrap();
    let built = std::panic::catch_unwind(|| sms(&settings));
    assert!(built.is_err());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let desk = Desk::open(200, "").await;
    let (verdict, _) = talk(&sms(&settings), &question(60), &desk, &[Types::Never]).await;
    assert_eq!(verdict, Verdict::Failed(Cause::NoPhone));
}
