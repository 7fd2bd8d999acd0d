//! A RISE Konnektor is read and told to do things; and what goes wrong is said, once, without a secret.
//! Absent on purpose: the gateway in front; and guesses at what RISE's interface has beside what is public.
#![allow(clippy::format_push_string, reason = "tests")]

use crate::small;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pforte::clock::Clock;
use pforte::konnektor::perform::{Return, back_after_reboot};
use pforte::konnektor::simulator::{Make, Options, PATIENTS, Simulator};
use pforte::konnektor::{
    self, CertificatePin, Error, Json, Konnektor, LearnNothing, Product, Profiles, Spec,
};
use pforte::names::ServiceName;
use pforte::secret::Secret;
use small::{Asked, PASSWORD, Reply, Small, faults, json, status};

const OPEN: &str = "GET /api/v1/users/current";
const LOGIN: &str = "POST /api/v1/auth/login";
const TERMINALS: &str = "GET /api/v1/ctm/state";

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn cookie(value: &str) -> Reply {
    let set = format!("JSESSIONID={value}; Path=/api/v1/users; Secure; HttpOnly");
    Reply::Http(204, vec![("set-cookie", set)], String::new())
}

/// A box that insists on the headers, as the known tools send them.
fn resource(asked: &Asked) -> Reply {
    let host = asked.header("host").unwrap();
    let visitor = asked.header("referer") == Some(&format!("https://{host}"))
        && asked.header("x-requested-with") == Some("RISEHttpRequest");
    let known = asked.header("cookie") == Some("JSESSIONID=s1");
    match asked.line.as_str() {
        _ if !visitor => status(403),
        OPEN if known => status(204),
        OPEN => cookie("s1"),
        _ if !known => status(401),
        TERMINALS => json(&format!(
            r#"[{{"CTID":"00:0D","SLOTS_USED":[1],"CARDS":[{{"CARDTYPE":"EGK","N":"{}"}}]}}]"#,
            PATIENTS[0]
        )),
        "GET /api/v1/status" => json("{\"vpnState\":{\"tiOnline\":true}}"),
        _ => status(200),
    }
}

async fn small(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Small {
    Small::start(Product::Rise, answer).await
}

async fn opened(spec: &Spec) -> Arc<dyn Konnektor> {
    let profiles = Profiles::shipped().unwrap();
    konnektor::open(spec.clone(), &profiles, Arc::new(LearnNothing)).await.unwrap()
}

#[tokio::test]
async fn a_login_takes_the_cookie_first_and_sends_it_everywhere_with_both_headers() {
    let small = small(resource).await;
    let konnektor = opened(&small.spec).await;
    let reading = konnektor.read(&[name("terminals"), name("status")], &()).await.unwrap();
    assert_eq!(reading.failed, []);
    let text = reading.services[0].value.text();
    assert_eq!(text, r#"[{"CTID":"00:0D","SLOTS_USED":[1],"CARDS":[]}]"#, "no patient comes through");
    assert_eq!(reading.services[0].stripped, ["/0/CARDS/0"]);
    konnektor.read(&[], &()).await.unwrap();
    let lines: Vec<String> = small.asked("").into_iter().map(|asked| asked.line).take(2).collect();
    assert_eq!(lines, [OPEN, LOGIN]);
    let login = &small.asked(LOGIN)[0];
    let body: serde_json::Value = serde_json::from_str(&login.body).unwrap();
    assert_eq!(body, serde_json::json!({"user": "wartung", "password": PASSWORD}));
    assert_eq!(small.asked(LOGIN).len(), 1);
    assert!(small.asked("").iter().skip(1).all(|asked| asked.header("cookie") == Some("JSESSIONID=s1")));
    let before = small.asked("").len();
    konnektor.logout().await;
    assert_eq!(small.asked("").len(), before, "no logout is known");
}

#[tokio::test]
async fn a_refused_password_is_sent_once_whatever_the_box_says_to_it() {
    for refusal in [401, 403, 400, 204, 302] {
        let small =
            small(move |asked| if asked.line == LOGIN { status(refusal) } else { resource(asked) }).await;
        let error = opened(&small.spec).await.read(&[], &()).await.unwrap_err();
        assert_eq!(error, Error::LoginFailed, "{refusal}");
        assert_eq!((small.asked(LOGIN).len(), small.asked("").len()), (1, 2));
    }
}

#[tokio::test]
async fn a_login_that_fails_for_another_reason_says_which() {
    let http = |status| Error::Http { status, what: "login".into() };
    let page = || Reply::Http(200, vec![("content-type", "text/html".into())], "<html>".into());
    for (line, fault, error) in [
        (OPEN, status(500), http(500)),
        (OPEN, status(204), Error::NoToken),
        (OPEN, page(), Error::NoToken),
        (OPEN, Reply::Drop, Error::Dropped),
        (LOGIN, status(500), http(500)),
        (LOGIN, page(), http(200)),
        (LOGIN, Reply::Drop, Error::Dropped),
        (LOGIN, Reply::Stall, Error::TimedOut),
    ] {
        let told = fault.clone();
        let mut small =
            small(move |asked| if asked.line == line { told.clone() } else { resource(asked) }).await;
        small.spec.timeouts.whole = Duration::from_secs(2);
        assert_eq!(opened(&small.spec).await.read(&[], &()).await.unwrap_err(), error, "{line} {fault:?}");
        assert!(small.asked(LOGIN).len() <= 1);
    }
}

/// A box whose first session ends at once: it answers `refusal` then, and gives a new cookie to who asks.
async fn forgetful(refusal: u16) -> Small {
    let given = AtomicUsize::new(0);
    small(move |asked| {
        let valid = asked.header("cookie") == Some("JSESSIONID=s2");
        match asked.line.as_str() {
            OPEN if valid => status(204),
            OPEN => cookie(&format!("s{}", given.fetch_add(1, Ordering::Relaxed).min(1) + 1)),
            LOGIN => status(200),
            _ if valid => json("[]"),
            _ => status(refusal),
        }
    })
    .await
}

#[tokio::test]
async fn a_session_that_is_over_is_begun_again_once_also_where_the_box_says_403() {
    for refusal in [401, 403] {
        let small = forgetful(refusal).await;
        let reading = opened(&small.spec).await.read(&[], &()).await.unwrap();
        assert_eq!((reading.services.len(), reading.failed.len()), (1, 0), "{refusal}");
        assert_eq!(small.asked(LOGIN).len(), 2);
    }
}

#[tokio::test]
async fn what_the_role_forbids_is_no_reason_to_log_in_again() {
    let small = small(|asked| if asked.line == TERMINALS { status(403) } else { resource(asked) }).await;
    let konnektor = opened(&small.spec).await;
    let reading = konnektor.read(&[name("terminals"), name("status")], &()).await.unwrap();
    assert_eq!(reading.failed, [(name("terminals"), Error::NotAllowed { status: 403 })]);
    assert_eq!(small.asked(LOGIN).len(), 1);
}

#[tokio::test]
async fn what_one_service_does_wrong_is_named_and_the_rest_kept() {
    for (fault, error) in faults("terminals") {
        let told = fault.clone();
        let small =
            small(move |asked| if asked.line == TERMINALS { told.clone() } else { resource(asked) }).await;
        let konnektor = opened(&small.spec).await;
        let reading = konnektor.read(&[name("terminals"), name("status")], &()).await.unwrap();
        assert_eq!(reading.failed, [(name("terminals"), error)], "{:.80}", format!("{fault:?}"));
        assert_eq!(reading.services.len(), 1);
    }
}

#[tokio::test]
async fn silence_ends_with_the_whole_time_and_another_certificate_before_anything_is_sent() {
    for fault in [Reply::Stall, Reply::Drip] {
        let mut small =
            small(move |asked| if asked.line == TERMINALS { fault.clone() } else { resource(asked) }).await;
        small.spec.timeouts.whole = Duration::from_secs(2);
        assert_eq!(opened(&small.spec).await.read(&[], &()).await.unwrap_err(), Error::TimedOut);
    }
    let mut small = small(resource).await;
    let presented = small.spec.certificate.unwrap();
    let pinned: CertificatePin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    small.spec.certificate = Some(pinned);
    let error = opened(&small.spec).await.read(&[], &()).await.unwrap_err();
    assert_eq!(error, Error::CertificateChanged { pinned, presented });
    assert!(small.asked("").is_empty());
}

#[tokio::test]
async fn what_is_not_publicly_known_is_not_tried() {
    let small = small(resource).await;
    let konnektor = opened(&small.spec).await;
    let value = Json::of(&serde_json::json!([]));
    let of = |key: &str| Error::NotInProfile { key: key.into() };
    assert_eq!(konnektor.read(&[name("infomodell")], &()).await.unwrap_err(), of("service.infomodell.read"));
    let (terminals, status) = (name("terminals"), name("status"));
    assert_eq!(konnektor.write(&terminals, &value).await.unwrap_err(), of("service.terminals.write"));
    assert_eq!(
        konnektor.write(&status, &value).await.unwrap_err(),
        Error::ReadOnly { service: name("status") }
    );
    assert_eq!(konnektor.perform(&"backup".parse().unwrap(), None).await.unwrap_err(), of("perform.path"));
    assert!(small.asked("PUT").is_empty() && small.asked("POST").len() <= 1);
}

async fn simulated() -> (tempfile::TempDir, Simulator, Spec) {
    let dir = tempfile::tempdir().unwrap();
    let password = || Secret::new(PASSWORD.into());
    let options = Options::of(Make::Rise, dir.path().to_owned(), password(), Clock::system());
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

#[tokio::test]
async fn a_simulated_box_is_found_out_read_told_to_act_and_waited_for() {
    let (_dir, simulator, spec) = simulated().await;
    let konnektor = opened(&spec).await;
    let identity = konnektor.identify().await.unwrap();
    assert_eq!((identity.product(), identity.firmware.as_str()), (Product::Rise, "4.2.8"));
    assert!(konnektor.profile().knows_firmware(&identity.firmware));
    let reading = konnektor.read(&[name("terminals"), name("status")], &()).await.unwrap();
    assert_eq!(reading.failed, []);
    let text: String = reading.services.iter().map(|read| read.value.text()).collect();
    assert!(PATIENTS.iter().all(|patient| !text.contains(patient)));
    let id = reading.services[0].value.at("/1/CTID").unwrap().word().unwrap().into_owned();
    let data = Json::of(&serde_json::json!({ "ctId": id }));
    konnektor.perform(&"assign-ct".parse().unwrap(), Some(&data)).await.unwrap();
    let answer = konnektor.perform(&"pairing-initialize".parse().unwrap(), Some(&data)).await.unwrap();
    assert!(answer.contains("fingerprint"), "{answer}");
    konnektor.perform(&"reboot".parse().unwrap(), None).await.unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |step| told.lock().unwrap().push(step);
    let took = back_after_reboot(&*konnektor, Duration::from_mins(1), &tell).await.unwrap();
    assert!(took < Duration::from_mins(1));
    assert_eq!(simulator.reboots(), 1);
    assert_eq!(told.into_inner().unwrap(), [Return::Away, Return::Answers, Return::LoggedIn]);
    assert_eq!(konnektor.read(&[], &()).await.unwrap().services.len(), 1);
}
