use pforte::asks::Command;
use pforte::journal::started::Started;

fn forged(ask: Command) -> Started<Command> {
    Started { ask, who: todo!(), rule: todo!(), allowances: todo!(), end: todo!() }
}

fn main() {}
