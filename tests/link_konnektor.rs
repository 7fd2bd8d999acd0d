//! A Konnektor behind a site's link, for all makes: what comes is what the direct driver gives, and no secret goes over.
//! Absent on purpose: a hostile end of the link (`link_hostile.rs`), and the gateway's commands (`link_backups.rs`).
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::linked;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use linked::{Linked, PASSWORD, bench, clock, id, profiles, until, visitor};
use pforte::konnektor::archive::{Archive, Stamp};
use pforte::konnektor::diff::diff;
use pforte::konnektor::perform::back_after_reboot;
use pforte::konnektor::restore::{
    Certificates, End, Event, Options as What, Outcome, Patience as Wait, Situation, Step as Write,
    StepResult, Stop, Watch, around, execute, plan,
};
use pforte::konnektor::simulator::{Fault, Make, Order, PATIENTS};
use pforte::konnektor::{
    self, Error, Given, Konnektor, LearnNothing, Product, Progress, Reading, Spec, Step, status_of, terminals,
};
use pforte::link::frames::{Refusal, Reply};
use pforte::names::{ActionName, ServiceName};
use pforte::uplink::konnektor::{Opened, Patience, open};

const MAKES: [Make; 3] = [Make::Kocobox, Make::Secunet, Make::Rise];

async fn opened(linked: &Arc<Linked>, family: &str) -> Result<Opened, Error> {
    let streams = Arc::clone(linked);
    open(streams, (&id(), Product::Auto), visitor(family), &profiles(), Patience::ORDINARY).await
}

async fn remote(linked: &Arc<Linked>, family: &str) -> Arc<dyn Konnektor> {
    opened(linked, family).await.unwrap().driver
}

async fn direct(spec: &Spec) -> Arc<dyn Konnektor> {
    konnektor::open(spec.clone(), &profiles(), Arc::new(LearnNothing)).await.unwrap()
}

fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn step(&self, step: &Step<'_>) {
        let text = match step {
            Step::Started { service } => format!("started {service}"),
            Step::Done { service, bytes, .. } => format!("done {service} {bytes}"),
            Step::Failed { service, why } => format!("failed {service} {why:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

impl Told {
    fn sorted(&self) -> Vec<String> {
        let mut told = self.0.lock().unwrap().clone();
        told.sort();
        told
    }
}

/// The file of a reading, as both sides make it.
async fn file(driver: &dyn Konnektor, reading: Reading) -> Vec<u8> {
    let stamp = Stamp {
        identity: driver.identify().await.unwrap(),
        konnektor: id(),
        taken: clock().now(),
        by: Some("firm-jane.doe".parse().unwrap()),
        session: None,
    };
    Archive::of(reading, stamp).to_json()
}

fn failures(reading: &Reading) -> Vec<(String, Error)> {
    reading.failed.iter().map(|(service, error)| (service.to_string(), error.clone())).collect()
}

#[tokio::test]
async fn a_backup_over_the_link_is_byte_for_byte_the_direct_one_and_no_secret_is_on_the_wire() {
    for make in MAKES {
        let bench = bench(make, |options| options.forbidden = vec!["ntpservice".into()]).await;
        let direct = direct(&bench.spec).await;
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor backup").await;
        let (near_told, far_told) = (Told::default(), Told::default());
        let near_read = direct.read(&[], &near_told).await.unwrap();
        let far_read = far.read(&[], &far_told).await.unwrap();
        assert_eq!(failures(&far_read), failures(&near_read));
        assert_eq!(make == Make::Kocobox, !near_read.failed.is_empty());
        assert_eq!(far_told.sorted(), near_told.sorted());
        let stripped = near_read.services.iter().any(|read| !read.stripped.is_empty());
        assert!(stripped || make == Make::Rise, "it has no cards");
        let near = file(direct.as_ref(), near_read).await;
        assert!(file(far.as_ref(), far_read).await == near, "{make:?}");
        far.logout().await;
        assert_eq!(far.address(), direct.address());
        drop(far);
        assert_eq!(linked.ended(1).await, [pforte::site::konnektor::Ended::Done]);
        assert!(linked.carries("konnektor backup") && linked.carries("firm-jane.doe"));
        for secret in [PASSWORD].iter().chain(&PATIENTS) {
            assert!(!linked.carries(secret), "{make:?} {secret}");
        }
        // Whatever proved a session at the box.
        let proofs = ["JSESSIONID", "Bearer", "authorization", "X-TOKEN", "Set-Cookie", "j_password"];
        for proof in proofs {
            assert!(!linked.carries(proof), "{make:?} {proof}");
        }
    }
}

#[tokio::test]
async fn status_diff_and_terminals_are_those_of_the_direct_driver() {
    for make in MAKES {
        let bench = bench(make, |_| {}).await;
        let direct = direct(&bench.spec).await;
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor status").await;
        assert_eq!(far.identify().await, direct.identify().await);
        let (near, there) = (status_of(direct.as_ref()).await, status_of(far.as_ref()).await);
        assert_eq!(format!("{there:?}"), format!("{near:?}"));
        let service = terminals::service(direct.profile()).unwrap();
        let far = remote(&linked, "konnektor terminals").await;
        let wanted = std::slice::from_ref(&service);
        let near = direct.read(wanted, &()).await.unwrap();
        let there = far.read(wanted, &()).await.unwrap();
        let list = |reading| format!("{:?}", terminals::terminals(direct.profile(), reading));
        assert_eq!(list(&there), list(&near));
        let far = remote(&linked, "konnektor diff").await;
        let (near, there) = (direct.read(&[], &()).await.unwrap(), far.read(&[], &()).await.unwrap());
        for (near, there) in near.services.iter().zip(&there.services) {
            assert!(diff(&near.value, &there.value, direct.profile()).is_empty(), "{}", near.service);
        }
        assert_eq!(near.services.len(), there.services.len());
    }
}

#[tokio::test]
async fn steps_arrive_while_the_box_is_still_read() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    bench.simulator.set_fault(Order {
        times: Some(1),
        ..Order::of_service("ntpservice", Fault::Slow(Duration::from_millis(20)))
    });
    let linked = Linked::to(&bench.spec, |_| {});
    let far = remote(&linked, "konnektor backup").await;
    let told = Arc::new(Told::default());
    let reading = {
        let told = Arc::clone(&told);
        tokio::spawn(async move { far.read(&[], told.as_ref()).await.map(|reading| reading.services.len()) })
    };
    until(|| told.0.lock().unwrap().iter().any(|step| step.starts_with("done "))).await;
    assert!(!reading.is_finished(), "it was told when it was over");
    assert_eq!(reading.await.unwrap(), Ok(19));
}

#[tokio::test]
async fn errors_of_the_box_come_over_as_they_are() {
    for make in MAKES {
        let mut bench = bench(make, |_| {}).await;
        bench.spec.password = pforte::secret::Secret::new("other".into());
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor backup").await;
        assert_eq!(far.read(&[], &()).await.unwrap_err(), Error::LoginFailed);
        let unknown = Error::UnknownService { service: name("nosuch") };
        assert_eq!(far.read(&[name("nosuch")], &()).await.unwrap_err(), unknown);
        bench.spec.address = "127.0.0.1:1".parse().unwrap();
        bench.spec.sds_address = None;
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor backup").await;
        assert_eq!(far.identify().await.unwrap_err(), Error::Away);
        // The make has to be found out, and cannot.
        bench.spec.product = Product::Auto;
        let linked = Linked::to(&bench.spec, |_| {});
        assert_eq!(opened(&linked, "konnektor backup").await.err(), Some(Error::Away));
    }
    let mut bench = bench(Make::Kocobox, |_| {}).await;
    bench.spec.certificate = Some(konnektor::CertificatePin::of(b"another"));
    let near = direct(&bench.spec).await.identify().await.unwrap_err();
    let linked = Linked::to(&bench.spec, |_| {});
    let far = remote(&linked, "konnektor status").await;
    assert!(matches!(near, Error::CertificateChanged { .. }));
    assert_eq!(far.identify().await.unwrap_err(), near);
}

#[tokio::test]
async fn a_make_that_the_site_finds_out_is_driven_and_another_than_the_files_is_not_believed() {
    let mut bench = bench(Make::Secunet, |_| {}).await;
    bench.spec.product = Product::Auto;
    let linked = Linked::to(&bench.spec, |_| {});
    let found = opened(&linked, "konnektor status").await.unwrap();
    assert_eq!(found.product, Product::Secunet);
    let streams: Arc<Linked> = Arc::clone(&linked);
    let wanted = (&id(), Product::Rise);
    let other = open(streams, wanted, visitor("konnektor status"), &profiles(), Patience::ORDINARY).await;
    assert_eq!(other.err(), Some(Error::SiteUnclear));
}

#[tokio::test]
async fn without_a_link_the_box_is_away_and_what_the_site_refuses_is_refused() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let linked = Linked::to(&bench.spec, |_| {});
    *linked.site.instead.lock().unwrap() = Some(Reply::Refused { cause: Refusal::SwitchClosed });
    let refused = opened(&linked, "konnektor status").await.err();
    assert_eq!(refused, Some(Error::SiteRefused { cause: "switch-closed".into() }));
    linked.cut();
    assert_eq!(opened(&linked, "konnektor status").await.err(), Some(Error::Away));
}

/// What is wanted of a restore, and what came of it.
#[derive(Default)]
struct Watching {
    events: Mutex<Vec<String>>,
    at_write: Mutex<Option<(usize, Arc<Linked>)>>,
}

#[async_trait]
impl Watch for Watching {
    async fn before(&self, _step: &Write) -> Result<(), Stop> {
        Ok(())
    }
    async fn after(&self, _step: &Write, _result: &StepResult) {}
    fn told(&self, event: &Event<'_>) {
        self.events.lock().unwrap().push(format!("{event:?}"));
        if let Event::Writing { n, .. } = event {
            let mut at = self.at_write.lock().unwrap();
            if let Some((_, linked)) = at.take_if(|(nth, _)| nth == n) {
                linked.cut();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    linked.relink();
                });
            }
        }
    }
}

async fn restored(driver: &Arc<dyn Konnektor>, given: &Given, watch: &Watching) -> Option<Outcome> {
    let identity = driver.identify().await.unwrap();
    let now = driver.read(&[], &()).await.unwrap();
    let address = driver.address().clone();
    let networks = around(&address);
    let situation = Situation {
        given,
        now: &now,
        identity: &identity,
        konnektor: &id(),
        profile: driver.profile(),
        address: &address,
        networks: &networks,
        any_firmware: false,
    };
    let what = What { services: Vec::new(), certificates: Certificates::New };
    let plan = plan(&situation, &what).unwrap();
    if plan.steps.is_empty() {
        return None;
    }
    let patience = Wait { away: Duration::from_secs(10), tries: 3 };
    Some(execute(plan, Arc::clone(driver), watch, patience).await)
}

/// Changes two services of a KoCoBox behind its back; gives the file of what was there before.
async fn changed(bench: &linked::Bench) -> Given {
    let driver = direct(&bench.spec).await;
    let read = driver.read(&[], &()).await.unwrap();
    let json = file(driver.as_ref(), read).await;
    driver.logout().await;
    for service in ["ntpservice", "vpnservice"] {
        let path = bench.dir.path().join(format!("{service}.json"));
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        value["CHANGED"] = "behind its back".into();
        std::fs::write(path, value.to_string()).unwrap();
    }
    Given::read(&mut json.as_slice(), driver.profile()).unwrap()
}

#[tokio::test]
async fn a_restore_is_planned_written_and_read_back_over_the_link() {
    let bench = bench(Make::Kocobox, |_| {}).await;
    let given = changed(&bench).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let far = remote(&linked, "konnektor restore").await;
    let watch = Watching::default();
    let outcome = restored(&far, &given, &watch).await.unwrap();
    assert_eq!(outcome.end, End::Done, "{:?}", outcome.results);
    assert!(restored(&far, &given, &watch).await.is_none(), "nothing is left to do");
    assert!(!linked.carries(PASSWORD));
}

#[tokio::test]
async fn a_link_that_breaks_in_a_write_is_waited_for_and_the_rest_is_done() {
    for nth in [1, 2] {
        let bench = bench(Make::Kocobox, |_| {}).await;
        let given = changed(&bench).await;
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor restore").await;
        let watch =
            Watching { at_write: Mutex::new(Some((nth, Arc::clone(&linked)))), ..Watching::default() };
        let outcome = restored(&far, &given, &watch).await.unwrap();
        assert_eq!(outcome.end, End::Done, "{:?}", outcome.results);
        assert!(watch.events.lock().unwrap().iter().any(|event| event.starts_with("Waiting")));
        assert!(restored(&far, &given, &watch).await.is_none(), "nothing is left to do");
    }
}

#[tokio::test]
async fn a_write_that_is_at_the_box_when_the_link_breaks_is_brought_to_its_end() {
    let bench = bench(Make::Kocobox, |options| options.latency = Duration::from_millis(150)).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let far = remote(&linked, "konnektor restore").await;
    let service = name("ntpservice");
    let value = far.read(std::slice::from_ref(&service), &()).await.unwrap().services.remove(0).value;
    let mut wanted = value.value();
    wanted["CHANGED"] = "by a write whose line broke".into();
    let wanted = konnektor::Json::of_data(&wanted.to_string()).unwrap();
    let writes = |bench: &linked::Bench| {
        let all = bench.simulator.requests();
        all.iter().filter(|request| request.path.contains("json-store")).count()
    };
    let (writer, text) = (Arc::clone(&far), wanted.clone());
    let writing = tokio::spawn(async move { writer.write(&name("ntpservice"), &text).await });
    until(|| writes(&bench) == 1).await;
    linked.cut();
    assert_eq!(writing.await.unwrap(), Err(Error::Dropped), "it is left open whether it arrived");
    let path = bench.dir.path().join("ntpservice.json");
    until(|| std::fs::read_to_string(&path).is_ok_and(|text| text.contains("by a write whose line broke")))
        .await;
    assert_eq!(far.read(&[service], &()).await.err(), Some(Error::Away));
}

#[tokio::test]
async fn a_session_in_which_an_action_is_at_the_box_when_the_link_breaks_ends_behind_it() {
    let latency = Duration::from_millis(500);
    let bench = bench(Make::Secunet, |options| options.latency = latency).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let mut who = visitor("konnektor perform");
    who.command = "konnektor perform -a check-updates".into();
    let streams: Arc<Linked> = Arc::clone(&linked);
    let opened = open(streams, (&id(), Product::Auto), who, &profiles(), Patience::ORDINARY).await.unwrap();
    let acting = tokio::spawn(async move {
        let action = "check-updates".parse().unwrap();
        opened.driver.perform(&action, None).await
    });
    let at = |part: &str| {
        let all = bench.simulator.requests();
        all.iter().find(|request| request.path.contains(part)).map(|request| request.time)
    };
    until(|| at("informationen/update").is_some()).await;
    linked.cut();
    assert_eq!(acting.await.unwrap(), Err(Error::Dropped));
    until(|| at("logout").is_some()).await;
    let (acted, left) = at("informationen/update").zip(at("logout")).unwrap();
    // A request is noted as it comes, and answered after the latency.
    assert!(left.duration_since(acted).unsigned_abs() >= latency, "{acted} {left}");
}

#[tokio::test]
async fn a_session_at_the_box_ends_with_its_stream_though_nobody_asks_for_that() {
    let bench = bench(Make::Secunet, |_| {}).await;
    let linked = Linked::to(&bench.spec, |_| {});
    let left = |count: usize| {
        let requests = bench.simulator.requests();
        requests.iter().filter(|request| request.path.contains("logout")).count() == count
    };
    let far = remote(&linked, "konnektor status").await;
    far.read(&[], &()).await.unwrap();
    assert!(left(0));
    drop(far);
    until(|| left(1)).await;
    let far = remote(&linked, "konnektor status").await;
    far.read(&[], &()).await.unwrap();
    linked.cut();
    until(|| left(2)).await;
}

#[tokio::test]
async fn an_action_is_performed_and_a_box_that_restarts_is_waited_for() {
    let actions = [(Make::Kocobox, "reboot"), (Make::Secunet, "reboot"), (Make::Rise, "reboot")];
    for (make, action) in actions {
        let bench = bench(make, |_| {}).await;
        let linked = Linked::to(&bench.spec, |_| {});
        let mut who = visitor("konnektor perform");
        who.command = format!("konnektor perform -a {action}");
        let streams: Arc<Linked> = Arc::clone(&linked);
        let opened =
            open(streams, (&id(), Product::Auto), who, &profiles(), Patience::ORDINARY).await.unwrap();
        let far = opened.driver;
        let action = action.parse().unwrap();
        assert!(far.profile().action(&action).is_some_and(|action| action.reboots));
        far.perform(&action, None).await.unwrap();
        back_after_reboot(far.as_ref(), Duration::from_secs(60), &|_| {}).await.unwrap();
        far.read(&[], &()).await.unwrap();
        assert!(!linked.carries(PASSWORD));
    }
}

#[tokio::test]
async fn a_make_whose_way_of_writing_is_not_known_says_so_and_nothing_is_sent() {
    for make in [Make::Secunet, Make::Rise] {
        let bench = bench(make, |_| {}).await;
        let near = direct(&bench.spec).await;
        let linked = Linked::to(&bench.spec, |_| {});
        let far = remote(&linked, "konnektor restore").await;
        let reading = near.read(&[], &()).await.unwrap();
        let mut compared = 0;
        for read in &reading.services {
            let Err(error) = near.write(&read.service, &read.value).await else { continue };
            let before = linked.carried();
            assert_eq!(far.write(&read.service, &read.value).await, Err(error.clone()));
            if matches!(error, Error::NotInProfile { .. } | Error::ReadOnly { .. }) {
                assert_eq!(linked.carried(), before);
                compared += 1;
            }
        }
        assert!(compared > 0);
        let (before, action) = (linked.carried(), "self-destruct".parse::<ActionName>().unwrap());
        let unknown = Err(Error::NotInProfile { key: "perform.path".into() });
        assert_eq!(far.perform(&action, None).await, unknown);
        assert_eq!(linked.carried(), before);
    }
}
