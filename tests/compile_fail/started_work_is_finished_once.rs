use pforte::asks::Command;
use pforte::journal::started::{Outcome, Started};

async fn twice(started: Started<Command>) {
    started.finish(Outcome::default()).await.unwrap();
    started.finish(Outcome::default()).await.unwrap();
}

fn main() {}
