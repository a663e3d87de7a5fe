//! What must not compile does not, and the message says why.
//!
//! The texts are those of the stable compiler that checks changes; run with
//! `TRYBUILD=overwrite` to write them anew, and read the difference.

#[test]
fn what_must_not_compile_does_not() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
