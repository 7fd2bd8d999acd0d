use std::sync::Arc;

use pforte::asks::Command;
use pforte::commands::{Means, Out, Works, run};
use pforte::policy::Permit;

async fn unjournalled(permit: Permit<Command>, works: &Arc<Works>, out: &Out) {
    run(permit, works, out, Means::default()).await.unwrap();
}

fn main() {}
