//! A permit is no line in the journal: nothing is dialled for it, nor for a command.
use pforte::asks::{Command, Hop};
use pforte::hops::Target;
use pforte::journal::started::Started;
use pforte::policy::Permit;

async fn early(permit: Permit<Hop>, target: Target) {
    let _ = pforte::hops::dial(&permit, &target).await;
}

async fn other(started: Started<Command>, target: Target) {
    let _ = pforte::hops::dial(&started, &target).await;
}

fn main() {
    let _ = (early, other);
}
