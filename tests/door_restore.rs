//! Restores, actions and jobs through the door, with the system's ssh: what was wanted is on the box, and on record.
//! Absent on purpose: each cut at each step; `konnektor_cuts.rs` has them.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use door::{Door, JANE, Ran, Setup, ran};
use pforte::konnektor::simulator::{Fault, Order, PATIENTS, SERVICES};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

const BOX: &str = "praxis-mueller/main";

/// The shipped profile, with the way of writing that the simulated box takes.
pub(crate) fn profile() -> (&'static str, String, u32) {
    let shipped = include_str!("../src/konnektor/kocobox.toml");
    let text = shipped.replacen(
        "[write]\npath = \"\"",
        "[write]\npath = \"/administration/json-store/{service}\"",
        1,
    );
    assert_ne!(text, shipped);
    ("policy/konnektor/kocobox.toml", text, 0o600)
}

pub(crate) fn rules(more: &str) -> String {
    format!(
        "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"konnektor list\", \"konnektor status\", \"konnektor backup\", \"konnektor backups\", \
         \"konnektor show\", \"konnektor diff\", \"konnektor restore\", \"konnektor perform\", \"konnektor terminals\", \
         \"konnektor remap\"{more}]\non = [\"praxis-mueller\"]\n"
    )
}

async fn open(change: impl FnOnce(&mut Setup)) -> Door {
    let mut setup = Setup { rules: Some(rules("")), files: vec![profile()], ..Setup::default() };
    change(&mut setup);
    Door::open(setup).await
}

/// What the box holds.
pub(crate) fn held(door: &Door) -> BTreeMap<&'static str, Value> {
    let of = |service| {
        let text = std::fs::read(door.path().join(format!("konnektor/{service}.json"))).unwrap();
        (service, serde_json::from_slice(&text).unwrap())
    };
    SERVICES.into_iter().map(of).collect()
}

/// The same, without what is no configuration: pairing, users.
pub(crate) fn configuration(door: &Door) -> BTreeMap<&'static str, Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|key, _| !["CORRELATION", "CONNECTED"].contains(&key.as_str()));
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut all = held(door);
    all.remove("usermanagement");
    all.remove("infoservice");
    all.values_mut().for_each(strip);
    all
}

/// Changes a service on the box by hand.
pub(crate) fn edit(door: &Door, service: &str, change: impl FnOnce(&mut Value)) {
    let path = door.path().join(format!("konnektor/{service}.json"));
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

pub(crate) async fn backup(door: &Door) -> String {
    let ran = door.ssh(&["konnektor backup"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// ssh with this on its standard input.
async fn fed(door: &Door, line: &str, input: &[u8]) -> Ran {
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()).await;
    let output = output.expect("ssh hangs").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until something is so, twenty seconds at most.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not so in time: {what}");
}

/// A command on a terminal, and what it shows.
struct Talk {
    child: Child,
    shown: String,
}

impl Talk {
    fn begin(door: &Door, line: &str) -> Self {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.args(["-tt", "127.0.0.1"]).arg(line);
        let ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: ssh.spawn().unwrap(), shown: String::new() }
    }

    async fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !self.shown.contains(text) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut piece);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            let n = read.unwrap_or_else(|_| panic!("no {text:?} in {}", self.shown)).unwrap();
            assert_ne!(n, 0, "no {text:?} in {}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&piece[..n]));
        }
    }

    async fn press(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    async fn end(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        let reading = self.child.stdout.take().unwrap();
        let mut reading = reading.take(1 << 20);
        let read = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut rest)).await;
        read.expect("the terminal stays").unwrap();
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().await.unwrap().code().unwrap_or(-1), self.shown)
    }
}

/// No file below a folder holds this text in clear.
pub(crate) fn nowhere(dir: &Path, text: &str) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nowhere(&path, text);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{text} in {}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_box_is_brought_back_by_one_command_and_it_is_on_record() {
    let door = open(|_| {}).await;
    let before = configuration(&door);
    let name = backup(&door).await;
    door.konnektor.factory_reset().unwrap();
    assert_ne!(configuration(&door), before);
    let ran = door.ssh(&["konnektor restore --yes -f", &name]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(configuration(&door), before);
    assert_eq!(door.konnektor.user_writes(), 0);
    for part in [&format!("{BOX} ← {name}"), "usermanagement", "infomodell\t", "→ "] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    // What the box held before is kept too, and what was done is on record.
    assert_eq!(door.ssh(&["konnektor backups"]).await.stdout.lines().count(), 2);
    let finished = door.wait_for("finished", 6).await;
    let line =
        finished.iter().find(|line| line["command"].as_str().unwrap_or("").contains("restore")).unwrap();
    assert_eq!(
        (&line["exit"], &line["target"], &line["user"]),
        (&json!(0), &json!("konnektor/main"), &json!(JANE))
    );
    // A second time nothing is to be written.
    let writes = door.konnektor.writes();
    let again = door.ssh(&["konnektor einlesen --yes -f", &name]).await;
    assert_eq!((again.code, door.konnektor.writes()), (0, writes), "{again:?}");
    let compared = door.ssh(&["konnektor diff -f", &name]).await;
    assert_eq!(compared.code, 0, "{compared:?}");
    for patient in PATIENTS {
        for text in [&ran.stdout, &ran.stderr, &compared.stdout] {
            assert!(!text.contains(patient), "{patient}");
        }
        nowhere(&door.path().join("state"), patient);
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_without_a_yes_and_nothing_at_all_by_a_dry_run() {
    let door = open(|_| {}).await;
    let name = backup(&door).await;
    edit(&door, "ntpservice", |value| value["NTP_SERVER_ADDR"] = json!("192.168.2.77"));
    let edited = held(&door);
    let dry = door.ssh(&["konnektor restore --dry-run -f", &name]).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.stdout.contains("192.168.2.77") && dry.stdout.contains("192.168.2.1"), "{}", dry.stdout);
    assert_eq!(door.ssh(&["konnektor backups"]).await.stdout.lines().count(), 1, "a dry run keeps nothing");
    let nobody = door.ssh(&["konnektor restore -f", &name]).await;
    assert_eq!(nobody.code, 64, "{nobody:?}");
    assert!(nobody.stderr.contains("--yes"), "{}", nobody.stderr);
    assert_eq!((held(&door), door.konnektor.writes()), (edited.clone(), 0));
    // On a terminal the person is asked; another word than the box's name is a no.
    let mut talk = Talk::begin(&door, &format!("konnektor restore -f {name}"));
    talk.until(&format!("Type {BOX}: ")).await;
    talk.press("yes\r").await;
    let (code, shown) = talk.end().await;
    assert_eq!((code, door.konnektor.writes()), (1, 0), "{shown}");
    let mut talk = Talk::begin(&door, &format!("konnektor restore -f {name}"));
    talk.until(&format!("Type {BOX}: ")).await;
    talk.press(&format!("{BOX}\r")).await;
    let (code, shown) = talk.end().await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(held(&door)["ntpservice"]["NTP_SERVER_ADDR"], "192.168.2.1");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_all_client_certificates_is_asked_twice() {
    let door = open(|_| {}).await;
    let name = backup(&door).await;
    edit(&door, "clientsystem-certificates", |value| {
        value["certificates"][0]["name"] = json!("Fremd");
    });
    let once = door.ssh(&["konnektor einlesen -z loeschen --yes -f", &name]).await;
    assert_eq!((once.code, door.konnektor.writes()), (64, 0), "{once:?}");
    assert!(once.stderr.contains("--yes --yes"), "{}", once.stderr);
    // Without -z the box's own stays, and the file's comes back beside it.
    let new = door.ssh(&["konnektor einlesen --yes -f", &name]).await;
    assert_eq!(new.code, 0, "{new:?}");
    let names = |door: &Door| {
        let all = held(door)["clientsystem-certificates"]["certificates"].as_array().unwrap().clone();
        let mut names: Vec<String> = all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&door), ["Fremd", "Labor", "PVS-Server"]);
    let mut talk = Talk::begin(&door, &format!("konnektor einlesen -z loeschen -f {name}"));
    talk.until(&format!("Type {BOX}: ")).await;
    talk.press(&format!("{BOX}\r")).await;
    talk.until(&format!("Type {BOX} again: ")).await;
    talk.press(&format!("{BOX}\r")).await;
    let (code, shown) = talk.end().await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(names(&door), ["Labor", "PVS-Server"]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_standard_input_is_restored_and_a_wrong_one_refused_with_its_place() {
    let door = open(|_| {}).await;
    let shown = door.ssh(&["konnektor backup -f -"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let mut file: Value = serde_json::from_str(&shown.stdout).unwrap();
    file["services"]["dnsservice"]["DNS_TTL"] = json!(60);
    let ran = fed(&door, "konnektor restore --yes -f -", file.to_string().as_bytes()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("dnsservice"), "{}", ran.stdout);
    assert_eq!(held(&door)["dnsservice"]["DNS_TTL"], 60);
    // The old tool's form: service → value.
    let old = json!({"dnsservice": {"DNS_SERVERS_INT": ["192.168.2.1"], "DNS_DOMAIN_VPN_ZUGD_INT": "vpnzugd.example", "DNS_TTL": 61}});
    let ran = fed(&door, "konnektor einlesen --yes -s dnsservice -f -", old.to_string().as_bytes()).await;
    assert_eq!((ran.code, &held(&door)["dnsservice"]["DNS_TTL"]), (0, &json!(61)), "{ran:?}");
    let wrong = fed(&door, "konnektor restore --yes -f -", b"{\n  \"dnsservice\": {,\n}").await;
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.stderr.contains("line 2"), "{}", wrong.stderr);
    let nothing = door.ssh(&["konnektor restore --yes -f -"]).await;
    assert_eq!(nothing.code, 64, "{nothing:?}");
    let patients = file.to_string().replace("\"DNS_TTL\":60", "\"cardHolderName\":\"Erika Testpatientin\"");
    let ran = fed(&door, "konnektor diff -f -", patients.as_bytes()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stdout.contains("Testpatientin"), "{}", ran.stdout);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_when_its_line_drops_and_is_followed_again() {
    let door = open(|setup| setup.box_latency = Duration::from_millis(60)).await;
    let before = configuration(&door);
    let name = backup(&door).await;
    door.konnektor.factory_reset().unwrap();
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
    let mut child = ssh.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("two services are written", async || door.konnektor.writes() >= 2).await;
    child.kill().await.unwrap();
    until("the job is at its end", async || {
        let jobs: Value = serde_json::from_str(&door.ssh(&["jobs --json"]).await.stdout).unwrap();
        jobs[1]["exit"] == 0 && configuration(&door) == before
    })
    .await;
    let jobs: Value = serde_json::from_str(&door.ssh(&["jobs --json"]).await.stdout).unwrap();
    let restore = jobs.as_array().unwrap().last().unwrap();
    assert_eq!((&restore["exit"], &restore["who"]), (&json!(0), &json!(JANE)), "{jobs}");
    let attached = door.ssh(&["jobs attach", &restore["job"].to_string()]).await;
    assert_eq!(attached.code, 0, "{attached:?}");
    assert!(attached.stdout.contains("lanwanservice\t"), "{}", attached.stdout);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_restore_stops_between_two_services_and_is_resumed_or_undone() {
    for (way, code) in [("--resume", 0), ("--undo", 0)] {
        let door = open(|setup| setup.box_latency = Duration::from_millis(60)).await;
        let wanted = configuration(&door);
        let name = backup(&door).await;
        door.konnektor.factory_reset().unwrap();
        let reset = configuration(&door);
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
        let running = tokio::spawn(ran(ssh));
        until("two services are written", async || door.konnektor.writes() >= 2).await;
        let cancelled = door.ssh(&["jobs cancel 2"]).await;
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
        let stopped = running.await.unwrap();
        assert_eq!(stopped.code, 1, "{stopped:?}");
        assert!(
            stopped.stderr.contains("--resume") && stopped.stderr.contains("--undo"),
            "{}",
            stopped.stderr
        );
        assert!(configuration(&door) != wanted && configuration(&door) != reset, "it stopped in the middle");
        // Until it is at an end, nobody begins another one.
        let another = door.ssh(&["konnektor restore --yes -f", &name]).await;
        assert_eq!(another.code, 1, "{another:?}");
        let end = door.ssh(&["konnektor restore --yes", way]).await;
        assert_eq!(end.code, code, "{way}: {end:?}");
        assert_eq!(configuration(&door), if way == "--undo" { reset } else { wanted }, "{way}");
        let nothing = door.ssh(&["konnektor restore --yes", way]).await;
        assert_eq!(nothing.code, 64, "{nothing:?}");
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_at_a_box_hears_who_is_at_it_and_waits() {
    let door = open(|setup| setup.box_latency = Duration::from_millis(200)).await;
    let line = door.keygen("max", &["-t", "ed25519"]).await;
    door.register("firm-max.muster", &line);
    door.reload().await;
    let first = {
        let mut ssh = door.ssh_command(JANE, "jane");
        ssh.arg("127.0.0.1").arg("konnektor backup");
        tokio::spawn(ran(ssh))
    };
    until("the first is at work", async || {
        door.konnektor.requests().iter().any(|r| r.path.contains("json-retrieve"))
    })
    .await;
    let second = door.ssh_as("firm-max.muster", "max", &[], &["konnektor backup -s update"]).await;
    assert_eq!(second.code, 0, "{second:?}");
    assert!(
        second.stderr.contains("firm-jane.doe is at work at praxis-mueller/main (job 1"),
        "{}",
        second.stderr
    );
    assert_eq!(first.await.unwrap().code, 0);
    let logins: Vec<usize> = (door.konnektor.requests().iter().enumerate())
        .filter(|(_, request)| request.path == "/j_security_check")
        .map(|(nth, _)| nth)
        .collect();
    let last_of_first =
        door.konnektor.requests().iter().rposition(|r| r.path.ends_with("/lanwanservice")).unwrap();
    assert!(
        logins.len() == 2 && logins[1] > last_of_first,
        "one after the other: {logins:?} {last_of_first}"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_waited_for_and_other_actions_only_by_schema_or_by_a_rule() {
    let door = open(|setup| setup.rules = Some(rules(", \"konnektor perform factory-beep\""))).await;
    let reboot = door.ssh(&["konnektor perform -a reboot"]).await;
    assert_eq!((reboot.code, door.konnektor.reboots()), (0, 1), "{reboot:?}");
    assert!(reboot.stderr.contains("It is back after"), "{}", reboot.stderr);
    let delete = door.ssh(&["konnektor perform -a delete-ct -d '{\"CTID\":\"CT_ID_0002\"}'"]).await;
    assert_eq!(delete.code, 0, "{delete:?}");
    assert_eq!(held(&door)["cardterminals"].as_array().unwrap().len(), 1);
    let wrong = door.ssh(&["konnektor perform -a delete-ct -d '{\"CTID\":7}'"]).await;
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.stderr.contains("/CTID"), "{}", wrong.stderr);
    let unknown = door.ssh(&["konnektor perform -a self-destruct -d '{}'"]).await;
    assert_eq!(unknown.code, 77, "{unknown:?}");
    let secret = door.ssh(&["konnektor perform -a factory-beep -d '{\"password\":\"Geheim 4711\"}'"]).await;
    // A rule spells it out, and the box does not know it.
    assert_eq!(secret.code, 1, "{secret:?}");
    let last = door.ssh(&["konnektor perform -a factory-beep -d '{\"USERNAME\":\"koco-root\"}'"]).await;
    assert_eq!(last.code, 77, "{last:?}");
    nowhere(&door.path().join("state/journal"), "Geheim 4711");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newly_paired_terminals_find_their_place_again() {
    let door = open(|_| {}).await;
    let name = backup(&door).await;
    edit(&door, "cardterminals", |value| {
        value[0]["CTID"] = json!("CT_ID_0011");
        value[1]["CTID"] = json!("CT_ID_0012");
    });
    let list = door.ssh(&["konnektor terminals"]).await;
    assert_eq!(list.code, 0, "{list:?}");
    assert!(list.stdout.starts_with("CT_ID_0011\t00:0D:F8:00:00:01\tORGA6100-DEMO1\t"), "{}", list.stdout);
    let dry = door.ssh(&["konnektor remap --dry-run -f", &name]).await;
    assert_eq!((dry.code, door.konnektor.writes()), (0, 0), "{dry:?}");
    assert!(dry.stdout.contains("CT_ID_0001 → CT_ID_0011"), "{}", dry.stdout);
    let ran = door.ssh(&["konnektor remap --yes -f", &name]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let model = held(&door)["infomodell"].to_string();
    assert!(
        model.contains("CT_ID_0011") && model.contains("CT_ID_0012") && !model.contains("CT_ID_0001"),
        "{model}"
    );
    // Two that look alike are asked about, and not guessed.
    edit(&door, "cardterminals", |value| {
        for (nth, id) in ["CT_ID_0021", "CT_ID_0022"].into_iter().enumerate() {
            value[nth]["CTID"] = json!(id);
            value[nth]["MAC_ADRESS"] = json!("00-0d-f8-00-00-01");
            value[nth]["HOSTNAME"] = json!("");
        }
    });
    let unclear = door.ssh(&["konnektor remap --yes -f", &name]).await;
    assert_eq!((unclear.code, held(&door)["infomodell"].to_string()), (64, model.clone()), "{unclear:?}");
    assert!(unclear.stderr.contains("-m CT_ID_0001="), "{}", unclear.stderr);
    let mut talk = Talk::begin(&door, &format!("konnektor remap -f {name}"));
    talk.until("Which one is CT_ID_0001 now: ").await;
    talk.press("CT_ID_0099\r").await;
    assert_eq!(talk.end().await.0, 64);
    // What nothing on the box looks like is said, and is no success.
    let missing = door.ssh(&["konnektor remap --yes -m CT_ID_0001=CT_ID_0021 -f", &name]).await;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stdout.contains("CT_ID_0002 → ?"), "{}", missing.stdout);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_rule_ends_a_job_and_leaves_a_way_back() {
    let door = open(|setup| setup.box_latency = Duration::from_millis(150)).await;
    let wanted = configuration(&door);
    let name = backup(&door).await;
    door.konnektor.factory_reset().unwrap();
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
    let running = tokio::spawn(ran(ssh));
    until("a service is written", async || door.konnektor.writes() >= 1).await;
    let file = door.path().join("policy/rules.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, kept.replace("\"konnektor restore\", ", "")).unwrap();
    door.reload().await;
    let begun = std::time::Instant::now();
    let ended = running.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(ended.code, 77, "{ended:?}");
    assert_ne!(configuration(&door), wanted);
    std::fs::write(&file, kept).unwrap();
    door.reload().await;
    let end = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((end.code, configuration(&door)), (0, wanted), "{end:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_firmware_is_read_and_written_only_where_a_rule_says_so() {
    let door = open(|_| {}).await;
    let name = backup(&door).await;
    edit(&door, "ntpservice", |value| value["NTP_WARN_PERIOD"] = json!(1));
    door.konnektor.update_firmware("9.9.9").unwrap();
    let status = door.ssh(&["konnektor status"]).await;
    assert!(status.code == 0 && status.stdout.contains("9.9.9 (not known here: read only)"), "{status:?}");
    assert!(status.stdout.contains("DEMO-0000-0001"), "{}", status.stdout);
    for line in [format!("konnektor restore --yes -f {name}"), "konnektor perform -a reboot".into()] {
        let ran = door.ssh(&[&line]).await;
        assert_eq!(ran.code, 77, "{ran:?}");
    }
    assert_eq!((door.konnektor.writes(), door.konnektor.reboots()), (0, 0));
    std::fs::write(door.path().join("policy/rules.toml"), format!("{}firmware = \"any\"\n", rules("")))
        .unwrap();
    door.reload().await;
    let ran = door.ssh(&["konnektor restore --yes -s ntpservice -f", &name]).await;
    assert_eq!((ran.code, &held(&door)["ntpservice"]["NTP_WARN_PERIOD"]), (0, &json!(30)), "{ran:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_shipped_profile_does_not_know_is_said_by_name_and_not_tried() {
    let door = open(|setup| setup.files.clear()).await;
    let name = backup(&door).await;
    edit(&door, "ntpservice", |value| value["NTP_WARN_PERIOD"] = json!(1));
    let ran = door.ssh(&["konnektor restore --yes -f", &name]).await;
    assert_eq!((ran.code, door.konnektor.writes()), (1, 0), "{ran:?}");
    assert!(ran.stderr.contains("write.path"), "{}", ran.stderr);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_refuses_one_service_takes_the_others_and_the_rest_is_told() {
    let door = open(|_| {}).await;
    let name = backup(&door).await;
    edit(&door, "ntpservice", |value| value["NTP_WARN_PERIOD"] = json!(1));
    edit(&door, "dnsservice", |value| value["DNS_TTL"] = json!(1));
    door.konnektor.set_fault(Order {
        fault: Fault::Status(403),
        when: pforte::konnektor::simulator::When::Path("/json-store/ntpservice".into()),
        times: None,
    });
    let ran = door.ssh(&["konnektor restore --yes -f", &name]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        (&held(&door)["dnsservice"]["DNS_TTL"], &held(&door)["ntpservice"]["NTP_WARN_PERIOD"]),
        (&json!(86400), &json!(1))
    );
    door.konnektor.clear_faults();
    let end = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((end.code, &held(&door)["ntpservice"]["NTP_WARN_PERIOD"]), (0, &json!(30)), "{end:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_in_mid_restore_leaves_what_brings_it_to_a_good_end() {
    let mut door = open(|setup| setup.box_latency = Duration::from_millis(60)).await;
    let wanted = configuration(&door);
    let name = backup(&door).await;
    door.konnektor.factory_reset().unwrap();
    let mut ssh = door.ssh_command(JANE, "jane");
    ssh.arg("127.0.0.1").arg(format!("konnektor restore --yes -f {name}"));
    let running = tokio::spawn(ran(ssh));
    until("two services are written", async || door.konnektor.writes() >= 2).await;
    door.house.close().await;
    running.await.unwrap();
    assert_ne!(configuration(&door), wanted);
    let loaded = pforte::house::load(door.path()).unwrap();
    let (clock, random) = (pforte::clock::Clock::system(), pforte::random::Random::system());
    door.house = pforte::house::House::open(door.path(), loaded, clock, random).await.unwrap();
    door.port = door.house.addresses()[0].port();
    let jobs = door.ssh(&["jobs"]).await;
    assert!(jobs.stdout.contains("konnektor restore"), "{jobs:?}");
    let end = door.ssh(&["konnektor restore --yes --resume"]).await;
    assert_eq!((end.code, configuration(&door)), (0, wanted), "{end:?}");
    door.close().await;
}
