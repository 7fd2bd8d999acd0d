//! A permit is no line in the journal: nothing is dialled for it, nor for a command.
use pforte::asks::{Command, Hop};
use pforte::journal::started::Started;
use pforte::names::HostPort;
use pforte::policy::Permit;

async fn early(permit: Permit<Hop>, address: HostPort) {
    let _ = pforte::hops::dial(&permit, &address).await;
}

async fn other(started: Started<Command>, address: HostPort) {
    let _ = pforte::hops::dial(&started, &address).await;
}

fn main() {
    let _ = (early, other);
}
