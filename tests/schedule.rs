//! Backups by themselves, in a running gateway with a clock that the test sets: once, told, caught up, tidied.
//! Absent on purpose: when slots are; see `schedule::times` and `schedule::due`.

use crate::door;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode};
use door::{Door, PASSWORD, Setup};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use pforte::clock::Clock;
use pforte::house::{self, House};
use pforte::konnektor::archive::Archive;
use pforte::konnektor::simulator::{Fault, Order};
use pforte::names::KonnektorId;
use pforte::policy::Routinely;
use pforte::random::Random;
use pforte::vault::About;
use serde_json::Value;

const NIGHT: &str = "\n[[schedule]]\nat = \"02:30\"\njitter = \"0s\"\n";
const NAME: &str = "praxis-mueller/main 02:30 Europe/Berlin";
/// A Saturday.
const NOON: &str = "2026-11-21T12:00:00Z";

/// A clock that the test sets.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(text: &str) -> Self {
        let hands = Self(Arc::default());
        hands.set(text);
        hands
    }

    fn set(&self, text: &str) {
        self.0.store(text.parse::<Timestamp>().unwrap().as_microsecond(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::of(move || Timestamp::from_microsecond(hands.load(Ordering::SeqCst)).unwrap())
    }
}

fn id() -> KonnektorId {
    KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() }
}

/// A gateway with this behind the site's file, whose schedules have begun.
async fn open(hands: &Hands, site_more: &str, setup: Setup) -> Door {
    let door = Door::open(Setup { site_more: site_more.into(), clock: hands.clock(), ..setup }).await;
    if site_more.contains("02:30") {
        begun(&door, NAME).await;
    }
    door
}

async fn begun(door: &Door, name: &str) {
    until(door, || async { door.house.front().works.state.slots().await.unwrap().contains_key(name) }).await;
}

/// Looks, and looks again, until it is so.
async fn until<F: Future<Output = bool>>(door: &Door, so: impl Fn() -> F) {
    for _ in 0..1500 {
        door.house.schedule().look();
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not so: {:#?}", door.journal());
}

/// Lines of what a schedule did.
fn lines(door: &Door, event: &str) -> Vec<Value> {
    let lines = door.events(event).into_iter();
    lines.filter(|line| line["factor"] == "schedule" && line["command"] == "konnektor backup").collect()
}

async fn finished(door: &Door, count: usize) -> Vec<Value> {
    until(door, || async { lines(door, "finished").len() >= count }).await;
    // What became of the slot is written behind the last line.
    until(door, || async {
        let works = &door.house.front().works;
        let waits = works.clock.now() + jiff::SignedDuration::from_mins(6);
        works.state.slots().await.unwrap().get(NAME).is_none_or(|slot| slot.over || slot.not_before > waits)
    })
    .await;
    let lines = lines(door, "finished");
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn notices(door: &Door, notice: &str) -> Vec<String> {
    let lines = door.events("loaded").into_iter();
    let causes = lines.filter_map(|line| line["cause"].as_str().map(ToOwned::to_owned));
    causes.filter(|cause| cause.starts_with(&format!("notice {notice}: "))).collect()
}

/// The site's file with another text in it; the gateway is told.
async fn change_site(door: &Door, change: impl FnOnce(String) -> String) {
    let path = door.path().join("policy/sites/praxis-mueller.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(text)).unwrap();
    door.reload().await;
}

async fn box_goes_away(door: &Door) {
    let there = door.konnektor.address().to_string();
    change_site(door, |text| text.replace(&there, "127.0.0.1:1")).await;
}

async fn box_comes_back(door: &Door) {
    let there = door.konnektor.address().to_string();
    change_site(door, |text| text.replace("127.0.0.1:1", &there)).await;
}

async fn kept(door: &Door) -> Vec<pforte::vault::Kept> {
    door.house.front().works.konnektors.vault.list(&id()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_backup_runs_without_a_person_and_says_so_everywhere() {
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, Setup::default()).await;
    hands.set("2026-11-22T01:30:05Z");
    let finished_lines = finished(&door, 1).await;
    let started = &lines(&door, "started")[0];
    for line in [started, &finished_lines[0]] {
        for absent in ["user", "firm", "key", "from", "session"] {
            assert!(line.get(absent).is_none(), "{line}");
        }
        assert_eq!((&line["site"], &line["target"]), (&"praxis-mueller".into(), &"konnektor/main".into()));
        let rule = line["rule"].as_str().unwrap();
        assert!(rule.starts_with("praxis-mueller.toml:"), "{rule}");
    }
    assert_eq!(finished_lines[0]["exit"], 0);
    let [backup] = &kept(&door).await[..] else { panic!("one") };
    assert_eq!(backup.about.as_ref().unwrap().by, "schedule");
    let vault = &door.house.front().works.konnektors.vault;
    let archive = Archive::parse(&vault.get(&id(), &backup.name).await.unwrap()).unwrap();
    assert_eq!((archive.about.by.clone(), archive.about.session.clone()), (None, None));
    let backups = door.ssh(&["konnektor", "backups"]).await;
    assert!(
        backups.stdout.contains("2026-11-22-01-30.json") && backups.stdout.contains("\tschedule"),
        "{backups:?}"
    );
    let jobs = door.ssh(&["jobs"]).await;
    assert!(jobs.stdout.contains("\tschedule\t") && jobs.stdout.contains("konnektor backup"), "{jobs:?}");
    // The day after there is a second one, and in between there was none. One service has changed.
    std::fs::write(door.path().join("konnektor/ntpservice.json"), "{\"edited\": 1}").unwrap();
    hands.set("2026-11-23T01:30:05Z");
    let second = finished(&door, 2).await;
    assert_eq!(second[1]["cause"], "changed since 2026-11-22-01-30.json: ntpservice");
    assert_eq!(notices(&door, "backup-changed").len(), 1);
    door.close().await;
}

/// What somebody was told: its headers and body.
type Heard = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// An HTTP service that refuses the first post.
async fn receiver() -> (String, Heard) {
    let heard: Heard = Arc::default();
    let tries = Arc::new(AtomicUsize::new(0));
    let take = |Extracted((heard, tries)): Extracted<(Heard, Arc<AtomicUsize>)>,
                headers: HeaderMap,
                body: String| async move {
        if tries.fetch_add(1, Ordering::SeqCst) == 0 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        heard.lock().unwrap().push((headers, body));
        StatusCode::NO_CONTENT
    };
    let app =
        axum::Router::new().route("/told", axum::routing::post(take)).with_state((heard.clone(), tries));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, heard)
}

fn notify(url: &str) -> Setup {
    let more = format!("\n[notify]\nurl = \"{url}\"\nsecret = {{ file = \"secrets/notify\" }}\n");
    let secret = ("secrets/notify", "0123456789abcdef\n".to_owned(), 0o600);
    Setup { gateway_more: more, files: vec![secret], ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_is_away_is_tried_three_times_and_then_told_signed() {
    let (url, heard) = receiver().await;
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, notify(&url)).await;
    box_goes_away(&door).await;
    for (n, time) in ["01:30:05", "01:40:30", "02:41:00"].into_iter().enumerate() {
        hands.set(&format!("2026-11-22T{time}Z"));
        let lines = finished(&door, n + 1).await;
        assert_eq!((&lines[n]["exit"], &lines[n]["cause"]), (&69.into(), &"konnektor=away".into()));
        assert_eq!(notices(&door, "backup-failed").len(), usize::from(n == 2), "at try {}", n + 1);
    }
    until(&door, || async { !heard.lock().unwrap().is_empty() }).await;
    let (headers, body) = heard.lock().unwrap()[0].clone();
    let timestamp = headers["x-pforte-timestamp"].to_str().unwrap();
    assert_eq!(timestamp, "1795315260", "the clock's");
    let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(b"0123456789abcdef").unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let signature = mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}")).unwrap();
        hex
    });
    assert_eq!(headers["x-pforte-signature"].to_str().unwrap(), format!("sha256={signature}"));
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["event"], &told["site"]), (&"backup-failed".into(), &"praxis-mueller".into()));
    assert_eq!(
        (&told["konnektor"], &told["job"], &told["cause"]),
        (&"main".into(), &3.into(), &"konnektor=away".into())
    );
    assert!(told["text_de"].as_str().unwrap().contains("gescheitert"), "{told}");
    assert!(!body.contains(PASSWORD));
    // It is over: nothing more before the next night, and then it works.
    box_comes_back(&door).await;
    hands.set("2026-11-23T01:30:05Z");
    assert_eq!(finished(&door, 4).await[3]["exit"], 0);
    assert_eq!(heard.lock().unwrap().len(), 1);
    door.close().await;
}

/// The gateway's end and its next start, a while later.
async fn restart(door: &mut Door, hands: &Hands, at: &str) {
    door.house.close().await;
    hands.set(at);
    let loaded = house::load(door.path()).unwrap_or_else(|problems| panic!("{problems}"));
    door.house = House::open(door.path(), loaded, hands.clock(), Random::system()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_while_the_gateway_was_down_is_caught_up_once() {
    let hands = Hands::at(NOON);
    let mut door = open(&hands, NIGHT, Setup::default()).await;
    restart(&mut door, &hands, "2026-11-25T09:00:00Z").await;
    hands.set("2026-11-25T09:15:01Z");
    assert_eq!(finished(&door, 1).await[0]["exit"], 0);
    hands.set("2026-11-26T01:30:05Z");
    finished(&door, 2).await;
    let names: Vec<String> = kept(&door).await.iter().map(|kept| kept.name.to_string()).collect();
    assert_eq!(names, ["2026-11-25-09-15.json", "2026-11-26-01-30.json"]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_in_the_midst_leaves_its_trace_and_runs_the_slot_again() {
    let hands = Hands::at(NOON);
    let slow = Setup { box_latency: Duration::from_millis(400), ..Setup::default() };
    let mut door = open(&hands, NIGHT, slow).await;
    hands.set("2026-11-22T01:30:05Z");
    until(&door, || async { !lines(&door, "started").is_empty() }).await;
    restart(&mut door, &hands, "2026-11-22T02:00:00Z").await;
    let first = &lines(&door, "finished")[0];
    assert_eq!((&first["exit"], &first["cause"]), (&1.into(), &"shutdown".into()));
    hands.set("2026-11-22T02:15:01Z");
    assert_eq!(finished(&door, 2).await[1]["exit"], 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_routine_that_nobody_finishes_is_abandoned_and_one_that_no_file_orders_is_refused() {
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, Setup::default()).await;
    let gate = &door.house.front().gate;
    let line = std::fs::read_to_string(door.path().join("policy/sites/praxis-mueller.toml")).unwrap();
    let line = line.lines().position(|line| line == "[[schedule]]").unwrap() + 1;
    let routine = gate.open_standing(&id(), &format!("praxis-mueller.toml:{line}"), Routinely::Backup).await;
    drop(routine.unwrap());
    let lines = door.wait_for("finished", 1).await;
    assert_eq!((&lines[0]["cause"], &lines[0]["factor"]), (&"abandoned".into(), &"schedule".into()));
    assert!(gate.open_standing(&id(), "praxis-mueller.toml:1", Routinely::Backup).await.is_err());
    let refused = door.wait_for("refused", 1).await;
    assert_eq!((&refused[0]["cause"], &refused[0]["target"]), (&"no-rule".into(), &"konnektor/main".into()));
    assert_eq!(door.events("started").len(), 1, "what is refused does not start");
    door.close().await;
}

/// Puts a backup like the newest one into the vault as of another time, or bytes that are none.
async fn put_old(door: &Door, time: &str, good: bool) {
    let vault = &door.house.front().works.konnektors.vault;
    let newest = kept(door).await.pop().unwrap();
    let json = vault.get(&id(), &newest.name).await.unwrap();
    let text = String::from_utf8(json.to_vec()).unwrap();
    let taken: Timestamp = time.parse().unwrap();
    let about = About { taken, by: "firm-jane.doe".into(), ..newest.about.unwrap() };
    let from = format!("\"taken\": \"{}\"", about_taken(&text));
    assert!(text.contains(&from), "{from}");
    let text =
        if good { text.replace(&from, &format!("\"taken\": \"{taken}\"")) } else { "no backup".into() };
    vault.put(&id(), &about, &[], text.into_bytes().into(), None).await.unwrap();
}

fn about_taken(text: &str) -> String {
    let json: Value = serde_json::from_str(text).unwrap();
    json["pforte"]["taken"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_backups_go_with_a_line_each_but_never_the_last_good_one() {
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, Setup::default()).await;
    hands.set("2026-11-22T01:30:05Z");
    finished(&door, 1).await;
    for (time, good) in [
        ("2018-01-01T00:00:00Z", true),
        ("2018-02-01T00:00:00Z", false),
        ("2026-08-03T00:00:00Z", true),
        ("2026-08-04T00:00:00Z", true),
    ] {
        put_old(&door, time, good).await;
    }
    hands.set("2026-11-23T01:30:05Z");
    let lines = finished(&door, 2).await;
    assert_eq!(lines[1]["cause"], "removed=3");
    let gone: Vec<Value> = door.events("file").iter().map(|line| line["path"].clone()).collect();
    assert_eq!(gone, ["2018-01-01-00-00.json", "2018-02-01-00-00.json", "2026-08-03-00-00.json"]);
    for line in door.events("file") {
        assert_eq!((&line["change"], &line["factor"]), (&"removed".into(), &"schedule".into()));
    }
    let names = |kept: Vec<pforte::vault::Kept>| {
        kept.into_iter().map(|kept| kept.name.to_string()).collect::<Vec<_>>()
    };
    let left = ["2026-08-04-00-00.json", "2026-11-22-01-30.json", "2026-11-23-01-30.json"];
    assert_eq!(names(kept(&door).await), left);
    assert!(!door.path().join("state/vault/praxis-mueller/main/2018-01-01-00-00.json.about").exists());
    // From now on nothing good comes any more: the last good one stays for ever.
    let vault = &door.house.front().works.konnektors.vault;
    for name in &left[1..] {
        vault.remove(&id(), &name.parse().unwrap()).await.unwrap();
    }
    door.konnektor.set_fault(Order::of_service("ntpservice", Fault::Status(403)));
    hands.set("2034-11-23T01:30:05Z");
    let lines = finished(&door, 3).await;
    assert_eq!(lines[2]["cause"], "incomplete: ntpservice");
    assert_eq!(names(kept(&door).await), ["2026-08-04-00-00.json", "2034-11-23-01-30.json"]);
    assert_eq!(notices(&door, "backup-failed").len(), 1, "an incomplete one is told");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_over_one_state_run_each_slot_once() {
    let shared = tempfile::tempdir().unwrap();
    let storage =
        format!("\n[storage]\nstate = \"sqlite:{}\"\n", shared.path().join("state.sqlite").display());
    let hands = Hands::at(NOON);
    let setup = || Setup { gateway_more: storage.clone(), ..Setup::default() };
    let (one, two) = (open(&hands, NIGHT, setup()).await, open(&hands, NIGHT, setup()).await);
    for day in 22..=26_usize {
        hands.set(&format!("2026-11-{day}T01:30:05Z"));
        let both = || lines(&one, "finished").len() + lines(&two, "finished").len();
        until(&one, || async {
            two.house.schedule().look();
            both() >= day - 21
        })
        .await;
        // Both look again, and the slot is over for both.
        until(&two, || async {
            one.house.schedule().look();
            two.house.front().works.state.slots().await.unwrap()[NAME].over
        })
        .await;
        assert_eq!(both(), day - 21);
    }
    let started = lines(&one, "started").len() + lines(&two, "started").len();
    assert_eq!(started, 5);
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_changes_the_plan() {
    let hands = Hands::at(NOON);
    let door = open(&hands, "", Setup::default()).await;
    change_site(&door, |text| format!("{text}{NIGHT}")).await;
    begun(&door, NAME).await;
    hands.set("2026-11-22T01:30:05Z");
    finished(&door, 1).await;
    let other = "\n[[schedule]]\nat = \"05:00\"\njitter = \"0s\"\nservices = [\"ntpservice\"]\n";
    change_site(&door, |text| text.replace(NIGHT, other)).await;
    let name = "praxis-mueller/main 05:00 Europe/Berlin";
    begun(&door, name).await;
    hands.set("2026-11-23T04:00:05Z");
    let ran = |line: &Value| line["command"] == "konnektor backup -s ntpservice";
    until(&door, || async { door.events("finished").iter().any(ran) }).await;
    assert_eq!(lines(&door, "started").len(), 1, "the old schedule had a slot at 02:30 as well");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_backup_is_told_once_a_day_while_it_lasts() {
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, Setup::default()).await;
    let watch = "praxis-mueller/main watch";
    begun(&door, watch).await;
    hands.set("2026-11-22T01:30:05Z");
    finished(&door, 1).await;
    box_goes_away(&door).await;
    let mut told = Vec::new();
    for time in
        ["2026-11-23T02:31:00Z", "2026-11-23T06:31:00Z", "2026-11-23T18:31:00Z", "2026-11-24T07:31:00Z"]
    {
        hands.set(time);
        let hour = time.parse::<Timestamp>().unwrap().as_second() / 3600 * 3600;
        until(&door, || async {
            let slots = door.house.front().works.state.slots().await.unwrap();
            slots[watch].over && slots[watch].slot.as_second() >= hour
        })
        .await;
        told.push(notices(&door, "backup-missing").len());
    }
    assert_eq!(told, [0, 1, 1, 2]);
    let cause = &notices(&door, "backup-missing")[0];
    assert_eq!(cause, "notice backup-missing: last=2026-11-22T01:30:05Z due=2026-11-23T01:30:00Z");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_could_not_be_restored_by_hand_and_weekly_by_itself() {
    let hands = Hands::at(NOON);
    let door = open(&hands, NIGHT, Setup::default()).await;
    begun(&door, "praxis-mueller/main check").await;
    hands.set("2026-11-22T01:30:05Z");
    finished(&door, 1).await;
    let good = door.ssh(&["konnektor", "backups", "--check"]).await;
    assert_eq!(good.code, 0, "{good:?}");
    assert!(
        good.stdout.starts_with("2026-11-22-01-30.json\t") && good.stdout.ends_with("\t19\tok\n"),
        "{good:?}"
    );
    put_old(&door, "2026-11-20T00:00:00Z", false).await;
    let bad = door.ssh(&["konnektor", "backups", "--check", "--json"]).await;
    assert_eq!(bad.code, 1, "{bad:?}");
    let rows: Value = serde_json::from_str(&bad.stdout).unwrap();
    assert_eq!(
        (&rows[0]["verdict"], &rows[0]["name"]),
        (&"unusable".into(), &"2026-11-20-00-00.json".into())
    );
    assert_eq!((&rows[1]["verdict"], &rows[1]["services"]), (&"ok".into(), &19.into()));
    hands.set("2026-11-22T15:30:00Z");
    until(&door, || async { !notices(&door, "check-failed").is_empty() }).await;
    let check = |line: &Value| line["command"] == "konnektor backups --check" && line["factor"] == "schedule";
    assert_eq!(door.events("finished").into_iter().filter(check).count(), 1);
    let cause = &notices(&door, "check-failed")[0];
    assert_eq!(cause, "notice check-failed: bad-backups=1 of 2: 2026-11-20-00-00.json");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_job_is_cancelled_by_who_may_back_that_box_up() {
    let hands = Hands::at(NOON);
    let slow = Setup { box_latency: Duration::from_millis(700), ..Setup::default() };
    let door = open(&hands, NIGHT, slow).await;
    hands.set("2026-11-22T01:30:05Z");
    until(&door, || async { !lines(&door, "started").is_empty() }).await;
    let cancelled = door.ssh(&["jobs", "cancel", "1"]).await;
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    let lines = finished(&door, 1).await;
    assert_eq!(lines[0]["cause"], "cancelled by firm-jane.doe");
    assert_eq!(notices(&door, "backup-failed").len(), 1);
    door.close().await;
}
