//! The choices that cannot be: each is a compile error that says what to do. Holds nothing else.

macro_rules! exclusive {
    ($($one:literal $other:literal,)*) => {
        $(
            #[cfg(all(feature = $one, feature = $other))]
            compile_error!(concat!(
                "carrel-select: the features `", $one, "` and `", $other,
                "` are both on, but a program has one global allocator; drop one of them ",
                "(`cargo tree -e features -i carrel-select` shows who asks for which)"
            ));
        )*
    };
}

exclusive! {
    "carrel" "carrel-secure",
    "carrel" "mimalloc",
    "carrel" "jemalloc",
    "carrel" "system",
    "carrel-secure" "mimalloc",
    "carrel-secure" "jemalloc",
    "carrel-secure" "system",
    "mimalloc" "jemalloc",
    "mimalloc" "system",
    "jemalloc" "system",
}

#[cfg(all(feature = "jemalloc", target_env = "msvc"))]
compile_error!(
    "carrel-select: jemalloc does not build for MSVC targets; choose `mimalloc` instead, which does"
);
