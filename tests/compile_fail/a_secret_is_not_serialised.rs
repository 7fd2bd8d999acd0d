use pforte::secret::Secret;

fn main() {
    serde_json::to_string(&Secret::new("x".into())).unwrap();
}
