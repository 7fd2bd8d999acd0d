//! A secunet Konnektor is read, written and told to do things; and what goes wrong is said, once, without a secret.
//! Absent on purpose: the gateway in front; and guesses at what secunet's interface has beside what is public.
#![allow(clippy::format_push_string, reason = "tests")]

use crate::small;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pforte::clock::Clock;
use pforte::konnektor::perform::{Return, back_after_reboot, check};
use pforte::konnektor::simulator::{Make, Options, PATIENTS, Simulator};
use pforte::konnektor::{
    self, CertificatePin, Error, Json, Konnektor, LearnNothing, Product, Profiles, Spec,
};
use pforte::names::ServiceName;
use pforte::secret::Secret;
use small::{Asked, PASSWORD, Reply, Small, faults, json, status};

const LOGIN: &str = "POST /rest/mgmt/ak/konten/login";
const LOGOUT: &str = "DELETE /rest/mgmt/ak/konten/profil/logout";
const TERMINALS: &str = "GET /rest/mgmt/ak/dienste/kartenterminals";

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn let_in(token: &str) -> Reply {
    Reply::Http(204, vec![("authorization", token.into())], String::new())
}

/// A box that knows its resources; its terminals hold patients' cards.
fn resource(asked: &Asked) -> Reply {
    let cards = format!(
        r#"[{{"internalId":"t1","hostname":"ORGA","adminPassword":null,"slotInfos":[{{"x":"{}"}},{{"type":"EGK","n":"{}"}}]}}]"#,
        PATIENTS[0], PATIENTS[1]
    );
    let known = asked.header("authorization") == Some("Bearer a.b+c/d==");
    match asked.line.as_str() {
        LOGIN => let_in("Bearer a.b+c/d=="),
        _ if !known => status(401),
        TERMINALS => json(&cards),
        "GET /rest/mgmt/ak/info" => json(&format!("{{\"kartenTerminals\":{cards},\"aufrufkontexte\":[]}}")),
        "GET /rest/mgmt/ak/dienste/karten" => {
            json(&format!("[{{\"cardType\":\"EGK\",\"h\":\"{}\"}}]", PATIENTS[0]))
        }
        "GET /rest/mgmt/ak/dienste/status/version" => {
            json("{\"serialNumber\":\"8027\",\"fwVersion\":\"5.1.2\"}")
        }
        line if line.starts_with("GET /rest/mgmt/") => json("[1]"),
        _ => status(204),
    }
}

async fn small(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Small {
    Small::start(Product::Secunet, answer).await
}

async fn driver(small: &Small) -> Arc<dyn Konnektor> {
    opened(&small.spec).await
}

/// What a person or the journal could get to read of an error.
fn faces(error: &Error) -> String {
    format!("{error} {error:?} {} {}", error.sentence(false), error.sentence(true))
}

#[tokio::test]
async fn a_backup_is_read_under_one_login_whose_header_goes_back_as_it_came_and_is_ended() {
    let small = small(resource).await;
    let konnektor = driver(&small).await;
    let reading = konnektor.read(&[], &()).await.unwrap();
    let names: Vec<&str> = reading.services.iter().map(|read| read.service.as_str()).collect();
    let wanted = [
        "version",
        "licences",
        "kartenterminals",
        "mandanten",
        "clientsysteme",
        "infomodell",
        "protokoll",
        "ksr",
    ];
    assert_eq!(names, wanted);
    assert!(reading.failed.is_empty(), "{:?}", reading.failed);
    konnektor.read(&[name("version")], &()).await.unwrap();
    let logins = small.asked(LOGIN);
    assert_eq!(logins.len(), 1);
    let body: serde_json::Value = serde_json::from_str(&logins[0].body).unwrap();
    assert_eq!(body, serde_json::json!({"username": "wartung", "password": PASSWORD}));
    assert_eq!(logins[0].header("content-type"), Some("application/json"));
    assert_eq!(logins[0].header("authorization"), None);
    konnektor.logout().await;
    konnektor.logout().await;
    let out = small.asked("DELETE");
    assert_eq!(out.len(), 1, "once");
    assert_eq!((out[0].line.as_str(), out[0].header("authorization")), (LOGOUT, Some("Bearer a.b+c/d==")));
    assert!(small.asked("").iter().all(|asked| !asked.line.contains("a.b")), "the token is in no address");
}

#[tokio::test]
async fn no_patient_comes_through() {
    let small = small(resource).await;
    let konnektor = driver(&small).await;
    let all = ["kartenterminals", "infomodell", "karten"].map(name);
    let reading = konnektor.read(&all, &()).await.unwrap();
    let text =
        format!("{reading:?} {}", reading.services.iter().map(|read| read.value.text()).collect::<String>());
    for patient in PATIENTS {
        assert!(!text.contains(patient), "{patient}");
    }
    assert!(text.contains("\"hostname\":\"ORGA\""));
    assert_eq!(reading.services[0].stripped, ["/0/slotInfos"]);
    assert_eq!(reading.services[1].stripped, ["/kartenTerminals/0/slotInfos"]);
    assert_eq!(reading.services[2].stripped, ["/0"]);
}

#[tokio::test]
async fn a_refused_password_is_sent_once_whatever_the_box_says_to_it() {
    for refusal in [status(401), status(403), status(400), status(204), json("{}"), let_in(" ")] {
        let told = refusal.clone();
        let small = small(move |_| told.clone()).await;
        let error = driver(&small).await.read(&[], &()).await.unwrap_err();
        assert_eq!(error, Error::LoginFailed, "{refusal:?}");
        assert_eq!((small.asked(LOGIN).len(), small.asked("").len()), (1, 1));
        assert!(!faces(&error).contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_login_that_fails_for_another_reason_says_which() {
    let http = |status| Error::Http { status, what: "login".into() };
    for (fault, error) in [
        (status(500), http(500)),
        (status(404), http(404)),
        (Reply::Http(302, vec![("location", "/management/login".into())], String::new()), http(302)),
        (
            Reply::Http(302, vec![("location", "https://evil.example/".into())], String::new()),
            Error::RedirectElsewhere,
        ),
        (Reply::Drop, Error::Dropped),
        (Reply::Stall, Error::TimedOut),
        (Reply::Endless(4 << 20), Error::TooLarge { limit: 2 << 20 }),
    ] {
        let told = fault.clone();
        let mut small = small(move |_| told.clone()).await;
        small.spec.timeouts.whole = Duration::from_secs(2);
        assert_eq!(driver(&small).await.read(&[], &()).await.unwrap_err(), error, "{fault:?}");
        assert_eq!(small.asked(LOGIN).len(), 1);
    }
}

/// A box whose sessions end after so many answers.
async fn ending(every: usize) -> Small {
    let served = AtomicUsize::new(0);
    let live = Mutex::new(0_usize);
    small(move |asked| {
        let mut live = live.lock().unwrap();
        if asked.line == LOGIN {
            *live += 1;
            served.store(0, Ordering::Relaxed);
            return let_in(&format!("Bearer {live}"));
        }
        let current = asked.header("authorization") == Some(&format!("Bearer {live}"));
        if current && served.fetch_add(1, Ordering::Relaxed) < every { json("[]") } else { status(401) }
    })
    .await
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_is_begun_again_once_for_all() {
    for parallel in [1, 4] {
        let mut small = ending(5).await;
        small.spec.parallel = parallel;
        let reading = driver(&small).await.read(&[], &()).await.unwrap();
        assert_eq!((reading.services.len(), reading.failed.len()), (8, 0));
        assert_eq!(small.asked(LOGIN).len(), 2);
    }
}

#[tokio::test]
async fn a_session_that_ends_again_and_again_is_not_begun_without_end() {
    let small = ending(2).await;
    let konnektor = driver(&small).await;
    let reading = konnektor.read(&[], &()).await.unwrap();
    assert!(reading.failed.iter().all(|(_, error)| *error == Error::SessionExpired), "{:?}", reading.failed);
    assert_eq!((reading.services.len(), small.asked(LOGIN).len()), (4, 2));
    assert_eq!(
        konnektor.read(&[name("ksr")], &()).await.unwrap().services.len(),
        1,
        "the next one logs in anew"
    );
}

#[tokio::test]
async fn a_password_changed_meanwhile_is_tried_once_by_all_readers_together() {
    let first = AtomicUsize::new(0);
    let small = small(move |asked| match asked.line.as_str() {
        LOGIN if first.fetch_add(1, Ordering::Relaxed) == 0 => let_in("Bearer x"),
        _ => status(401),
    })
    .await;
    assert_eq!(driver(&small).await.read(&[], &()).await.unwrap_err(), Error::LoginFailed);
    assert_eq!(small.asked(LOGIN).len(), 2, "once to begin with, once when the session ended");
}

#[tokio::test]
async fn what_one_service_does_wrong_is_named_and_the_rest_kept() {
    for (fault, error) in faults("kartenterminals") {
        let told = fault.clone();
        let small =
            small(move |asked| if asked.line == TERMINALS { told.clone() } else { resource(asked) }).await;
        let reading = driver(&small).await.read(&[], &()).await.unwrap();
        assert_eq!(
            reading.failed,
            [(name("kartenterminals"), error.clone())],
            "{:.80}",
            format!("{fault:?}")
        );
        assert_eq!(reading.services.len(), 7);
        for secret in ["a.b+c", PASSWORD, "Wartung", "evil"] {
            assert!(!faces(&error).contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_redirect_on_the_same_box_is_followed() {
    let small = small(|asked| match asked.line.as_str() {
        TERMINALS => Reply::Http(307, vec![("location", "/rest/mgmt/ak/elsewhere".into())], String::new()),
        _ => resource(asked),
    })
    .await;
    let reading = driver(&small).await.read(&[name("kartenterminals")], &()).await.unwrap();
    assert_eq!(reading.services[0].value.text(), "[1]");
}

#[tokio::test]
async fn silence_ends_with_the_whole_time_and_the_rest_is_kept() {
    for fault in [Reply::Stall, Reply::Drip] {
        let told = fault.clone();
        let mut small =
            small(move |asked| if asked.line == TERMINALS { told.clone() } else { resource(asked) }).await;
        small.spec.timeouts.whole = Duration::from_secs(2);
        let begun = Instant::now();
        let reading = driver(&small).await.read(&[], &()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(reading.failed, [(name("kartenterminals"), Error::TimedOut)], "{fault:?}");
    }
}

#[tokio::test]
async fn another_certificate_is_refused_before_anything_is_sent() {
    let mut small = small(resource).await;
    let presented = small.spec.certificate.unwrap();
    let pinned: CertificatePin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    small.spec.certificate = Some(pinned);
    let error = driver(&small).await.read(&[], &()).await.unwrap_err();
    assert_eq!(error, Error::CertificateChanged { pinned, presented });
    assert!(small.asked("").is_empty());
}

#[tokio::test]
async fn what_is_known_to_be_written_is_put_and_what_is_not_says_so_by_name() {
    let small = small(resource).await;
    let konnektor = driver(&small).await;
    let value = Json::of(&serde_json::json!({"logInfo": [], "securityLogDays": 180}));
    konnektor.write(&name("protokoll"), &value).await.unwrap();
    konnektor.write(&name("ksr"), &value).await.unwrap();
    let put = small.asked("PUT");
    assert_eq!(put[0].line, "PUT /rest/mgmt/nk/protokoll/einstellungen?strict=true");
    assert_eq!(put[1].line, "PUT /rest/mgmt/ak/dienste/ksr/einstellungen?strict=true");
    assert_eq!(
        (put[0].body.as_str(), put[0].header("content-type")),
        (value.text(), Some("application/json"))
    );
    let asked = small.asked("").len();
    for (service, error) in [
        ("infomodell", Error::NotInProfile { key: "service.infomodell.write".into() }),
        ("netzwerk", Error::NotInProfile { key: "service.netzwerk.write".into() }),
        ("benutzer", Error::ReadOnly { service: name("benutzer") }),
        ("version", Error::ReadOnly { service: name("version") }),
    ] {
        assert_eq!(konnektor.write(&name(service), &value).await.unwrap_err(), error);
    }
    let unread = konnektor.read(&[name("netzwerk")], &()).await.unwrap_err();
    assert_eq!(unread, Error::NotInProfile { key: "service.netzwerk.read".into() });
    assert_eq!(small.asked("").len(), asked, "nothing is tried");
}

#[tokio::test]
async fn a_write_whose_session_ended_before_is_sent_again_and_no_other() {
    for (answers, result, puts) in [
        (vec![401, 200], Ok(()), 2),
        (vec![401, 401], Err(Error::SessionExpired), 2),
        (vec![500, 200], Err(Error::Http { status: 500, what: "ksr".into() }), 1),
        (vec![403, 200], Err(Error::NotAllowed { status: 403 }), 1),
        (vec![302, 200], Err(Error::Http { status: 302, what: "ksr".into() }), 1),
    ] {
        let left = Mutex::new(answers.clone());
        let small = small(move |asked| match asked.line.split(' ').next() {
            Some("PUT") => status(left.lock().unwrap().remove(0)),
            _ => resource(asked),
        })
        .await;
        let written = driver(&small).await.write(&name("ksr"), &Json::of(&serde_json::json!({}))).await;
        assert_eq!(written, result, "{answers:?}");
        assert_eq!(small.asked("PUT").len(), puts, "{answers:?}");
    }
}

#[tokio::test]
async fn actions_go_to_their_own_paths_with_what_belongs_there() {
    let small = small(|asked| match asked.line.split(' ').next() {
        Some("PUT") => json("{\"done\":1}"),
        _ => resource(asked),
    })
    .await;
    let konnektor = driver(&small).await;
    let of = |value| Json::of(&value);
    for (action, data, line, body) in [
        ("reboot", None, "POST /rest/mgmt/nk/system", "{}"),
        (
            "delete-ct",
            Some(of(serde_json::json!({"id": "1-a"}))),
            "DELETE /rest/mgmt/ak/dienste/kartenterminals/1-a",
            "",
        ),
        (
            "activate-ct",
            Some(of(serde_json::json!({"id": "1"}))),
            "PUT /rest/mgmt/ak/dienste/kartenterminals/1/aktivieren",
            "",
        ),
        ("check-updates", None, "PUT /rest/mgmt/ak/dienste/ksr/informationen/update", ""),
        (
            "schedule-update",
            Some(of(serde_json::json!({"updateId": "u", "schedule": 0}))),
            "PUT /rest/mgmt/ak/dienste/ksr/einplanen",
            "{\"updateId\":\"u\",\"schedule\":0}",
        ),
    ] {
        let answer = konnektor.perform(&action.parse().unwrap(), data.as_ref()).await.unwrap();
        assert_eq!(answer, if line.starts_with("PUT") { "{\"done\":1}" } else { "" });
        let asked = small.asked(line);
        assert_eq!((asked.len(), asked[0].line.as_str(), asked[0].body.as_str()), (1, line, body));
        assert_eq!(asked[0].header("content-type"), (!body.is_empty()).then_some("application/json"));
    }
    let unknown = konnektor.perform(&"werksreset".parse().unwrap(), None).await.unwrap_err();
    assert_eq!(unknown, Error::NotInProfile { key: "perform.path".into() });
}

async fn simulated() -> (tempfile::TempDir, Simulator, Spec) {
    let dir = tempfile::tempdir().unwrap();
    let password = || Secret::new(PASSWORD.into());
    let options = Options::of(Make::Secunet, dir.path().to_owned(), password(), Clock::system());
    let user = options.user.clone();
    let simulator = Simulator::start(options).await.unwrap();
    let mut spec = small(resource).await.spec.clone();
    spec.product = Product::Auto;
    spec.address = simulator.address().to_string().parse().unwrap();
    spec.sds_address = Some(spec.address.clone());
    spec.certificate = Some(simulator.certificate_pin());
    spec.user = user;
    (dir, simulator, spec)
}

async fn opened(spec: &Spec) -> Arc<dyn Konnektor> {
    let profiles = Profiles::shipped().unwrap();
    konnektor::open(spec.clone(), &profiles, Arc::new(LearnNothing)).await.unwrap()
}

#[tokio::test]
async fn a_simulated_box_is_found_out_read_and_written() {
    let (dir, simulator, spec) = simulated().await;
    let konnektor = opened(&spec).await;
    let identity = konnektor.identify().await.unwrap();
    assert_eq!((identity.product(), identity.firmware.as_str()), (Product::Secunet, "2.0.2"));
    assert!(konnektor.profile().knows_firmware(&identity.firmware));
    let all = konnektor.profile().services().iter().map(|service| service.name.clone());
    let known: Vec<ServiceName> =
        all.filter(|name| !["benutzer", "netzwerk", "vpn"].contains(&name.as_str())).collect();
    let reading = konnektor.read(&known, &()).await.unwrap();
    assert_eq!((reading.services.len(), reading.failed.as_slice()), (known.len(), [].as_slice()));
    let text: String = reading.services.iter().map(|read| read.value.text()).collect();
    assert!(PATIENTS.iter().all(|patient| !text.contains(patient)));
    for service in ["protokoll", "ksr"] {
        let read = reading.services.iter().find(|read| read.service.as_str() == service).unwrap();
        konnektor.write(&read.service, &read.value).await.unwrap();
    }
    assert_eq!(simulator.writes(), 2);
    konnektor.logout().await;
    assert!(simulator.requests().iter().any(|request| request.method == "DELETE"));
    drop(dir);
}

#[tokio::test]
async fn a_simulated_box_is_told_to_act_and_waited_for() {
    let (_dir, simulator, spec) = simulated().await;
    let konnektor = opened(&spec).await;
    let reading = konnektor.read(&[name("kartenterminals")], &()).await.unwrap();
    let id = reading.services[0].value.at("/0/internalId").unwrap().word().unwrap().into_owned();
    let data = Json::of(&serde_json::json!({ "id": id }));
    for action in ["connect-ct", "deactivate-ct", "activate-ct", "unassign-ct", "delete-ct"] {
        let action = action.parse().unwrap();
        check(konnektor.profile(), &action, Some(&data), false).unwrap();
        konnektor.perform(&action, Some(&data)).await.unwrap();
    }
    konnektor.perform(&"reboot".parse().unwrap(), None).await.unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |step| told.lock().unwrap().push(step);
    back_after_reboot(&*konnektor, Duration::from_mins(1), &tell).await.unwrap();
    assert_eq!(simulator.reboots(), 1);
    assert_eq!(told.into_inner().unwrap(), [Return::Away, Return::Answers, Return::LoggedIn]);
}

#[tokio::test]
async fn a_box_that_stays_away_is_waited_for_no_longer_than_allowed_and_a_refused_password_ends_it() {
    let (_dir, simulator, mut spec) = simulated().await;
    let right = spec.password.clone();
    spec.password = Secret::new("other".into());
    let konnektor = opened(&spec).await;
    let login = || simulator.requests().iter().filter(|request| request.path.ends_with("/login")).count();
    spec.password = right;
    opened(&spec).await.perform(&"reboot".parse().unwrap(), None).await.unwrap();
    let before = login();
    let error = back_after_reboot(&*konnektor, Duration::from_mins(1), &|_| {}).await.unwrap_err();
    assert_eq!((error, login() - before), (Error::LoginFailed, 1));
    drop(simulator);
    let begun = Instant::now();
    let error = back_after_reboot(&*konnektor, Duration::from_secs(1), &|_| {}).await.unwrap_err();
    assert_eq!(error, Error::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
