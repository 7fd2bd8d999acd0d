use pforte::identity::{Machine, Principal};

fn as_person(machine: Machine) -> Principal {
    machine
}

fn main() {}
