use pforte::asks::Draft;
use pforte::gate::Gate;
use pforte::identity::Who;

async fn unsettled(gate: &Gate, draft: Draft, who: &Who) {
    gate.open(draft, who, None).await.unwrap();
}

fn main() {}
