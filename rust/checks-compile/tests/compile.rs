//! Programs with two global allocators, in one crate and across crates, against the compiler's
//! messages in `ui/`. A program with one compiles.

#[test]
fn two_global_allocators_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/one.rs");
    cases.compile_fail("tests/ui/two_in_a_crate.rs");
    cases.compile_fail("tests/ui/two_selections.rs");
    cases.compile_fail("tests/ui/two_across_crates.rs");
}
