//! Links an installed carrel instead of compiling one: for distributions, and for programs that
//! share one library. Run by the build script only.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Choice;

/// The folder of libcarrel-prefixed.a, or of libcarrel.a with the feature `override`.
pub const LIB_DIR: &str = "CARREL_LIB_DIR";
/// The folder that holds carrel/carrel.h, where it is not found beside the libraries.
pub const INCLUDE_DIR: &str = "CARREL_INCLUDE_DIR";

/// The folder that the environment names; an empty value is none.
fn folder_from(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

pub fn from_environment() -> Option<PathBuf> {
    folder_from(LIB_DIR)
}

pub fn link(given: &Path, choice: &Choice) -> Result<(), String> {
    // The linker runs in another folder than this script.
    let place = &given.canonicalize().map_err(|error| {
        format!(
            "{LIB_DIR} is {}, which cannot be opened: {error}; \
             set it to the lib folder of an installed carrel, as an absolute path",
            given.display()
        )
    })?;
    if choice.late_loading {
        return Err(format!(
            "the feature local-dynamic-tls needs carrel compiled for it; unset {LIB_DIR}"
        ));
    }
    let name = match (choice.overrides, choice.secure) {
        (false, false) => "carrel-prefixed",
        (true, false) => "carrel",
        (true, true) => "carrel-secure",
        (false, true) => {
            return Err(format!(
                "an installed carrel has the feature secure only together with override; \
                 unset {LIB_DIR} or enable both"
            ))
        }
    };
    let library = place.join(format!("lib{name}.a"));
    if !library.exists() {
        return Err(format!(
            "{LIB_DIR} is {}, but there is no lib{name}.a in it; \
             set it to the lib folder of an installed carrel",
            place.display()
        ));
    }
    let include = find_include(place)?;
    check_version(&include)?;
    println!("cargo:rerun-if-changed={}", library.display());
    println!("cargo:rustc-cfg=carrel_installed");
    println!("cargo:rustc-link-search=native={}", place.display());
    println!("cargo:rustc-link-lib=static={name}");
    println!("cargo:include={}", include.display());
    Ok(())
}

fn find_include(place: &Path) -> Result<PathBuf, String> {
    if let Some(given) = folder_from(INCLUDE_DIR) {
        return given.canonicalize().map_err(|error| {
            format!("{INCLUDE_DIR} is {}, which cannot be opened: {error}", given.display())
        });
    }
    ["../include", "../../include", "../../../include"]
        .iter()
        .map(|way| place.join(way))
        .find(|folder| folder.join("carrel/carrel.h").exists())
        .and_then(|folder| folder.canonicalize().ok())
        .ok_or_else(|| {
            format!(
                "no include/carrel/carrel.h near {}; set {INCLUDE_DIR} to the folder that holds \
                 carrel/carrel.h",
                place.display()
            )
        })
}

/// Within a minor version the C API only grows.
fn check_version(include: &Path) -> Result<(), String> {
    let header = include.join("carrel/carrel.h");
    println!("cargo:rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .map_err(|error| format!("cannot read {}: {error}", header.display()))?;
    let number = |part: &str| {
        let start = format!("#define CARREL_VERSION_{part} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(|rest| rest.trim().to_owned())
    };
    let found = (number("MAJOR"), number("MINOR"));
    let wanted =
        (env::var("CARGO_PKG_VERSION_MAJOR").ok(), env::var("CARGO_PKG_VERSION_MINOR").ok());
    if found != wanted {
        let text = |(major, minor): (Option<String>, Option<String>)| {
            format!("{}.{}", major.unwrap_or("?".into()), minor.unwrap_or("?".into()))
        };
        return Err(format!(
            "the installed carrel is {}, this crate is for {}; install that one or unset {LIB_DIR}",
            text(found),
            text(wanted)
        ));
    }
    Ok(())
}
