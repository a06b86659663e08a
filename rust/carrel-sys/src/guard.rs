//! Builds that cannot be: each is a compile error that says what to do. Holds nothing else.

#[cfg(all(
    feature = "strict-target",
    not(all(
        target_os = "linux",
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))
))]
compile_error!(
    "carrel-sys: carrel runs on 64-bit Linux on x86-64 and aarch64 only; without the feature \
     `strict-target` the system's allocator serves other targets"
);

#[cfg(all(feature = "override", feature = "local-dynamic-tls"))]
compile_error!(
    "carrel-sys: the features `override` and `local-dynamic-tls` exclude each other: a library \
     that is loaded late cannot replace the program's malloc; drop one of the two"
);
