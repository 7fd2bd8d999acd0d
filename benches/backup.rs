//! How long does a backup of 19 services take when each answer takes 100 ms? At most 0.7 s with four at a time.
//! Absent on purpose: statistics; the latency is the simulator's, and what is added to it is printed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pforte::clock::Clock;
use pforte::konnektor::simulator::{Options, Simulator};
use pforte::konnektor::{self, LearnNothing, Product, Profiles, Spec, Timeouts};
use pforte::names::KonnektorId;
use pforte::secret::Secret;

const ROUNDS: usize = 10;
const LIMIT: Duration = Duration::from_millis(700);

#[tokio::main]
#[allow(clippy::print_stdout, reason = "a benchmark prints its numbers")]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let password = || Secret::new("bench".into());
    let mut options = Options::new(dir.path().to_owned(), password(), Clock::system());
    options.latency = Duration::from_millis(100);
    let simulator = Simulator::start(options).await?;
    let mut worst = Duration::ZERO;
    for round in 1..=ROUNDS {
        let spec = Spec {
            id: KonnektorId { site: "bench".parse()?, konnektor: "main".parse()? },
            product: Product::Kocobox,
            address: simulator.address().to_string().parse()?,
            sds_address: Some(simulator.address().to_string().parse()?),
            certificate: Some(simulator.certificate_pin()),
            user: "koco-root".into(),
            password: password(),
            parallel: Spec::PARALLEL,
            timeouts: Timeouts::default(),
        };
        let begun = Instant::now();
        let konnektor = konnektor::open(spec, &Profiles::shipped()?, Arc::new(LearnNothing)).await?;
        let (identity, reading) = tokio::try_join!(konnektor.identify(), konnektor.read(&[], &()))?;
        let took = begun.elapsed();
        anyhow::ensure!(
            reading.services.len() == 19 && identity.vendor_id == "KOCOC",
            "the backup is not whole"
        );
        println!("round {round}: {:.3} s", took.as_secs_f64());
        worst = worst.max(took);
    }
    println!("worst of {ROUNDS}: {:.3} s (limit {:.1} s)", worst.as_secs_f64(), LIMIT.as_secs_f64());
    anyhow::ensure!(worst <= LIMIT, "slower than {LIMIT:?}");
    Ok(())
}
