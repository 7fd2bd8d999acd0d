use pforte::secret::Secret;

fn main() {
    println!("{}", Secret::new("x".into()));
    println!("{:?}", Secret::new("x".into()));
}
