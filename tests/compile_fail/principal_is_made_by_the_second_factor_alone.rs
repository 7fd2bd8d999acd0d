use pforte::identity::{KeyProven, Principal};

fn skipped(proof: KeyProven, since: jiff::Timestamp) -> Principal {
    Principal {
        user: proof.user().clone(),
        firm: proof.user().firm(),
        key: proof.key().clone(),
        connection: proof.connection().clone(),
        factor: "none".into(),
        since,
    }
}

fn main() {}
