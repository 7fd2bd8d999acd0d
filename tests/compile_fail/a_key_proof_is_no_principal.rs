use pforte::gate::Gate;
use pforte::identity::KeyProven;

async fn open(gate: &Gate, ask: pforte::asks::Command, proof: KeyProven) {
    gate.open(ask, &std::sync::Arc::new(proof), None).await.unwrap();
}

fn main() {}
