//! A simulated box, its backup, and a restore into it, for the tests of the restore.
//! Absent on purpose: tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pforte::clock::Clock;
use pforte::konnektor::archive::{Archive, Stamp};
use pforte::konnektor::diff::Diff;
use pforte::konnektor::restore::{
    Certificates, Event, NoPlan, Options as What, Outcome, Patience, Plan, Situation, Step, StepResult, Stop,
    Watch, around, execute, plan,
};
use pforte::konnektor::simulator::{Options, PATIENTS, SERVICES, Simulator};
use pforte::konnektor::{
    self, Error, Given, Identity, Konnektor, LearnNothing, Product, Profile, Profiles, Reading, Spec,
    Timeouts,
};
use pforte::names::{HostPort, KonnektorId, ServiceName};
use pforte::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;

pub const PASSWORD: &str = "Geh/eim+4711&x=%20";
const SHIPPED: &str = include_str!("../../src/konnektor/kocobox.toml");

/// The shipped profile, with the way of writing that the simulated box takes.
pub fn profile_text() -> String {
    let known = "path = \"/administration/json-store/{service}\"";
    let text = SHIPPED.replacen("[write]\npath = \"\"", &format!("[write]\n{known}"), 1);
    assert!(text.contains(known));
    text
}

pub fn profile() -> Profile {
    Profile::parse(&profile_text()).unwrap()
}

pub fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

/// Those that are ever written.
pub fn restorable() -> Vec<&'static str> {
    SERVICES.into_iter().filter(|service| !["infoservice", "usermanagement"].contains(service)).collect()
}

pub struct Case {
    pub dir: TempDir,
    pub simulator: Simulator,
    pub driver: Arc<dyn Konnektor>,
    pub identity: Identity,
    pub told: Talk,
    pub patience: Patience,
}

pub async fn case(change: impl FnOnce(&mut Options)) -> Case {
    case_with(&profile_text(), change).await
}

pub async fn case_with(profile: &str, change: impl FnOnce(&mut Options)) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path().to_owned(), Secret::new(PASSWORD.into()), Clock::system());
    options.real_lan_address = true;
    change(&mut options);
    let simulator = Simulator::start(options).await.unwrap();
    let address: HostPort = simulator.address().to_string().parse().unwrap();
    let spec = Spec {
        id: id(),
        product: Product::Kocobox,
        address: address.clone(),
        sds_address: Some(address),
        certificate: Some(simulator.certificate_pin()),
        user: "koco-root".into(),
        password: Secret::new(PASSWORD.into()),
        parallel: Spec::PARALLEL,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            read: Duration::from_mins(1),
            whole: Duration::from_mins(2),
        },
    };
    let profiles = Profiles::shipped().unwrap().with(Product::Kocobox, Profile::parse(profile).unwrap());
    let driver = konnektor::open(spec, &profiles, Arc::new(LearnNothing)).await.unwrap();
    let identity = driver.identify().await.unwrap();
    let patience = Patience { away: Duration::from_secs(10), tries: 3 };
    Case { dir, simulator, driver, identity, told: Talk::default(), patience }
}

pub fn id() -> KonnektorId {
    KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() }
}

impl Case {
    pub async fn read(&self) -> Reading {
        self.read_of(&[]).await
    }

    async fn read_of(&self, services: &[ServiceName]) -> Reading {
        // A kept session logs in again once in its life; a box that ends it twice is met with a new one.
        match self.driver.read(services, &()).await {
            Err(Error::SessionExpired) => self.driver.read(services, &()).await.unwrap(),
            reading => reading.unwrap(),
        }
    }

    pub async fn backup(&self) -> Archive {
        let stamp = Stamp {
            identity: self.identity.clone(),
            konnektor: id(),
            taken: "2026-11-21T16:04:05Z".parse().unwrap(),
            by: None,
            session: None,
        };
        Archive::of(self.read().await, stamp)
    }

    /// A backup, written and read again as a person's file would be.
    pub async fn file(&self) -> Given {
        given(&self.backup().await.to_json())
    }

    pub async fn plan(&self, given: &Given, what: &What) -> Result<Plan, NoPlan> {
        let known = what.services.iter().all(|service| self.driver.profile().service(service).is_some());
        let now = self.read_of(if known { &what.services } else { &[] }).await;
        let address = self.driver.address().clone();
        let networks = around(&address);
        let situation = Situation {
            given,
            now: &now,
            identity: &self.identity,
            konnektor: &id(),
            profile: self.driver.profile(),
            address: &address,
            networks: &networks,
            any_firmware: false,
        };
        let plan = plan(&situation, what)?;
        for step in &plan.steps {
            self.told.of_diff(&step.diff);
        }
        Ok(plan)
    }

    pub async fn execute(&self, plan: Plan) -> Outcome {
        execute(plan, Arc::clone(&self.driver), &self.told, self.patience).await
    }

    pub async fn restore(&self, given: &Given, what: &What) -> Outcome {
        let plan = self.plan(given, what).await.unwrap();
        self.execute(plan).await
    }

    pub fn held(&self, service: &str) -> Value {
        let path = self.dir.path().join(format!("{service}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    pub fn put(&self, service: &str, value: &Value) {
        std::fs::write(self.dir.path().join(format!("{service}.json")), value.to_string()).unwrap();
    }

    /// Everything that a restore can bring back: users apart, and the pairing of each terminal.
    pub fn all_held(&self) -> BTreeMap<&'static str, Value> {
        restorable().into_iter().map(|service| (service, unpaired(self.held(service)))).collect()
    }

    /// Waits, within bounds, until it can be read again.
    pub async fn back(&self) {
        let begun = Instant::now();
        while self.driver.read(&[name("infoservice")], &()).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it did not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub fn unpaired(mut value: Value) -> Value {
    for terminal in value.as_array_mut().into_iter().flatten() {
        for state in ["CORRELATION", "CONNECTED"] {
            terminal.as_object_mut().unwrap().remove(state);
        }
    }
    value
}

pub fn given(file: &[u8]) -> Given {
    Given::read(&mut &*file, &profile()).unwrap()
}

pub fn only(service: &str) -> What {
    What { services: vec![name(service)], ..What::default() }
}

pub fn with(certificates: Certificates) -> What {
    What { certificates, ..What::default() }
}

/// Everything that was told, as people and the journal could read it.
#[derive(Default)]
pub struct Talk(pub Mutex<Vec<String>>);

impl Talk {
    pub fn add(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    pub fn of_diff(&self, diff: &Diff) {
        self.add(diff.lines(false).join("\n"));
        self.add(diff.lines(true).join("\n"));
    }

    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// No card holder, no password, no container.
    pub fn is_clean(&self) {
        let text = self.text();
        for secret in PATIENTS.iter().copied().chain(["X110400001", "X110400002", PASSWORD, "\"MI"]) {
            assert!(!text.contains(secret), "{secret} was told");
        }
    }
}

#[async_trait]
impl Watch for Talk {
    async fn before(&self, step: &Step) -> Result<(), Stop> {
        self.add(format!("before {} {:?} {}", step.service, step.kind, step.sentence(true)));
        Ok(())
    }

    async fn after(&self, step: &Step, result: &StepResult) {
        self.add(format!("after {} {result:?} {}", step.service, result.sentence(false)));
    }

    fn told(&self, event: &Event<'_>) {
        self.add(format!("{event:?} {} {}", event.sentence(false), event.sentence(true)));
    }
}
