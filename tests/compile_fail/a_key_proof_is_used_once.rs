use pforte::factor::{Number, Reach};
use pforte::identity::KeyProven;
use pforte::identity::second_factor::SecondFactor;

fn twice(factor: &SecondFactor, proof: KeyProven) {
    factor.begin(proof, Number::new(1), Reach::ALL);
    factor.begin(proof, Number::new(1), Reach::ALL);
}

fn main() {}
