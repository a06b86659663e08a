//! The allocator of the benchmarks: what carrel-select was told, or snmalloc, which it doesn't
//! know.

#[cfg(not(feature = "snmalloc"))]
carrel_select::global!();

#[cfg(feature = "snmalloc")]
#[global_allocator]
static GLOBAL: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

/// The allocator's name, once it is proved that it serves the program.
pub fn allocator() -> &'static str {
    let proof = carrel_select::prove();
    if cfg!(feature = "snmalloc") {
        // Not one of the allocators that the proof knows: none of them may serve.
        assert_eq!(proof.serving, carrel_select::Serving::Unknown, "{proof}");
        return "snmalloc";
    }
    assert!(proof.holds(), "{proof}");
    carrel_select::NAME
}
