//! Compiles the recording hook's event path from the carrel command's sources: the same files that
//! make libcarrel-hook. They lie in `vendor/` in a published crate and at the top of the repository
//! otherwise. On targets that the command doesn't run on this does nothing, and the crate passes
//! every call on.

use std::env;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 3] = ["hook/record.cc", "hook/linked/calls.cc", "hook/linked/own_file.cc"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(carrel_hook)");
    let cfg = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    if cfg("TARGET_OS") != "linux"
        || cfg("TARGET_POINTER_WIDTH") != "64"
        || !matches!(cfg("TARGET_ARCH").as_str(), "x86_64" | "aarch64")
        || env::var_os("CARGO_CFG_MIRI").is_some()
    {
        return;
    }
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let Some(root) = find_sources(&here) else {
        eprintln!(
            "carrel-hook: neither vendor/ nor the repository around this crate holds the sources"
        );
        std::process::exit(1);
    };
    println!("cargo:rerun-if-changed={}", root.join("hook").display());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .cpp_link_stdlib(None) // the hook uses nothing of it at run time
        .std("c++20")
        .include(&root)
        .define("_GNU_SOURCE", None)
        .define("CARREL_HOOK_LINKED", None)
        .warnings(false)
        .opt_level(2); // also in debug builds, where the program itself is meant
    for flag in [
        "-fno-exceptions",
        "-fno-rtti",
        "-fno-threadsafe-statics",
        "-fasynchronous-unwind-tables",
        "-fvisibility=hidden",
        "-fno-stack-protector",
    ] {
        build.flag(flag);
    }
    build.files(SOURCES.iter().map(|name| root.join(name)));
    build.compile("carrel_hook");
    println!("cargo:rustc-cfg=carrel_hook");
}

/// The folder that holds hook/ and trace/.
fn find_sources(here: &Path) -> Option<PathBuf> {
    [here.join("vendor"), here.join("../../tools/carrel")]
        .into_iter()
        .find(|folder| folder.join("hook/record.h").exists())
        .and_then(|folder| folder.canonicalize().ok())
}
