use pforte::asks::Command;
use pforte::journal::started::Started;

fn forged(ask: Command) -> Started<Command> {
    Started { ask, end: todo!() }
}

fn main() {}
