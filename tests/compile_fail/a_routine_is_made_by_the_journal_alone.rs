use pforte::asks::Chore;
use pforte::journal::started::Routine;
use pforte::names::KonnektorId;

fn forged(konnektor: KonnektorId) -> Routine {
    Routine { konnektor, rule: "praxis-mueller.toml:1".into(), chore: Chore::Check, end: todo!() }
}

fn main() {}
