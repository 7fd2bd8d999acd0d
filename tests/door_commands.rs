//! Remote commands as clients send them: what is not exactly one of ours is refused in one line, and that is on record.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::process::Stdio;
use std::time::{Duration, Instant};

use door::{Door, JANE, PASSWORD, Ran, Setup, ran};
use pforte::konnektor::simulator::{Fault, Order};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// One authenticated connection that all further sessions of a test go over: one push for all of them.
struct Master<'d> {
    door: &'d Door,
    child: Child,
}

impl<'d> Master<'d> {
    async fn open(door: &'d Door) -> Self {
        let mut ssh = door.ssh_command(JANE, "jane");
        // A variable goes where both the master and the session over it say so.
        ssh.args(["-o", "SendEnv=LANG", "-M", "-N", "-S"]).arg(door.path().join("control")).arg("127.0.0.1");
        let child = ssh.stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..1000 {
            if door.path().join("control").exists() {
                return Self { door, child };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no master connection");
    }

    fn command(&self) -> Command {
        let mut ssh = self.door.ssh_command(JANE, "jane");
        ssh.arg("-S").arg(self.door.path().join("control"));
        ssh
    }

    async fn run(&self, command: &str) -> Ran {
        let mut ssh = self.command();
        // One argument: the client's shell and its spaces stay out of it.
        ssh.arg("127.0.0.1").arg(command);
        ran(ssh).await
    }

    async fn run_in(&self, lang: &str, command: &str) -> Ran {
        let mut ssh = self.command();
        ssh.env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", lang);
        ssh.args(["-o", "SendEnv=LANG", "127.0.0.1"]).arg(command);
        ran(ssh).await
    }

    async fn close(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A whole line, and nothing but one.
fn one_line(text: &str) -> bool {
    text.ends_with('\n') && text.matches('\n').count() == 1 && text.len() > 10
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_a_command_is_refused_in_one_line_and_is_on_record_as_it_came() {
    let door = Door::open(Setup::default()).await;
    let master = Master::open(&door).await;
    let allowed = master.run("konnektor list").await;
    assert_eq!((allowed.code, allowed.stderr.as_str()), (0, ""), "{allowed:?}");
    let cases = [
        ("konnektor backup; id", "no-such-command"),
        ("konnektor backup\nid", "characters"),
        ("konnektor backup\n", "characters"),
        ("konnektor backup $(id)", "words-left-over"),
        ("konnektor backup -f $(id)", "bad-value"),
        ("konnektor backup `id`", "words-left-over"),
        ("konnektor backup | sh", "words-left-over"),
        ("konnektor backup extra", "words-left-over"),
        ("konnektor backup ", "spaces"),
        (" konnektor backup", "spaces"),
        ("konnektor\u{a0}backup", "characters"),
        ("konnektor b\u{430}ckup", "characters"),
        ("konnektor backup\u{200b}", "characters"),
        ("konnektor backup -f ../../etc/passwd", "bad-value"),
        ("konnektor backup -s ../x", "bad-value"),
        ("konnektor backup --force", "words-left-over"),
        ("konnektor", "words-missing"),
        ("konnektor show", "words-missing"),
        ("Konnektor backup", "no-such-command"),
        ("/bin/sh", "no-such-command"),
        ("scp -t /tmp", "no-such-command"),
        ("rsync --server . .", "no-such-command"),
    ];
    for (n, (command, cause)) in cases.iter().enumerate() {
        let ran = master.run(command).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{command:?}: {ran:?}");
        assert!(one_line(&ran.stderr), "{command:?}: {ran:?}");
        let refused = door.wait_for("refused", n + 1).await;
        assert_eq!(refused[n]["command"], *command);
        assert_eq!((&refused[n]["cause"], &refused[n]["user"]), (&json!(cause), &json!(JANE)), "{command:?}");
    }
    assert_eq!(door.phone.questions(), 1);
    assert_eq!(door.events("started").len(), 1);
    assert!(door.konnektor.requests().is_empty(), "nothing reached the box");
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_is_on_record_though_the_client_left_at_once() {
    let door = Door::open(Setup { box_latency: Duration::from_millis(50), ..Setup::default() }).await;
    let leaving = |command: &str| json!([["sign", JANE, "jane"], ["push", JANE], ["order", command]]);
    let connections: Vec<Value> =
        (0..10).flat_map(|_| [leaving("konnektor backup; id"), leaving("konnektor backup")]).collect();
    door.knock(connections.into()).await;
    let refused = door.wait_for("refused", 10).await;
    assert!(refused.iter().all(|line| line["command"] == "konnektor backup; id"), "{refused:#?}");
    let started = door.wait_for("started", 10).await;
    // A line for each command's end, and one for each connection's.
    let finished = door.wait_for("finished", 30).await;
    for line in started {
        let same = |end: &&Value| end["session"] == line["session"] && end["command"] == line["command"];
        assert_eq!(finished.iter().filter(same).count(), 1, "{line}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_nul_or_a_megabyte_or_no_text_at_all_is_refused_too() {
    let door = Door::open(Setup::default()).await;
    let commands: [Vec<u8>; 5] = [
        b"konnektor backup\0".to_vec(),
        b"konnektor backup\0 id".to_vec(),
        b"konnektor backup \xff\xfe".to_vec(),
        [b"konnektor backup ".to_vec(), b"a".repeat(16_000)].concat(),
        b"".to_vec(),
    ];
    let mut steps = vec![json!(["sign", JANE, "jane"]), json!(["push", JANE]), json!(["run", "whoami"])];
    steps.extend(commands.iter().map(|command| json!(["run", base64(command), true])));
    let told = door.knock(json!([steps])).await;
    assert_eq!(told[0][2]["code"], 0, "{told:?}");
    for (command, ran) in commands.iter().zip(&told[0][3..]) {
        let shown = String::from_utf8_lossy(&command[..command.len().min(40)]);
        assert_eq!((&ran["code"], &ran["stdout"]), (&json!(64), &json!("")), "{shown}: {ran}");
        assert!(one_line(ran["stderr"].as_str().unwrap()), "{shown}: {ran}");
    }
    let refused = door.wait_for("refused", commands.len()).await;
    assert_eq!(refused[0]["command"], "konnektor backup\0");
    assert_eq!(refused[2]["command"], "konnektor backup \\xff\\xfe");
    assert_eq!(refused[3]["command_bytes"], commands[3].len());
    assert!(refused[3]["command"].as_str().unwrap().len() <= 8192);
    assert!(door.konnektor.requests().is_empty());
    door.close().await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_words_ends_without_harm() {
    let door = Door::open(Setup::default()).await;
    // OpenSSH takes no argument beyond 128 KiB from execve(2) (MAX_ARG_STRLEN), so many of 100 KiB.
    let word = "a".repeat(100_000);
    let words: Vec<&str> =
        ["konnektor", "backup"].into_iter().chain(std::iter::repeat_n(word.as_str(), 10)).collect();
    let ran = door.ssh(&words).await;
    assert!(ran.code == 64 || ran.code == 255, "{} {}", ran.code, ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(door.konnektor.requests().is_empty() && door.events("started").is_empty());
    let after = door.ssh(&["whoami"]).await;
    assert_eq!(after.code, 0, "the door stands: {after:?}");
    door.close().await;
}

/// A second customer, with the same box.
const SECOND: &str = "name = \"Second\"\ndomain = \"second.example\"\nvia = \"direct\"\n[konnektor.main]\nproduct = \"kocobox\"\n\
                      address = \"@BOX@\"\nsds = \"@BOX@\"\nuser = \"koco-root\"\npassword = { file = \"secrets/second\" }\n\
                      [konnektor.other]\nproduct = \"kocobox\"\naddress = \"@BOX@\"\nsds = \"@BOX@\"\nuser = \"koco-root\"\n\
                      password = { file = \"secrets/second\" }\n";

fn rules(sites: &str) -> String {
    format!(
        "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor list\", \"konnektor backup\", \"konnektor backups\", \"konnektor show\"]\non = {sites}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_konnektor_has_to_be_named_where_more_than_one_is_permitted() {
    let setup = Setup {
        rules: Some(rules("[\"praxis-mueller\", \"second\"]")),
        sites: vec![("second".into(), SECOND.into())],
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let master = Master::open(&door).await;
    let which = master.run("konnektor backup").await;
    assert_eq!((which.code, which.stdout.as_str()), (64, ""), "{which:?}");
    assert_eq!(
        which.stderr,
        "Which one? Say -i with one of: praxis-mueller/main, second/main, second/other\n"
    );
    let which = master.run("konnektor backup -i second").await;
    assert_eq!(
        (which.code, which.stderr.as_str()),
        (64, "Which one? Say -i with one of: second/main, second/other\n")
    );
    let none = master.run("konnektor backup -i second/third").await;
    assert_eq!(none.code, 64, "{none:?}");
    assert_eq!(none.stderr, "second has no Konnektor of that name, but: main, other\n");
    assert!(door.konnektor.requests().is_empty());
    let one = master.run("konnektor backup -i praxis-mueller -s infomodell").await;
    assert_eq!(one.code, 0, "{one:?}");
    let other = master.run("konnektor backup -i second/other -s infomodell").await;
    assert_eq!(other.code, 0, "{other:?}");
    assert!(other.stdout.starts_with("second/other "), "{other:?}");
    let list = master.run("konnektor list").await;
    assert_eq!(list.stdout.lines().count(), 3, "{list:?}");
    let refused = door.events("refused");
    let causes: Vec<&str> = refused.iter().map(|l| l["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["several-konnektors", "several-konnektors", "no-such-konnektor"]);
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_not_there_and_one_that_is_not_permitted_look_and_last_alike() {
    let setup = Setup { sites: vec![("second".into(), SECOND.into())], ..Setup::default() };
    let door = Door::open(setup).await;
    let master = Master::open(&door).await;
    assert_eq!(master.run("konnektor backup -i praxis-mueller/main -s infomodell").await.code, 0);
    let before = door.konnektor.requests().len();
    for command in [
        "konnektor backup -i SITE",
        "konnektor backup -i SITE/main",
        "konnektor backups -i SITE/third",
        "konnektor show -i SITE -f 2026-01-01-00-00.json",
        "why SITE",
        "why SITE konnektor backup",
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (n, site) in ["second", "nought"].into_iter().enumerate() {
                let since = Instant::now();
                let ran = master.run(&command.replace("SITE", site)).await;
                times[n].push(since.elapsed());
                let code = if command.starts_with("why") { 0 } else { 77 };
                assert_eq!(ran.code, code, "{command} {site}: {ran:?}");
                let (said, other) =
                    if code == 0 { (&ran.stdout, &ran.stderr) } else { (&ran.stderr, &ran.stdout) };
                assert_eq!(other, "", "{command} {site}");
                assert!(code == 0 || one_line(said), "{command} {site}: {ran:?}");
                let same =
                    master.run(&command.replace("SITE", if n == 0 { "nought" } else { "second" })).await;
                let swap = |text: &str, from: &str| text.replace(from, "SITE");
                let sames = if code == 0 { &same.stdout } else { &same.stderr };
                assert_eq!(swap(said, site), swap(sames, if n == 0 { "nought" } else { "second" }));
            }
        }
        // The quickest of five: the rest of the machine is busy with other things.
        let [forbidden, unknown] = times.map(|times| times.into_iter().min().unwrap());
        let noise = Duration::from_millis(20);
        assert!(
            forbidden < 3 * unknown + noise && unknown < 3 * forbidden + noise,
            "{command}: {forbidden:?} {unknown:?}"
        );
    }
    assert_eq!(door.konnektor.requests().len(), before);
    assert!(door.events("refused").iter().all(|line| line["cause"] == "no-rule"));
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_konnektor_that_is_away_or_refuses_is_told_apart_by_exit_code_and_sentence() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let away = SECOND.replace("@BOX@", &gone);
    let setup = Setup {
        rules: Some(rules("[\"praxis-mueller\", \"second\"]")),
        sites: vec![("second".into(), away)],
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let master = Master::open(&door).await;
    let ran = master.run("konnektor backup -i second/main").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{ran:?}");
    assert_eq!(ran.stderr, "The Konnektor does not answer. Is it switched on and reachable from here?\n");
    let ran = master.run_in("de_DE.UTF-8", "konnektor backup -i second/main").await;
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (69, "Der Konnektor antwortet nicht. Ist er eingeschaltet und von hier erreichbar?\n")
    );
    let finished = door.wait_for("finished", 2).await;
    assert_eq!((&finished[0]["exit"], &finished[0]["cause"]), (&json!(69), &json!("konnektor=away")));

    // A wrong password in the site's file.
    assert_eq!(master.run("konnektor backup -i praxis-mueller -s infomodell").await.code, 0);
    std::fs::write(door.path().join("secrets/praxis-mueller"), "falsch").unwrap();
    door.reload().await;
    let ran = master.run("konnektor backup -i praxis-mueller").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.stderr.starts_with("The Konnektor refused user or password.") && one_line(&ran.stderr),
        "{ran:?}"
    );
    let finished = door.wait_for("finished", 4).await;
    assert_eq!((&finished[3]["exit"], &finished[3]["cause"]), (&json!(1), &json!("konnektor=login-failed")));
    let journal = serde_json::to_string(&door.journal()).unwrap();
    assert!(!journal.contains("falsch") && !journal.contains(PASSWORD), "no password is in the journal");
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_wants_a_new_password_first_is_left_alone() {
    let door = Door::open(Setup { forced_password_change: true, ..Setup::default() }).await;
    let ran = door.ssh(&["konnektor", "backup"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("The Konnektor wants a new password first."), "{ran:?}");
    let finished = door.wait_for("finished", 1).await;
    assert_eq!(finished[0]["cause"], "konnektor=password-change-forced");
    assert_eq!(door.ssh(&["konnektor", "backups"]).await.stdout, "", "nothing was kept");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_backup_is_kept_named_and_ends_with_1() {
    let door = Door::open(Setup::default()).await;
    let master = Master::open(&door).await;
    door.konnektor.set_fault(Order::of_service("infomodell", Fault::Status(403)));
    let ran = master.run("konnektor backup").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("Kept, but without: infomodell."), "{ran:?}");
    let name = ran.stdout.lines().next().unwrap().strip_prefix("praxis-mueller/main ").unwrap().to_owned();
    assert!(ran.stdout.contains("infomodell\t-\tThe account may not read this"), "{ran:?}");
    let finished = door.wait_for("finished", 1).await;
    assert_eq!((&finished[0]["exit"], &finished[0]["cause"]), (&json!(1), &json!("incomplete: infomodell")));
    // It is kept, and what was read is in it.
    let listed = master.run("konnektor backups").await;
    assert_eq!(listed.stdout.lines().count(), 1);
    assert!(listed.stdout.starts_with(&name), "{listed:?}");
    let missing = master.run(&format!("konnektor show -f {name} -s infomodell")).await;
    assert_eq!((missing.code, missing.stdout.as_str()), (64, ""), "{missing:?}");
    assert_eq!(missing.stderr, format!("{name} holds no infomodell.\n"));
    // The next one is whole, in a file of its own.
    door.konnektor.clear_faults();
    let whole = master.run("konnektor backup").await;
    assert_eq!(whole.code, 0, "{whole:?}");
    assert_eq!(master.run("konnektor backups").await.stdout.lines().count(), 2);
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_to_standard_output_and_sentences_do_not() {
    let door = Door::open(Setup::default()).await;
    let master = Master::open(&door).await;
    let file = door.path().join("konnektor/infomodell.json");
    let mut infomodell: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    infomodell["bemerkung"] = json!("Größe „Ü“");
    std::fs::write(&file, infomodell.to_string()).unwrap();
    // To standard output: the JSON, whole, and nothing else.
    let out = master.run("konnektor backup -f -").await;
    assert_eq!(out.code, 0, "{}", out.stderr);
    let archive = pforte::konnektor::archive::Archive::parse(out.stdout.as_bytes()).unwrap();
    assert_eq!(archive.services().count(), 19);
    serde_json::from_str::<Value>(&out.stdout).unwrap();
    // Its last line on standard error says where it is kept too.
    let kept = out.stderr.lines().last().unwrap().strip_prefix("praxis-mueller/main ").unwrap().to_owned();
    let shown = master.run(&format!("konnektor show -f {kept}")).await;
    assert_eq!((shown.code, &shown.stdout, shown.stderr.as_str()), (0, &out.stdout, ""));
    // Umlauts come as UTF-8.
    assert!(shown.stdout.contains("Größe „Ü“"), "{}", shown.stdout);

    let named = master.run("konnektor backup -f 2026-01-02-03-04.json -s infomodell,update").await;
    assert_eq!(named.code, 0, "{named:?}");
    assert!(named.stdout.starts_with("praxis-mueller/main 2026-01-02-03-04.json\n"), "{named:?}");
    assert_eq!(named.stdout.lines().count(), 3, "{named:?}");
    let twice = master.run("konnektor backup -f 2026-01-02-03-04.json -s infomodell").await;
    assert_eq!((twice.code, twice.stdout.as_str()), (64, ""), "a name counts once: {twice:?}");

    let one = master.run("konnektor show -f 2026-01-02-03-04.json -s update").await;
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(one.as_object().unwrap().keys().collect::<Vec<_>>(), ["update"]);
    let absent = master.run("konnektor show -f 2026-01-02-03-05.json").await;
    assert_eq!((absent.code, absent.stdout.as_str()), (64, ""), "{absent:?}");
    assert!(one_line(&absent.stderr), "{absent:?}");
    let unknown = master.run("konnektor backup -s erfunden").await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (64, ""), "{unknown:?}");

    let listed = master.run("konnektor backups").await;
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:?}");
    for line in listed.stdout.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 6, "{line}");
        assert!(columns[1].ends_with('Z') && columns[2].parse::<u64>().is_ok(), "{line}");
        assert_eq!((columns[4], columns[5]), ("5.5.16", JANE), "{line}");
    }
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json_and_all_that_is_permitted() {
    let rule = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"praxis-mueller\"]\n";
    let door = Door::open(Setup { rules: Some(rule.into()), ..Setup::default() }).await;
    let master = Master::open(&door).await;
    let json = async |command: &str| {
        let ran = master.run(command).await;
        assert_eq!(
            (ran.code, ran.stderr.as_str(), ran.stdout.lines().count()),
            (0, "", 1),
            "{command}: {ran:?}"
        );
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    assert_eq!(json("konnektor backups --json").await, json!([]));
    let named = "konnektor backup -f 2026-01-02-03-04.json -s update";
    assert_eq!(master.run(named).await.code, 0);
    let backups = json("konnektor backups --json").await;
    assert_eq!((&backups[0]["name"], &backups[0]["by"]), (&json!("2026-01-02-03-04.json"), &json!(JANE)));
    assert_eq!(json("whoami --json").await["user"], JANE);
    let list = json("konnektor list --json").await;
    assert_eq!(
        (&list[0]["konnektor"], &list[0]["product"]),
        (&json!("praxis-mueller/main"), &json!("kocobox"))
    );
    let built = [
        "konnektor list",
        "konnektor status",
        "konnektor backup",
        "konnektor backups",
        "konnektor show",
        "konnektor diff",
        "konnektor restore",
        "konnektor perform",
        "konnektor terminals",
        "konnektor remap",
        "hop portal",
        "hop backup",
        "forward portal",
        "forward backup",
    ];
    assert_eq!(json("sites --json").await, json!([{"site": "praxis-mueller", "commands": built}]));
    let why = master.run("why praxis-mueller").await.stdout;
    assert_eq!(why.lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>(), built);
    let shown = master.run("konnektor show --json -f 2026-01-02-03-04.json").await;
    assert!(serde_json::from_str::<Value>(&shown.stdout).unwrap().is_object());
    let not_here = master.run("konnektor backup --json").await;
    assert_eq!((not_here.code, not_here.stdout.as_str()), (64, ""), "{not_here:?}");
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn german_is_spoken_to_whoever_sends_a_german_lang() {
    let door = Door::open(Setup::default()).await;
    let master = Master::open(&door).await;
    let german = master.run_in("de_DE.UTF-8", "konnektor sichern extra").await;
    assert_eq!(german.stderr, "„extra“ ist zu viel. Was es gibt: help\n");
    assert_eq!(german.code, 64);
    let whoami = master.run_in("de_DE.UTF-8", "whoami").await;
    assert!(whoami.stdout.contains("Schlüssel: SHA256:"), "{whoami:?}");
    let english = master.run_in("en_GB.UTF-8", "whoami").await;
    assert!(english.stdout.contains("key: SHA256:"), "{english:?}");
    // Not a language, but an attempt.
    let odd = master.run_in("de_DE$(id)", "whoami").await;
    assert!(odd.stdout.contains("key: SHA256:"), "{odd:?}");
    master.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subsystem_is_refused_in_a_sentence_and_without_a_byte_of_protocol() {
    let door = Door::open(Setup::default()).await;
    let refused = door.ssh_as(JANE, "jane", &["-s"], &["netconf"]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (77, ""), "{refused:?}");
    assert!(refused.stderr.contains("no file system and no subsystem but sftp"), "{refused:?}");
    let line = &door.wait_for("refused", 1).await[0];
    assert_eq!((&line["cause"], &line["command"]), (&json!("no-subsystem"), &json!("subsystem netconf")));
    // What sftp and scp speak is there, and leads to no file system.
    for program in ["sftp", "scp"] {
        let mut client = Command::new(program);
        client.args(["-F", "none", "-i"]).arg(door.path().join("jane")).args(["-o", "IdentitiesOnly=yes"]);
        client.args(["-o", "HostKeyAlias=gateway", "-o"]);
        client.arg(format!("UserKnownHostsFile={}", door.path().join("known_hosts").display()));
        client.args(["-P", &door.port.to_string()]);
        client.arg(format!("{JANE}@127.0.0.1:/etc/passwd")).arg(door.path().join("taken"));
        client.stdin(Stdio::null()).kill_on_drop(true);
        let ran = ran(client).await;
        assert_ne!(ran.code, 0, "{program}: {ran:?}");
        assert!(!door.path().join("taken").exists());
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forward_is_opened_and_the_client_goes_on_or_ends_cleanly() {
    let door = Door::open(Setup::default()).await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let to = format!("127.0.0.1:{port}");

    let stdio = door.ssh_as(JANE, "jane", &["-W", &to], &[]).await;
    assert_eq!((stdio.code, stdio.stdout.as_str()), (255, ""), "{stdio:?}");
    assert!(stdio.stderr.contains("administratively prohibited"), "{stdio:?}");

    // Asked for by the client before its command, which runs all the same.
    let remote = door.ssh_as(JANE, "jane", &["-R", &format!("0:{to}")], &["whoami"]).await;
    assert_eq!(remote.code, 0, "{remote:?}");
    assert!(remote.stderr.contains("remote port forwarding failed"), "{remote:?}");
    let strict = door
        .ssh_as(JANE, "jane", &["-o", "ExitOnForwardFailure=yes", "-R", &format!("0:{to}")], &["whoami"])
        .await;
    assert_eq!((strict.code, strict.stdout.as_str()), (255, ""), "{strict:?}");

    let mut agent = door.ssh_command(JANE, "jane");
    agent.args(["-A", "127.0.0.1", "whoami"]);
    assert_eq!(ran(agent).await.code, 0);
    let mut x11 = door.ssh_command(JANE, "jane");
    x11.env("DISPLAY", "127.0.0.1:9").args([
        "-o",
        "ForwardX11=yes",
        "-o",
        "ForwardX11Trusted=yes",
        "127.0.0.1",
        "whoami",
    ]);
    let x11 = ran(x11).await;
    assert_eq!(x11.code, 0, "{x11:?}");

    // -L and -D: the listener is the client's own; each connection to it is refused, and the session goes on.
    let (local, dynamic) = (free_port().await, free_port().await);
    let master = {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.args(["-M", "-N", "-S"]).arg(door.path().join("control"));
        ssh.args(["-L", &format!("{local}:{to}"), "-D", &dynamic.to_string(), "127.0.0.1"]);
        let child = ssh.stderr(Stdio::null()).spawn().unwrap();
        while !door.path().join("control").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Master { door: &door, child }
    };
    let mut refused = 0;
    for (port, greeting) in [
        (local, b"hello".as_slice()),
        // SOCKS5: no authentication, CONNECT 127.0.0.1:9 (RFC 1928).
        (dynamic, &[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 9]),
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().ok();
        assert!(rest.len() <= 12, "{rest:?}");
        refused += 1;
        let again = master.run("whoami").await;
        assert_eq!(again.code, 0, "{again:?}");
    }
    assert_eq!(refused, 2);
    master.close().await;
    let lines = door.events("refused");
    let commands: Vec<&str> = lines.iter().map(|l| l["command"].as_str().unwrap()).collect();
    let expected = |l: &Value| {
        if l["command"].as_str().unwrap().starts_with("direct-tcpip") {
            "no-such-host"
        } else {
            "forwarding-not-open"
        }
    };
    assert!(lines.iter().all(|l| l["cause"] == expected(l)), "{lines:#?}");
    assert_eq!(commands.iter().filter(|c| **c == format!("direct-tcpip {to}")).count(), 2, "{commands:?}");
    assert!(commands.contains(&"direct-tcpip 127.0.0.1:9"), "{commands:?}");
    assert_eq!(commands.iter().filter(|c| c.starts_with("tcpip-forward")).count(), 2, "{commands:?}");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), target.accept()).await.is_err(),
        "nobody was dialled"
    );
    door.close().await;
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_over_one_connection_take_one_push_and_an_idle_one_stays() {
    let door = Door::open(Setup::default()).await;
    // `ssh -N` opens no session at all; it stays, and sessions go over it.
    let mut master = Master::open(&door).await;
    let (one, two) = tokio::join!(master.run("whoami"), master.run("konnektor list"));
    assert_eq!((one.code, two.code), (0, 0), "{one:?} {two:?}");
    assert!(master.child.try_wait().unwrap().is_none(), "it idles on");
    assert_eq!(door.phone.questions(), 1);
    assert_eq!(door.events("login").len(), 1);
    let started = door.events("started");
    assert_eq!(started[0]["session"], started[1]["session"]);
    master.close().await;
    door.wait_for("finished", 3).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_any_number_of_sessions_one_after_another() {
    let door = Door::open(Setup::default()).await;
    let steps = [json!(["sign", JANE, "jane"]), json!(["push", JANE])].into_iter();
    let steps: Vec<Value> = steps.chain((0..40).map(|_| json!(["run", "whoami"]))).collect();
    let told = door.knock(json!([steps])).await;
    assert!(told[0][2..].iter().all(|ran| ran["code"] == 0), "{told:?}");
    assert_eq!(door.phone.questions(), 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ninth_session_of_a_connection_is_refused() {
    let door = Door::open(Setup::default()).await;
    let told = door.knock(json!([[["sign", JANE, "jane"], ["push", JANE], ["sessions", 9]]])).await;
    let sessions = told[0][2].as_array().unwrap();
    assert!(sessions[..8].iter().all(|s| s == "open"), "{sessions:?}");
    assert_ne!(sessions[8], "open", "{sessions:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_without_a_terminal_is_told_to_give_a_command() {
    let door = Door::open(Setup::default()).await;
    let ran = door.ssh_as(JANE, "jane", &["-T"], &[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{ran:?}");
    assert!(ran.stderr.contains("There is no terminal, so there is no prompt. Give a command"), "{ran:?}");
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "no-terminal");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the claim is about the command itself")]
async fn verify_prints_whole_lines() {
    let door = Door::open(Setup::default()).await;
    let mut pforte = Command::new(env!("CARGO_BIN_EXE_pforte"));
    pforte.args(["journal", "verify", "--config"]).arg(door.path());
    let verified = ran(pforte).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(one_line(&verified.stdout) && verified.stdout.ends_with(": sound\n"), "{verified:?}");
    door.close().await;
}
