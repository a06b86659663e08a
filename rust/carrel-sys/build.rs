//! Builds carrel from its C++ sources, or finds an installed one.
//!
//! The sources lie in `vendor/` in a published crate and at the top of the repository otherwise.
//! The core is one translation unit, which this script writes; with the feature `override` the C
//! names are part of it, and operator new is a second one, since it alone may throw.
//! What is compiled with which flags is decided in `build/compile.rs`, the installed library in
//! `build/installed.rs`. On unsupported targets this does nothing, and the crate is empty.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/installed.rs"]
mod installed;

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rustc-check-cfg=cfg(carrel_installed, carrel_supported)");
    println!("cargo:rerun-if-env-changed={}", installed::LIB_DIR);
    println!("cargo:rerun-if-env-changed={}", installed::INCLUDE_DIR);
    if !is_supported() {
        return;
    }
    println!("cargo:rustc-cfg=carrel_supported");
    let choice = Choice {
        overrides: env::var_os("CARGO_FEATURE_OVERRIDE").is_some(),
        secure: env::var_os("CARGO_FEATURE_SECURE").is_some(),
        late_loading: env::var_os("CARGO_FEATURE_LOCAL_DYNAMIC_TLS").is_some(),
    };
    let result = match installed::from_environment() {
        Some(place) => installed::link(&place, &choice),
        None => compile::compile(&choice),
    };
    if let Err(message) = result {
        eprintln!("carrel-sys: {message}");
        std::process::exit(1);
    }
}

/// What the crate's features ask of the library.
struct Choice {
    overrides: bool,
    secure: bool,
    late_loading: bool,
}

impl Choice {
    /// The folder of the configuration that is compiled in.
    fn preset(&self) -> &'static str {
        if self.secure {
            "secure"
        } else {
            "default"
        }
    }
}

/// The targets that carrel runs on: `cfg(carrel_supported)` in the crate.
fn is_supported() -> bool {
    let cfg = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    cfg("TARGET_OS") == "linux"
        && cfg("TARGET_POINTER_WIDTH") == "64"
        && matches!(cfg("TARGET_ARCH").as_str(), "x86_64" | "aarch64")
        && env::var_os("CARGO_CFG_MIRI").is_none()
}
