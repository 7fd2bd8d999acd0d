//! A simulated box and a driver for it, for the tests of the Konnektor.
//! Absent on purpose: tests.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pforte::clock::Clock;
use pforte::konnektor::simulator::{Options, Simulator};
use pforte::konnektor::{
    self, Error, Konnektor, LearnNothing, Pins, Product, Profile, Profiles, Progress, Spec, Step, Timeouts,
};
use pforte::names::KonnektorId;
use pforte::secret::Secret;
use tempfile::TempDir;

pub const PASSWORD: &str = "Geh/eim+4711&x=%20";
pub const PROFILE: &str = include_str!("../../src/konnektor/kocobox.toml");

pub struct Bench {
    pub dir: TempDir,
    pub simulator: Simulator,
}

pub async fn simulated(change: impl FnOnce(&mut Options)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path().to_owned(), Secret::new(PASSWORD.into()), Clock::system());
    change(&mut options);
    let simulator = Simulator::start(options).await.unwrap();
    Bench { dir, simulator }
}

impl Bench {
    pub fn spec(&self) -> Spec {
        Spec {
            id: KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() },
            product: Product::Kocobox,
            address: self.simulator.address().to_string().parse().unwrap(),
            sds_address: Some(self.simulator.address().to_string().parse().unwrap()),
            certificate: Some(self.simulator.certificate_pin()),
            user: "koco-root".into(),
            password: Secret::new(PASSWORD.into()),
            parallel: Spec::PARALLEL,
            timeouts: Timeouts {
                connect: Duration::from_secs(10),
                read: Duration::from_secs(20),
                whole: Duration::from_secs(40),
            },
        }
    }

    pub async fn driver(&self) -> Arc<dyn Konnektor> {
        open(self.spec()).await
    }

    pub fn value(&self, service: &str) -> serde_json::Value {
        value(self.dir.path(), service)
    }

    pub fn asked(&self, path: &str) -> usize {
        self.simulator.requests().iter().filter(|request| request.path.ends_with(path)).count()
    }
}

pub fn value(dir: &Path, service: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.join(format!("{service}.json"))).unwrap()).unwrap()
}

pub async fn open(spec: Spec) -> Arc<dyn Konnektor> {
    open_with(spec, PROFILE, Arc::new(LearnNothing)).await
}

pub async fn open_with(spec: Spec, profile: &str, pins: Arc<dyn Pins>) -> Arc<dyn Konnektor> {
    let product = if spec.product == Product::Auto { Product::Kocobox } else { spec.product };
    let profiles = Profiles::shipped().unwrap().with(product, Profile::parse(profile).unwrap());
    konnektor::open(spec, &profiles, pins).await.unwrap()
}

/// Keeps all steps as text.
#[derive(Default)]
pub struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn step(&self, step: &Step<'_>) {
        self.0.lock().unwrap().push(format!("{step:?}"));
    }
}

impl Told {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// What a person or the journal could get to read of an error.
pub fn faces(error: &Error) -> String {
    format!("{error} {error:?} {} {}", error.sentence(false), error.sentence(true))
}
