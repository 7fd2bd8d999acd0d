use pforte::identity::Who;
use pforte::identity::second_factor::Confirmation;

fn forged(who: Who) -> Confirmation {
    Confirmation { who, purpose: String::new() }
}

fn main() {}
