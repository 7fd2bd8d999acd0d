//! That the person in the inner session is the one in the outer: only a signature says so.
use pforte::identity::{SamePerson, Who};

fn forged(who: Who) -> SamePerson {
    SamePerson(who)
}

fn main() {
    let _ = forged;
}
