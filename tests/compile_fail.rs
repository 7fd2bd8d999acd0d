//! What must not compile: the borders of the proof types, one file each.

#[test]
fn proofs_cannot_be_forged() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
