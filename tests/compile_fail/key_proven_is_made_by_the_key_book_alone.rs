use pforte::identity::{Connection, KeyProven};

fn forged(user: pforte::names::Username, key: pforte::names::Fingerprint, connection: Connection) -> KeyProven {
    KeyProven { user, key, connection }
}

fn main() {}
