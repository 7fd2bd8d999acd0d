//! What a `KoCoBox` can do wrong, each with the error it gives, the bound it meets, and the rest of the backup kept.
//! Absent on purpose: chance and sleeping; each failure is ordered from the simulator.
#![allow(clippy::print_stdout, reason = "tests")]

use crate::boxes;

use std::time::{Duration, Instant};

use boxes::{Bench, PASSWORD, PROFILE, Told, faces, open, open_with, simulated};
use pforte::konnektor::simulator::{Fault, Order, PATIENTS, When};
use pforte::konnektor::{Error, LearnNothing, Reading};
use pforte::names::ServiceName;

const VICTIM: &str = "cardservice";

fn victim() -> ServiceName {
    VICTIM.parse().unwrap()
}

/// One service fails; the other eighteen are read.
async fn one_fails(fault: Fault) -> Error {
    let bench = simulated(|_| {}).await;
    bench.simulator.set_fault(Order::of_service(VICTIM, fault));
    let told = Told::default();
    let reading = bench.driver().await.read(&[], &told).await.unwrap();
    assert_eq!(reading.services.len(), 18, "{:?}", reading.failed);
    assert_eq!(told.text().matches("Failed").count(), 1);
    let [(service, error)] = reading.failed.as_slice() else { panic!("{:?}", reading.failed) };
    assert_eq!(*service, victim());
    let text = format!("{}{}", told.text(), faces(error));
    for secret in PATIENTS.iter().copied().chain([PASSWORD, "Wartung", "Fehler"]) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    error.clone()
}

#[tokio::test]
async fn a_service_that_is_refused_missing_or_broken_is_named_and_the_rest_kept() {
    for (fault, error) in [
        (Fault::Status(403), Error::NotAllowed { status: 403 }),
        (Fault::Status(404), Error::NotAllowed { status: 404 }),
        (Fault::Status(500), Error::Http { status: 500, what: VICTIM.into() }),
        (Fault::Html, Error::NotJson { service: victim() }),
        (Fault::Body("{\"half\":".into()), Error::NotJson { service: victim() }),
        (Fault::Body("{\"iccsn\":80276001011699901501}".into()), Error::Inexact { service: victim() }),
        (Fault::Nested(100_000), Error::TooDeep { limit: 120 }),
        (Fault::Gzip, Error::Encoded),
        (Fault::Cookies(40), Error::TooManyHeaders),
        (Fault::Cookies(5000), Error::TooManyHeaders),
        (Fault::RedirectLoop, Error::TooManyRedirects),
        (Fault::RedirectTo("https://evil.example/x".into()), Error::RedirectElsewhere),
        (Fault::RedirectTo("//evil.example/x".into()), Error::RedirectElsewhere),
        (Fault::RedirectTo("http://127.0.0.1/x".into()), Error::RedirectElsewhere),
        (Fault::Drop, Error::Dropped),
    ] {
        assert_eq!(one_fails(fault.clone()).await, error, "{fault:?}");
    }
}

#[tokio::test]
async fn a_redirect_on_the_same_box_is_followed() {
    let bench = simulated(|_| {}).await;
    let to = "/administration/json-retrieve/ntpservice".to_owned();
    bench.simulator.set_fault(Order::of_service("update", Fault::RedirectTo(to)));
    let reading = bench.driver().await.read(&["update".parse().unwrap()], &()).await.unwrap();
    assert_eq!(reading.services[0].value, bench.value("ntpservice"));
}

#[tokio::test]
async fn four_gigabytes_are_cut_off_at_the_limit_and_memory_stays_small() {
    assert_eq!(one_fails(Fault::Endless(4 << 30)).await, Error::TooLarge { limit: 64 << 20 });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("peak {kilobytes} kB");
    assert!(kilobytes < 300_000, "{kilobytes} kB");
}

async fn within(bench: &Bench, seconds: u64) -> Result<Reading, Error> {
    let mut spec = bench.spec();
    spec.timeouts.whole = Duration::from_secs(seconds);
    open(spec).await.read(&[], &()).await
}

#[tokio::test]
async fn drops_and_silence_end_with_the_whole_time_and_the_rest_is_kept() {
    for fault in [Fault::Drip, Fault::Stall] {
        let bench = simulated(|_| {}).await;
        bench.simulator.set_fault(Order::of_service(VICTIM, fault.clone()));
        let begun = Instant::now();
        let reading = within(&bench, 2).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(reading.services.len(), 18);
        assert_eq!(reading.failed, [(victim(), Error::TimedOut)], "{fault:?}");
    }
}

#[tokio::test]
async fn a_login_that_stalls_or_fails_ends_it_all() {
    for (path, fault, error) in [
        ("/j_security_check", Fault::Stall, Error::TimedOut),
        ("/j_security_check", Fault::Drop, Error::Dropped),
        ("/j_security_check", Fault::Status(500), Error::Http { status: 500, what: "login".into() }),
        ("/j_security_check", Fault::Cookies(5000), Error::TooManyHeaders),
        ("/start.htm", Fault::Status(500), Error::Http { status: 500, what: "start page".into() }),
        ("/start.htm", Fault::Endless(1 << 30), Error::TooLarge { limit: 2 << 20 }),
        ("/start.htm", Fault::RedirectLoop, Error::TooManyRedirects),
    ] {
        let bench = simulated(|_| {}).await;
        let order = Order { fault: fault.clone(), when: When::Path(path.into()), times: None };
        bench.simulator.set_fault(order);
        assert_eq!(within(&bench, 2).await.unwrap_err(), error, "{path} {fault:?}");
    }
}

#[tokio::test]
async fn a_form_that_needs_a_session_first_gets_one() {
    let bench = simulated(|_| {}).await;
    let order =
        Order { fault: Fault::Status(408), when: When::Path("/j_security_check".into()), times: Some(1) };
    bench.simulator.set_fault(order);
    assert_eq!(bench.driver().await.read(&[], &()).await.unwrap().services.len(), 19);
    assert_eq!((bench.asked("/administration/"), bench.asked("/j_security_check")), (1, 2));
}

#[tokio::test]
async fn a_refused_password_is_posted_once_also_where_the_box_says_403() {
    for status in [401, 403] {
        let bench = simulated(|_| {}).await;
        let when = When::Path("/j_security_check".into());
        bench.simulator.set_fault(Order { fault: Fault::Status(status), when, times: None });
        assert_eq!(bench.driver().await.read(&[], &()).await.unwrap_err(), Error::LoginFailed);
        assert_eq!((bench.asked("/administration/"), bench.asked("/j_security_check")), (0, 1), "{status}");
    }
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_is_begun_again_once() {
    for parallel in [1, 4] {
        let bench = simulated(|_| {}).await;
        let order = Order { fault: Fault::SessionExpired, when: When::Nth(9), times: Some(1) };
        bench.simulator.set_fault(order);
        let mut spec = bench.spec();
        spec.parallel = parallel;
        let reading = open(spec).await.read(&[], &()).await.unwrap();
        assert_eq!((reading.services.len(), reading.failed.len()), (19, 0));
        assert_eq!(bench.asked("/j_security_check"), 2);
    }
}

#[tokio::test]
async fn a_session_that_ends_again_and_again_is_not_begun_without_end() {
    let bench = simulated(|_| {}).await;
    bench.simulator.set_fault(Order::of_service(VICTIM, Fault::SessionExpired));
    let konnektor = bench.driver().await;
    let reading = konnektor.read(&[], &()).await.unwrap();
    assert!(reading.failed.iter().any(|(service, _)| *service == victim()));
    assert!(reading.failed.iter().all(|(_, error)| *error == Error::SessionExpired), "{:?}", reading.failed);
    assert_eq!(bench.asked("/j_security_check"), 2);
    bench.simulator.clear_faults();
    assert_eq!(konnektor.read(&[], &()).await.unwrap().services.len(), 19, "the next reading logs in anew");
}

#[tokio::test]
async fn a_password_changed_meanwhile_is_not_tried_over_and_over() {
    let bench = simulated(|_| {}).await;
    let konnektor = bench.driver().await;
    assert_eq!(konnektor.read(&[], &()).await.unwrap().services.len(), 19);
    bench.simulator.end_sessions();
    let login = Fault::Body("<form action=\"/j_security_check\">".into());
    bench.simulator.set_fault(Order {
        fault: login,
        when: When::Path("/j_security_check".into()),
        times: None,
    });
    assert_eq!(konnektor.read(&[], &()).await.unwrap_err(), Error::LoginFailed);
    assert_eq!(bench.asked("/j_security_check"), 2, "once in the first reading, once in the second");
}

#[tokio::test]
async fn a_box_that_is_not_there_is_away_and_where_nothing_can_be_read_the_cause_is_said() {
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    spec.address = free.local_addr().unwrap().to_string().parse().unwrap();
    spec.sds_address = Some(spec.address.clone());
    drop(free);
    let away = open(spec).await;
    assert_eq!(away.read(&[], &()).await.unwrap_err(), Error::Away);
    assert_eq!(away.identify().await.unwrap_err(), Error::Away);
    for name in pforte::konnektor::simulator::SERVICES {
        bench.simulator.set_fault(Order::of_service(name, Fault::Status(500)));
    }
    assert!(matches!(bench.driver().await.read(&[], &()).await, Err(Error::Http { status: 500, .. })));
}

#[tokio::test]
async fn a_login_without_token_and_without_a_readable_service_is_said_to_be_that() {
    let bench = simulated(|options| options.token = pforte::konnektor::simulator::TokenWay::Cookie).await;
    for name in pforte::konnektor::simulator::SERVICES {
        bench.simulator.set_fault(Order::of_service(name, Fault::Html));
    }
    assert_eq!(bench.driver().await.read(&[], &()).await.unwrap_err(), Error::NoToken);
}

#[tokio::test]
async fn a_directory_that_is_broken_endless_or_elsewhere_identifies_nothing() {
    for (fault, error) in [
        (Fault::Html, Error::BadDirectory),
        (Fault::Status(404), Error::Http { status: 404, what: "connector.sds".into() }),
        (Fault::Endless(1 << 30), Error::TooLarge { limit: 1 << 20 }),
        (Fault::RedirectTo("https://evil.example/".into()), Error::RedirectElsewhere),
        (Fault::Gzip, Error::Encoded),
    ] {
        let bench = simulated(|_| {}).await;
        bench.simulator.set_fault(Order { fault, when: When::Path("/connector.sds".into()), times: None });
        assert_eq!(bench.driver().await.identify().await.unwrap_err(), error);
    }
}

#[tokio::test]
async fn a_smaller_limit_of_the_profile_counts() {
    let bench = simulated(|_| {}).await;
    let small = PROFILE.replace("service_bytes = 67_108_864", "service_bytes = 1_000");
    let konnektor = open_with(bench.spec(), &small, std::sync::Arc::new(LearnNothing)).await;
    let reading = konnektor.read(&[], &()).await.unwrap();
    assert!(reading.failed.iter().all(|(_, error)| *error == Error::TooLarge { limit: 1000 }));
    assert!(reading.failed.iter().any(|(service, _)| service.as_str() == "clientsystem-certificates"));
    assert!(reading.services.len() > 10);
}

#[tokio::test]
async fn a_box_that_takes_the_connection_and_says_nothing_is_away_after_the_dials_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    spec.address = silent.local_addr().unwrap().to_string().parse().unwrap();
    spec.timeouts.connect = Duration::from_millis(300);
    let begun = Instant::now();
    assert_eq!(open(spec).await.read(&[], &()).await.unwrap_err(), Error::Away);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
