use pforte::policy::Permit;

fn forged(ask: pforte::asks::Command, who: pforte::identity::Who) -> Permit<pforte::asks::Command> {
    Permit { ask, who, rule: "rules.toml:1".into(), allowances: pforte::policy::Allowances::default() }
}

fn main() {}
