use pforte::asks::Chore;
use pforte::names::KonnektorId;
use pforte::policy::Standing;

fn forged(konnektor: KonnektorId) -> Standing {
    Standing { konnektor, rule: "praxis-mueller.toml:1".into(), chore: Chore::Check }
}

fn main() {}
