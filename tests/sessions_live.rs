//! `pforte sessions`: what runs is listed, ended and watched through the local socket, by those who may and by nobody else.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;
use crate::seat;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use door::{Door, JANE, Setup, ran};
use machine::{HOST, Stage};
use pforte::clock::Clock;
use pforte::house::{self, House};
use pforte::random::Random;
use seat::{Seat, asked, first_session, listed, on_terminal, sessions, socket, until};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

const SHELL: &str = "PS1='$ ' exec bash --norc --noprofile";

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_who_is_where_with_what_since_when() {
    let stage = Stage::set("").await;
    let nobody = ran(sessions(&stage.door, &[])).await;
    assert_eq!((nobody.code, nobody.stdout.as_str()), (0, "Nobody is in.\n"));
    let master = stage.master().await;
    let mut shell = Seat::take(on_terminal(&stage.over(&master, &["-tt", SHELL])));
    shell.shows("$ ").await;
    let mut cat = stage.over(&master, &["cat"]);
    cat.stdin(std::process::Stdio::piped());
    let mut cat = Seat::take(cat);
    cat.types("hello\n").await;
    cat.shows("hello").await;

    let list = listed(&stage.door).await;
    let session = &list["sessions"][0];
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    assert_eq!((&session["user"], &session["firm"]), (&JANE.into(), &"firm".into()), "{list:#}");
    assert!(session["key"].as_str().unwrap().starts_with("SHA256:"), "{list:#}");
    let login = &stage.door.events("login")[0];
    assert_eq!((&session["session"], &session["from"]), (&login["session"], &login["from"]));
    let way = &session["ways"][0];
    assert_eq!((&way["site"], &way["host"]), (&"praxis-mueller".into(), &"backup".into()));
    assert_eq!(way["inner"], "recorded");
    let acts = way["acts"].as_array().unwrap();
    assert_eq!(acts.len(), 2, "{list:#}");
    assert_eq!((&acts[0]["kind"], &acts[0]["command"]), (&"exec".into(), &SHELL.into()));
    assert_eq!(acts[0]["terminal"], serde_json::json!([100, 30]), "{list:#}");
    assert!(acts[0]["recording"].as_str().unwrap().contains(session["session"].as_str().unwrap()));
    assert_eq!((&acts[1]["command"], &acts[1]["terminal"]), (&"cat".into(), &Value::Null));
    assert_eq!((&acts[1]["bytes_in"], &acts[1]["bytes_out"]), (&6.into(), &6.into()));
    assert!(way["bytes_in"].as_u64().unwrap() >= 6, "{list:#}");

    let people = ran(sessions(&stage.door, &["--lang", "de"])).await;
    for word in [JANE, "praxis-mueller/backup  aufgezeichnet  seit 20", "Terminal 100x30", "  exec  cat  "] {
        assert!(people.stdout.contains(word), "{word}: {people:?}");
    }
    cat.hangs_up();
    cat.ends().await;
    shell.types("exit 4\r").await;
    assert_eq!(shell.ends().await, 4);
    let left = listed(&stage.door).await;
    assert_eq!(left["sessions"][0]["ways"][0]["acts"], serde_json::json!([]), "what has ended is gone");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_way_is_listed_with_its_bytes() {
    let stage = Stage::set("inner = \"sealed\"").await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-W", &format!("{HOST}:22"), "gateway"]).stdin(std::process::Stdio::piped());
    let mut ssh = Seat::take(ssh);
    ssh.shows("SSH-2.0-").await;
    let list = listed(&stage.door).await;
    let way = &list["sessions"][0]["ways"][0];
    assert_eq!((&way["inner"], &way["host"]), (&"sealed".into(), &"backup".into()), "{list:#}");
    assert!(way["bytes_out"].as_u64().unwrap() > 8, "{list:#}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_channel_is_ended_the_person_reads_why_and_its_neighbour_lives() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    let mut shell = Seat::take(on_terminal(&stage.over(&master, &["-tt", SHELL])));
    shell.shows("$ ").await;
    let mut cat = stage.over(&master, &["cat"]);
    cat.stdin(std::process::Stdio::piped());
    let mut cat = Seat::take(cat);
    cat.types("one\n").await;
    cat.shows("one").await;
    let session = first_session(&stage.door).await;

    let id = format!("{session}/0");
    let begun = Instant::now();
    let ended = ran(sessions(&stage.door, &["end", &id, "--why", "Die Wartung ist vorbei"])).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(shell.ends().await, 77);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(
        shell.shown().contains("The operator has ended this: Die Wartung ist vorbei"),
        "{}",
        shell.shown()
    );
    cat.types("two\n").await;
    cat.shows("two").await;

    let said = &stage.door.events("refused")[0];
    assert_eq!(
        said["cause"].as_str().unwrap().split(" loginuid").next().unwrap().split(" why").next().unwrap(),
        "ended-by-operator uid=0 login=root"
    );
    assert!(said["cause"].as_str().unwrap().ends_with("why=Die Wartung ist vorbei"), "{said}");
    assert_eq!((&said["user"], &said["channel"]), (&JANE.into(), &0.into()));
    let finished = stage.door.wait_for("finished", 1).await;
    assert_eq!(finished[0]["cause"], "ended-by-operator: Die Wartung ist vorbei");
    assert_eq!((&finished[0]["exit"], &finished[0]["channel"]), (&77.into(), &0.into()));
    assert!(said["seq"].as_u64() < finished[0]["seq"].as_u64());

    let again = ran(sessions(&stage.door, &["end", &id, "--why", "again"])).await;
    assert_eq!(again.code, 1, "{again:?}");
    for wrong in [vec!["end", &id], vec!["end", &id, "--why", "a\nb"], vec!["end", "x", "--why", "y"]] {
        assert_eq!(ran(sessions(&stage.door, &wrong)).await.code, 64, "{wrong:?}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_ended_within_a_second_with_all_that_runs_in_it() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    let mut shell = Seat::take(on_terminal(&stage.over(&master, &["-tt", SHELL])));
    shell.shows("$ ").await;
    let mut sleep = Seat::take(stage.over(&master, &["echo begun; sleep 600"]));
    sleep.shows("begun").await;
    let session = first_session(&stage.door).await;

    let begun = Instant::now();
    let ended = ran(sessions(&stage.door, &["end", &session, "--why", "Verdacht auf Missbrauch"])).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let (shell_code, sleep_code) = (shell.ends().await, sleep.ends().await);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert_eq!((shell_code, sleep_code), (77, 77));
    assert!(shell.shown().contains("Verdacht auf Missbrauch"), "{}", shell.shown());

    let finished = stage.door.wait_for("finished", 4).await;
    let because: Vec<&Value> =
        finished.iter().filter(|l| l["cause"] == "ended-by-operator: Verdacht auf Missbrauch").collect();
    assert_eq!(because.len(), 3, "both acts and the connection: {finished:#?}");
    let took = stage.door.journal();
    let time = |line: &Value| line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let said = took.iter().find(|l| l["event"] == "refused").unwrap();
    let last = because.iter().map(|line| time(line)).max().unwrap();
    assert!(last.duration_since(time(said)).as_millis() < 1500, "{took:#?}");
    until(async || listed(&stage.door).await["sessions"] == serde_json::json!([])).await;
    let again = ran(sessions(&stage.door, &["end", &session, "--why", "again"])).await;
    assert_eq!((again.code, again.stderr.contains("Nothing of that name runs")), (1, true), "{again:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_what_was_on_the_screen_and_what_comes_and_no_clipboard() {
    let stage = Stage::set("").await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-tt", HOST, SHELL]);
    let mut shell = Seat::take(on_terminal(&ssh));
    shell.shows("$ ").await;
    shell.types("echo vor''her\r").await;
    shell.shows("vorher").await;
    let session = first_session(&stage.door).await;

    let mut watcher = Seat::take(sessions(&stage.door, &["watch", &session]));
    watcher.shows("vorher").await;
    shell.types("printf 'nach%s\\033]52;c;cm0gLXJmIC8=\\007\\033[6n\\n' her\r").await;
    watcher.shows("nachher").await;
    let list = listed(&stage.door).await;
    assert_eq!(list["sessions"][0]["ways"][0]["acts"][0]["watchers"], 1, "{list:#}");
    shell.types("exit 5\r").await;
    assert_eq!(shell.ends().await, 5);
    assert_eq!(watcher.ends().await, 0);
    let (seen, said) = (watcher.shown(), watcher.said());
    assert!(said.contains("100x30") && said.contains("It has ended."), "{said}");
    assert!(!seen.contains("\x1b]52") && !seen.contains("\x1b[6n"), "{seen:?}");
    assert!(seen.trim_end().ends_with("\x1b[0m"), "the terminal is as before: {seen:?}");
    assert!(!shell.shown().contains("watch"), "nothing of it on the person's screen");

    let lines = stage.door.journal();
    let cause = |l: &&Value| {
        l["cause"].as_str().unwrap_or_default().starts_with("watched-by-operator uid=0 login=root")
    };
    let looks: Vec<&Value> = lines.iter().filter(cause).collect();
    assert_eq!(looks.len(), 2, "{lines:#?}");
    assert_eq!((&looks[0]["event"], &looks[1]["event"]), (&"started".into(), &"finished".into()));
    assert!(looks.iter().all(|l| l["user"] == JANE && l["channel"] == 0 && l["site"] == "praxis-mueller"));
    let command = format!("sessions watch {session}/0");
    assert!(looks.iter().all(|l| l["command"] == command.as_str()), "{looks:#?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_terminal_can_be_watched_and_which_one_must_be_said() {
    let stage = Stage::set("").await;
    let master = stage.master().await;
    let mut plain = Seat::take(stage.over(&master, &["echo begun; sleep 600"]));
    plain.shows("begun").await;
    let session = first_session(&stage.door).await;
    let none = ran(sessions(&stage.door, &["watch", &session])).await;
    assert_eq!((none.code, none.stderr.trim()), (1, "There is no terminal to look at."));
    let mut seats = Vec::new();
    for _ in 0..2 {
        let mut shell = Seat::take(on_terminal(&stage.over(&master, &["-tt", SHELL])));
        shell.shows("$ ").await;
        seats.push(shell);
    }
    let several = ran(sessions(&stage.door, &["watch", &session])).await;
    assert_eq!((several.code, several.stderr.contains("several terminals")), (1, true), "{several:?}");
    let mut watcher = Seat::take(sessions(&stage.door, &["watch", &format!("{session}/2")]));
    watcher.shows("$ ").await;
    watcher.interrupts();
    assert_eq!(watcher.ends().await, 0, "Ctrl-C ends it in order");
    until(async || {
        stage.door.events("finished").iter().any(|l| l["cause"].to_string().contains("watched-by"))
    })
    .await;
    seats[1].types("echo still''here\r").await;
    seats[1].shows("stillhere").await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_takes_nothing_holds_up_nobody_and_is_told_what_was_lost() {
    let stage = Stage::set("").await;
    let text = stage.sshd.path().join("text");
    std::fs::write(&text, "Zeile mit etwas Text darin, immer wieder.\n".repeat(750_000)).unwrap();
    let mut ssh = stage.command("ssh");
    let text = text.display();
    let command = format!("echo begun; read x; cat {text}; echo all''there; read y; cat {text}; exit 9");
    ssh.args(["-tt", HOST, &command]);
    let mut flood = Seat::take(ssh);
    flood.shows("begun").await;
    let session = first_session(&stage.door).await;
    let watch = format!("{{\"v\":1,\"ask\":{{\"watch\":{{\"id\":\"{session}\"}}}}}}\n");
    let mut stuck = Watched(BufReader::new(asked(&stage.door, &watch).await));
    assert_eq!(stuck.next().await["screen"]["lost"], 0);

    let begun = Instant::now();
    flood.types("\n").await;
    flood.shows("allthere").await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Who takes again gets what waited, then the screen anew, as it is now.
    let mut waited = 0;
    let lost = loop {
        let said = stuck.next().await;
        waited += said["output"].as_str().map_or(0, str::len);
        if let Some(lost) = said["screen"]["lost"].as_u64() {
            break lost;
        }
    };
    assert!(lost > 100 && waited < 8 << 20, "lost {lost} pieces, {waited} bytes waited");
    let drawn = STANDARD.decode(stuck.next().await["output"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&drawn).contains("allthere"), "{drawn:?}");

    flood.types("\n").await;
    assert_eq!(flood.ends().await, 9);
    assert!(flood.shown().len() > 2 * 750_000 * 43, "all of it came: {}", flood.shown().len());
    let over = loop {
        let said = stuck.next().await;
        if said["over"].is_object() {
            break said;
        }
    };
    assert!(over["over"]["lost"].as_u64().unwrap() > 100, "{over}");
    stage.close().await;
}

/// A watcher's lines.
struct Watched(BufReader<UnixStream>);

impl Watched {
    async fn next(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_line(&mut line));
        read.await.expect("nothing comes").unwrap();
        assert!(line.len() <= 64 << 10);
        serde_json::from_str(&line).unwrap()
    }
}

/// What the socket answers to these bytes, asked by another user of the system.
async fn asks_as(door: &Door, ids: &[&str], request: &str) -> String {
    let mut setpriv = tokio::process::Command::new("setpriv");
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\n\
                  try: s.connect(sys.argv[1])\n\
                  except PermissionError: print('EACCES'); sys.exit()\n\
                  try: s.sendall(sys.argv[2].encode()+b'\\n')\n\
                  except BrokenPipeError: pass\n\
                  print(s.makefile().readline())\n";
    setpriv.args(ids).args(["/usr/bin/python3", "-c", script]).arg(socket(door)).arg(request);
    let asked = ran(setpriv).await;
    assert_eq!(asked.code, 0, "{asked:?}");
    asked.stdout.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_the_group_are_served_and_nobody_else() {
    let group = Setup { gateway_more: "\n[control]\ngroup = \"daemon\"\n".into(), ..Setup::default() };
    let door = Door::open(group).await;
    for folder in [door.path().to_owned(), door.path().join("state")] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    let mode = |door: &Door| std::fs::metadata(socket(door)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&door), 0o660);
    let list = r#"{"v":1,"ask":"list"}"#;
    let (stranger, member) = (
        ["--reuid", "65534", "--regid", "65534", "--clear-groups"],
        ["--reuid", "65534", "--regid", "1", "--clear-groups"],
    );
    assert_eq!(asks_as(&door, &stranger, list).await, "EACCES");
    assert_eq!(asks_as(&door, &member, list).await, r#"{"v":1,"done":{}}"#);
    // Were the file's mode not to hold, the kernel's word on the peer does.
    std::fs::set_permissions(socket(&door), std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = r#"{"v":1,"refused":{"cause":"not-permitted"}}"#;
    for request in [list, r#"{"v":1,"ask":{"end":{"id":"00000000010000000000000002","why":"x"}}}"#] {
        assert_eq!(asks_as(&door, &stranger, request).await, refused);
        assert_ne!(asks_as(&door, &member, request).await, refused);
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_loud_clients_of_the_socket_hurt_nobody() {
    let door = Door::open(Setup::default()).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(socket(&door)).await.unwrap());
    }
    let whoami = door.ssh(&["whoami"]).await;
    assert_eq!(whoami.code, 0, "{whoami:?}");
    let mut busy = String::new();
    silent.pop().unwrap().read_to_string(&mut busy).await.unwrap();
    assert!(busy.contains("busy"), "{busy}");
    // The silent ones have their time, then their seats are free again.
    let begun = Instant::now();
    until(async || ran(sessions(&door, &[])).await.code == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(silent);
    for bad in
        ["nonsense\n", "{\"v\":1,\"ask\":\"list\",\"more\":1}\n", &format!("{}\n", "x".repeat(1 << 20))]
    {
        let mut stream = UnixStream::connect(socket(&door)).await.unwrap();
        // It may be closed before all of it is said.
        stream.write_all(bad.as_bytes()).await.ok();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.ok();
        let told = String::from_utf8(told).unwrap();
        assert!(told.is_empty() || told.contains("bad-request"), "{told}");
    }
    assert_eq!(ran(sessions(&door, &[])).await.code, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_gateways_socket_is_replaced_and_a_second_gateway_is_refused() {
    let mut door = Door::open(Setup::default()).await;
    let open = async |door: &Door| {
        let loaded = house::load(door.path()).unwrap_or_else(|problems| panic!("{problems}"));
        House::open(door.path(), loaded, Clock::system(), Random::system()).await
    };
    assert!(open(&door).await.is_err(), "a second gateway on the same folder");
    assert_eq!(ran(sessions(&door, &[])).await.code, 0, "the first one answers still");
    door.house.close().await;
    assert!(!socket(&door).exists(), "a gateway that closes takes its socket away");
    let none = ran(sessions(&door, &[])).await;
    assert_eq!((none.code, none.stderr.contains("No gateway runs here")), (69, true), "{none:?}");
    drop(std::os::unix::net::UnixListener::bind(socket(&door)).unwrap());
    assert_eq!(ran(sessions(&door, &[])).await.code, 69);
    door.house = open(&door).await.unwrap();
    assert_eq!(ran(sessions(&door, &[])).await.code, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_is_listed_by_its_number_and_ended_by_it() {
    let behind = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = behind.local_addr().unwrap();
    let stage = Stage::set(&format!("forwards = [\"{to}\"]")).await;
    let mut ssh = stage.command("ssh");
    ssh.args(["-W", &to.to_string(), HOST]);
    let mut forward = Seat::take(ssh);
    let (mut there, _) = behind.accept().await.unwrap();
    there.write_all(b"hello").await.unwrap();
    forward.shows("hello").await;
    let list = listed(&stage.door).await;
    let act = &list["sessions"][0]["ways"][0]["acts"][0];
    assert_eq!((&act["kind"], &act["bytes_out"]), (&"forward".into(), &5.into()), "{list:#}");
    assert!(act["command"].as_str().unwrap().contains(&to.to_string()), "{list:#}");
    let id = format!("{}/{}", first_session(&stage.door).await, act["channel"]);
    assert_eq!(ran(sessions(&stage.door, &["end", &id, "--why", "genug"])).await.code, 0);
    let mut byte = [0];
    assert!(!there.read(&mut byte).await.is_ok_and(|read| read > 0), "it is closed at the host too");
    forward.ends().await;
    // The forward's, the session's, the connection's: in the order in which they end.
    let finished = stage.door.wait_for("finished", 3).await;
    assert!(finished.iter().any(|line| line["cause"] == "ended-by-operator: genug"), "{finished:#?}");
    stage.close().await;
}

/// A tmpfs over a folder of the gateway's; dropped, it is unmounted.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_nobody_is_watched_and_an_end_is_possible_still() {
    let mut stage = Stage::set("").await;
    stage.door.house.close().await;
    let folder = stage.door.path().join("state/journal");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "pforte-test"]).arg(&folder);
    assert!(mount.status().unwrap().success(), "this test needs root, to mount a small disk");
    let disk = SmallDisk(folder);
    let loaded = house::load(stage.door.path()).unwrap_or_else(|problems| panic!("{problems}"));
    stage.door.house =
        House::open(stage.door.path(), loaded, Clock::system(), Random::system()).await.unwrap();
    stage.door.port = stage.door.house.addresses()[0].port();
    stage.config = machine::ssh_config(stage.door.path(), stage.door.port, JANE, "jane");
    let mut ssh = stage.command("ssh");
    ssh.args(["-tt", HOST, SHELL]);
    let mut shell = Seat::take(on_terminal(&ssh));
    shell.shows("$ ").await;
    let session = first_session(&stage.door).await;

    let mut hog = std::fs::File::create(disk.0.join("hog")).unwrap();
    let mut size = 1 << 16;
    while size > 0 {
        if std::io::Write::write_all(&mut hog, &vec![0; size]).is_err() {
            size /= 2;
        }
    }
    // What fits into the last block of the journal's file is still taken; then no more is.
    let watch = format!("{{\"v\":1,\"ask\":{{\"watch\":{{\"id\":\"{session}\"}}}}}}\n");
    until(async || {
        let mut watched = Watched(BufReader::new(asked(&stage.door, &watch).await));
        watched.next().await["refused"]["cause"] == "cannot-journal"
    })
    .await;
    assert_eq!(ran(sessions(&stage.door, &["watch", &session])).await.code, 254);
    let ended = ran(sessions(&stage.door, &["end", &format!("{session}/0"), "--why", "voll"])).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(shell.ends().await, 77);
    stage.door.house.close().await;
    door::verify(stage.door.path());
}
