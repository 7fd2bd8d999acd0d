//! Every step of a whole restore, cut in every way: what is left is done by resuming, or all is undone.
//! Absent on purpose: a restore that nothing disturbs; see `konnektor_restore.rs`.

use crate::restores;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use pforte::konnektor::archive::Archive;
use pforte::konnektor::restore::{
    Certificates, End, Event, Kind, Options as What, Outcome, Patience, Plan, Step, StepResult, Stop, Watch,
    find,
};
use pforte::konnektor::simulator::{Fault, Moment, Order};
use pforte::konnektor::{Given, Json};
use pforte::names::ServiceName;
use restores::{Case, case, name, with};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// How a restore is disturbed at one write.
#[derive(Debug, Clone)]
enum Cut {
    /// At the box, before or after it took the write.
    Box(Fault, Moment),
    /// Our process ends right before the write, its note made.
    StoppedBefore,
    /// Our process ends after the write's answer, before it is looked at.
    StoppedAfter,
}

fn cuts() -> Vec<Cut> {
    let faults = [
        Fault::Power,
        Fault::Network(Duration::from_millis(120)),
        Fault::SessionExpired,
        Fault::TokenRotated,
        Fault::Status(500),
        Fault::Html,
        Fault::Slow(Duration::from_micros(100)),
        Fault::Drop,
    ];
    let both = faults
        .into_iter()
        .flat_map(|fault| [Moment::Before, Moment::After].map(|moment| Cut::Box(fault.clone(), moment)));
    both.chain([Cut::StoppedBefore, Cut::StoppedAfter]).collect()
}

/// Tells when the nth write is due, or done.
struct Stopper<'c> {
    case: &'c Case,
    at: usize,
    cut: Cut,
    reached: Notify,
    writes: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl Watch for Stopper<'_> {
    async fn before(&self, step: &Step) -> Result<(), Stop> {
        let n = self.writes.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        if n == self.at && matches!(self.cut, Cut::StoppedBefore) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        self.case.told.before(step).await
    }

    async fn after(&self, step: &Step, result: &StepResult) {
        self.case.told.after(step, result).await;
    }

    fn told(&self, event: &Event<'_>) {
        let written = self.writes.load(std::sync::atomic::Ordering::SeqCst);
        if matches!(event, Event::ReadingBack { .. })
            && written == self.at
            && matches!(self.cut, Cut::StoppedAfter)
        {
            self.reached.notify_one();
        }
        self.case.told.told(event);
    }
}

/// Executes, disturbed at the nth write; `None` where the process ended.
async fn cut(case: &Case, plan: Plan, n: usize, cut: &Cut) -> Option<Outcome> {
    if let Cut::Box(fault, moment) = cut {
        let nth = case.simulator.requests().iter().filter(|r| r.path.contains("/json-store/")).count() + n;
        case.simulator.set_fault(Order::of_write(nth, fault.clone()).at(*moment));
    }
    let stopper = Stopper { case, at: n, cut: cut.clone(), reached: Notify::new(), writes: 0.into() };
    let driver = std::sync::Arc::clone(&case.driver);
    let outcome = tokio::select! {
        biased;
        () = stopper.reached.notified() => None,
        outcome = pforte::konnektor::restore::execute(plan, driver, &stopper, case.patience) => Some(outcome),
    };
    case.simulator.clear_faults();
    case.back().await;
    outcome
}

/// Each service different from what the file holds, client certificates too.
fn otherwise(services: &BTreeMap<&'static str, Value>) -> BTreeMap<&'static str, Value> {
    let mut other = services.clone();
    for (service, value) in &mut other {
        match *service {
            "cardterminals" => value[0]["HOSTNAME"] = json!("ANDERS"),
            "clientsystem-certificates" => {
                *value = json!({"certificates": [{"name": "Labor", "notAfter": "1"}]});
            }
            _ => value["ANDERS"] = json!({"war": service}),
        }
    }
    other
}

fn set(case: &Case, services: &BTreeMap<&'static str, Value>) {
    for (service, value) in services {
        if case.held(service) != *value {
            case.put(service, value);
        }
    }
}

fn raw(case: &Case) -> BTreeMap<&'static str, Value> {
    restores::restorable().into_iter().map(|service| (service, case.held(service))).collect()
}

fn undo(before: &Archive, steps: &[ServiceName]) -> (Given, What) {
    let what = What { services: steps.to_vec(), certificates: Certificates::Exact };
    (Given::from(before), what)
}

const STEPS: usize = 18;

/// All steps, disturbed in one way, on one box.
async fn every_step(how: Cut) {
    let mut case = case(|options| options.reboot_takes = Duration::from_millis(120)).await;
    case.patience = Patience { away: Duration::from_millis(60), tries: 2 };
    let wanted = raw(&case);
    let file = case.file().await;
    let other = otherwise(&wanted);
    let delete = with(Certificates::Delete);
    set(&case, &other);
    let before = case.backup().await;
    for n in 1..=STEPS {
        set(&case, &other);
        let plan = case.plan(&file, &delete).await.unwrap();
        assert_eq!(plan.steps.len(), STEPS);
        let all: Vec<ServiceName> = plan.steps.iter().map(|step| step.service.clone()).collect();
        let first = plan.clone();
        let outcome = cut(&case, first, n, &how).await;
        let attempted = match &outcome {
            Some(outcome) => outcome.attempted(),
            // A process that ended has its notes.
            None => all.iter().take(n).cloned().collect(),
        };
        let mut attempted: Vec<ServiceName> = attempted;
        attempted.dedup();
        let (given, what) = undo(&before, &attempted);
        let undone = case.restore(&given, &what).await;
        assert_eq!(undone.end, End::Done, "undo of step {n}, {how:?}: {undone:?}");
        assert_eq!(raw(&case), other, "undo of step {n}, {how:?}");

        cut(&case, plan, n, &how).await;
        let resumed = case.restore(&file, &delete).await;
        assert_eq!(resumed.end, End::Done, "resume at step {n}, {how:?}: {resumed:?}");
        assert_eq!(raw(&case), wanted, "resume at step {n}, {how:?}");
    }
    assert_eq!(case.simulator.user_writes(), 0);
    case.told.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_cut_at_any_step_in_any_way_is_resumed_to_the_file_and_undone_to_what_was() {
    let all = futures::stream::iter(cuts()).map(|how| tokio::spawn(every_step(how))).buffer_unordered(9);
    let results: Vec<_> = all.collect().await;
    assert_eq!(results.len(), 18);
    for result in results {
        result.unwrap();
    }
}

/// The step that moves the box, disturbed in one way, resumed and undone.
async fn the_move(how: Cut) {
    for undone in [false, true] {
        let mut case = case(|options| options.reboot_takes = Duration::from_millis(120)).await;
        case.patience = Patience { away: Duration::from_millis(60), tries: 2 };
        let home = case.driver.address().clone();
        let before = case.backup().await;
        let held = case.held("lanwanservice");
        let mut file = case.file().await;
        let mut wanted = held.clone();
        wanted["ANLW_LAN_IP_ADDRESS"] = json!("127.0.0.2");
        file.services.insert(name("lanwanservice"), Json::of(&wanted));
        let what = What::default();
        let plan = case.plan(&file, &what).await.unwrap();
        let there = plan.moves_to.clone().unwrap();
        assert_eq!(plan.steps[0].kind, Kind::Move(there.clone()));
        let driver = std::sync::Arc::clone(&case.driver);
        if let Cut::Box(fault, moment) = &how {
            case.simulator.set_fault(Order::of_write(1, fault.clone()).at(*moment));
        }
        let stopper =
            Stopper { case: &case, at: 1, cut: how.clone(), reached: Notify::new(), writes: 0.into() };
        tokio::select! {
            biased;
            () = stopper.reached.notified() => {}
            _ = pforte::konnektor::restore::execute(plan, driver, &stopper, case.patience) => {}
        }
        case.simulator.clear_faults();
        let begun = std::time::Instant::now();
        let found = loop {
            match find(&case.driver, &[home.clone(), there.clone()]).await {
                Ok(found) => break found,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{how:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let case = Case { driver: found, ..case };
        let (given, what, address, value) = if undone {
            let (given, what) = undo(&before, &[name("lanwanservice")]);
            (given, what, home, held)
        } else {
            (file, what, there, wanted)
        };
        let outcome = case.restore(&given, &what).await;
        assert_eq!((&outcome.end, &outcome.address), (&End::Done, &address), "{how:?} undone={undone}");
        assert_eq!(case.held("lanwanservice"), value, "{how:?} undone={undone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_cut_in_any_way_is_found_at_either_address_and_resumed_or_undone() {
    let all = futures::stream::iter(cuts()).map(|how| tokio::spawn(the_move(how))).buffer_unordered(4);
    let results: Vec<_> = all.collect().await;
    for result in results {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_box_that_comes_back_in_time_is_waited_for_within_one_run() {
    let case = case(|options| options.reboot_takes = Duration::from_millis(300)).await;
    let wanted = raw(&case);
    let file = case.file().await;
    set(&case, &otherwise(&wanted));
    let plan = case.plan(&file, &with(Certificates::Delete)).await.unwrap();
    case.simulator.set_fault(Order::of_write(3, Fault::Power).at(Moment::After));
    case.simulator.set_fault(Order::of_write(5, Fault::Network(Duration::from_millis(200))));
    let outcome = case.execute(plan).await;
    assert_eq!(outcome.end, End::Done, "{outcome:?}");
    assert_eq!(raw(&case), wanted);
    let told = case.told.text();
    assert!(told.contains("Waiting") && told.contains("Back"), "{told}");
}

/// Refuses to go on after some steps.
struct Full(std::sync::atomic::AtomicUsize);

#[async_trait]
impl Watch for Full {
    async fn before(&self, _step: &Step) -> Result<(), Stop> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if n < 2 { Ok(()) } else { Err(Stop) }
    }
    async fn after(&self, _step: &Step, _result: &StepResult) {}
    fn told(&self, _event: &Event<'_>) {}
}

#[tokio::test]
async fn a_step_that_cannot_be_noted_is_not_written_and_none_after_it() {
    let case = case(|_| {}).await;
    let file = case.file().await;
    set(&case, &otherwise(&raw(&case)));
    let plan = case.plan(&file, &with(Certificates::Delete)).await.unwrap();
    let driver = std::sync::Arc::clone(&case.driver);
    let outcome = pforte::konnektor::restore::execute(plan, driver, &Full(0.into()), case.patience).await;
    assert_eq!(outcome.end, End::Stopped);
    assert_eq!((case.simulator.writes(), outcome.attempted().len()), (2, 2));
    assert!(outcome.results[2..].iter().all(|(_, result)| *result == StepResult::NotReached));
}
