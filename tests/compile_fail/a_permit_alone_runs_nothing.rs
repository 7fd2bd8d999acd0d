use pforte::asks::Command;
use pforte::commands::{Out, Works, run};
use pforte::policy::Permit;

async fn unjournalled(permit: Permit<Command>, works: &Works, out: &Out) {
    run(permit, works, out).await.unwrap();
}

fn main() {}
