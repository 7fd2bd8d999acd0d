use pforte::factor::Number;
use pforte::identity::KeyProven;
use pforte::identity::second_factor::SecondFactor;

fn twice(factor: &SecondFactor, proof: KeyProven) {
    factor.begin(proof, Number::new(1));
    factor.begin(proof, Number::new(1));
}

fn main() {}
